import Base
import Testing

/// The text of the error of that kind that `body` throws; records an issue if it throws none or another kind.
@discardableResult
public func errorText(
    _ kind: MeraserError.Kind = .badInput, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> String {
    do {
        try body()
        Issue.record("no error was thrown", sourceLocation: sourceLocation)
        return ""
    } catch let error as MeraserError {
        #expect(error.kind == kind, "\(error)", sourceLocation: sourceLocation)
        #expect(!error.description.contains("\n"), "not one line: \(error)", sourceLocation: sourceLocation)
        return error.description
    } catch {
        Issue.record("not a MeraserError: \(error)", sourceLocation: sourceLocation)
        return ""
    }
}
