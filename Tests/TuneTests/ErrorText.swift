import Base

/// Kind and text of the error that `body` throws, or "no error".
func message(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "no error"
    } catch let error as MeraserError {
        return "\(error.kind): \(error.message)"
    } catch { return "\(error)" }
}
