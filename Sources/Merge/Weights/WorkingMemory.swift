import Synchronization

/// The buffers of one thread while it works on a piece of a tensor.
final class WorkingMemory {
    /// One buffer of fp32 numbers for each input.
    private(set) var inputs: [UnsafeMutableBufferPointer<Float>] = []
    /// The result.
    private(set) var output = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
    /// Bytes as read.
    var raw: [UInt8] = []
    /// Bytes to write.
    var bytes: [UInt8] = []

    deinit { release() }

    /// Makes room for that many inputs of that many elements.
    func reserve(inputs count: Int, elements: Int) {
        guard inputs.count < count || output.count < elements else { return }
        let (count, elements) = (max(count, inputs.count), max(elements, output.count))
        release()
        inputs = (0..<count).map { _ in .allocate(capacity: elements) }
        output = .allocate(capacity: elements)
        inputs.forEach { $0.initialize(repeating: 0) }
        output.initialize(repeating: 0)
    }

    private func release() {
        inputs.forEach { $0.deallocate() }
        output.deallocate()
    }
}

/// Lends each thread working memory of its own, and keeps it for the next piece. Thread-safe.
final class MemoryPool: @unchecked Sendable {
    // @unchecked: what is free lies behind the lock, what is lent belongs to one caller.
    private let free = Mutex<Void>(())
    private var items: [WorkingMemory] = []

    /// Runs `body` with memory for that many inputs of that many elements.
    func with<R>(inputs: Int, elements: Int, _ body: (WorkingMemory) throws -> R) rethrows -> R {
        let memory = free.withLock { _ in items.popLast() } ?? WorkingMemory()
        defer { free.withLock { _ in items.append(memory) } }
        memory.reserve(inputs: inputs, elements: elements)
        return try body(memory)
    }
}
