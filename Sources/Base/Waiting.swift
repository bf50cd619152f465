import Dispatch
import Synchronization

/// Runs work that is asynchronous for a command that is not, and waits for its end.
///
/// Not for use within a task: it blocks its thread.
/// - Throws: what the work throws.
public func waitFor<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) throws -> Value {
    let outcome = Outcome<Value>()
    Task {
        do {
            let value = try await work()
            outcome.set(.success(value))
        } catch {
            outcome.set(.failure(error))
        }
    }
    return try outcome.wait().get()
}

/// What a task hands to the thread that waits for it.
private final class Outcome<Value: Sendable>: Sendable {
    private let result = Mutex<Result<Value, any Error>?>(nil)
    private let bell = DispatchSemaphore(value: 0)

    func set(_ value: Result<Value, any Error>) {
        result.withLock { $0 = value }
        bell.signal()
    }

    func wait() -> Result<Value, any Error> {
        while true {
            bell.wait()
            if let result = result.withLock({ $0 }) { return result }
        }
    }
}
