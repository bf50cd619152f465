import ArgumentParser
import Audit
import Base
import Pipeline

/// `--fail-if` of the commands that end with a measured model.
struct FailIfOption: ParsableArguments {
    @Option(
        help: """
            End with status 4 if this holds of what came out last (of any cell): a condition on \
            \(MeasuredOutcome.names.joined(separator: ", ")); with a certificate also 'verdict!="gone"'.
            """)
    var failIf: String?

    func validate() throws {
        do { _ = try condition() } catch let error as MeraserError {
            throw ValidationError("--fail-if \(error.message)")
        }
    }

    /// The condition.
    func condition() throws -> Condition? {
        try failIf.map { try Condition($0, known: MeasuredOutcome.names, words: MeasuredOutcome.words) }
    }
}

extension Condition {
    /// - Throws: a failed check if the condition holds; `cell` begins its message where there are several.
    func requireFalse(of outcome: MeasuredOutcome?, cell: String? = nil) throws {
        guard let outcome else { throw MeraserError.usage("--fail-if \(self): nothing was measured") }
        guard try outcome.satisfies(self) else { return }
        throw MeraserError(.checkFailed, "check failed: \(cell.map { "\($0): " } ?? "")\(self) holds")
    }
}
