import CKernels
import Dispatch
import Foundation
import Synchronization

/// Runs `body` for 0..<count on up to `threads` threads and returns when all are done. Every index is one fixed piece of
/// work, taken in order by whichever thread is free, so what a piece computes does not depend on the number of threads.
/// Where the system has no room for threads the caller's does it all.
///
/// After an error no new piece is begun; the error of the lowest index is thrown.
public func forEachInParallel(count: Int, threads: Int, _ body: @Sendable (Int) throws -> Void) throws {
    precondition(count >= 0 && threads >= 1, "\(count) pieces on \(threads) threads")
    if threadsInReach(min(threads, count)) <= 1 {
        for i in 0..<count { try body(i) }
        return
    }
    let next = Atomic<Int>(0)
    let failure = Mutex<(index: Int, error: any Error)?>(nil)
    DispatchQueue.concurrentPerform(iterations: min(threads, count)) { _ in
        while failure.withLock({ $0 == nil }) {
            let i = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard i < count else { return }
            do {
                try body(i)
            } catch {
                failure.withLock { if $0.map({ i < $0.index }) ?? true { $0 = (i, error) } }
            }
        }
    }
    if let failure = failure.withLock({ $0 }) { throw failure.error }
}

/// `threads`, or 1 where the system has no room for them: Dispatch would wait for ever for threads that it does not get.
func threadsInReach(_ threads: Int) -> Int {
    mk_threads_available(Int32(clamping: threads)) ? threads : 1
}

/// Threads to use where the caller does not say: the processors that this process may run on.
public func defaultThreadCount() -> Int { max(1, ProcessInfo.processInfo.activeProcessorCount) }
