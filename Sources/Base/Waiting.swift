import Dispatch
import Synchronization

/// Runs asynchronous work to its end from a command's own thread, which shows how far it is: the only place where the two
/// worlds meet. The work has a thread of its own, so that it goes on whichever thread waits here.
///
/// - Parameters:
///   - onProgress: called on this thread with the number of steps done.
///   - body: is handed what counts a step.
/// - Throws: what the work throws.
public func waiting<Result: Sendable>(
    onProgress: (Int) -> Void = { _ in },
    _ body: @escaping @Sendable (_ step: @escaping @Sendable () -> Void) async throws -> Result
) throws -> Result {
    let news = DispatchSemaphore(value: 0)
    let state = Progress<Result>()
    Task(executorPreference: OwnThread()) {
        let outcome: Swift.Result<Result, any Error>
        do {
            outcome = .success(
                try await body {
                    state.value.withLock { $0.done += 1 }
                    news.signal()
                })
        } catch {
            outcome = .failure(error)
        }
        state.value.withLock { $0.outcome = outcome }
        news.signal()
    }
    var shown = 0
    while true {
        news.wait()
        let (done, outcome) = state.value.withLock { ($0.done, $0.outcome) }
        if done > shown {
            shown = done
            onProgress(done)
        }
        if let outcome { return try outcome.get() }
    }
}

/// Runs tasks one after the other, apart from the pool that all others share and whose threads may be waiting.
private final class OwnThread: TaskExecutor {
    private let queue = DispatchQueue(label: "meraser.waiting")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

private final class Progress<Result: Sendable>: Sendable {
    let value = Mutex<(done: Int, outcome: Swift.Result<Result, any Error>?)>((0, nil))
}
