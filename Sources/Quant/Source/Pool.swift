import Synchronization

/// Lends each thread working memory of its own, and keeps it for the next piece of work. Thread-safe.
public final class Pool<Memory: AnyObject>: @unchecked Sendable {
    // @unchecked: what is free lies behind the lock, what is lent belongs to one caller.
    private let lock = Mutex<Void>(())
    private var free: [Memory] = []
    private let make: @Sendable () -> Memory

    /// A pool of what `make` makes.
    public init(_ make: @escaping @Sendable () -> Memory) { self.make = make }

    /// Runs `body` with memory that nobody else uses meanwhile.
    public func lend<R>(_ body: (Memory) throws -> R) rethrows -> R {
        let memory = lock.withLock { _ in free.popLast() } ?? make()
        defer { lock.withLock { _ in free.append(memory) } }
        return try body(memory)
    }
}
