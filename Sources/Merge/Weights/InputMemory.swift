import Quant

/// The buffers of one thread while it works on a piece of a tensor: one of fp32 numbers for each input.
final class InputMemory {
    private(set) var inputs: [UnsafeMutableBufferPointer<Float>] = []
    /// Bytes as read.
    var raw: [UInt8] = []
    private var capacity = 0

    deinit { inputs.forEach { $0.deallocate() } }

    /// Makes room for that many inputs of that many elements.
    func reserve(inputs count: Int, elements: Int) {
        guard inputs.count < count || capacity < elements else { return }
        capacity = max(elements, capacity)
        let count = max(count, inputs.count)
        inputs.forEach { $0.deallocate() }
        inputs = (0..<count).map { _ in .allocate(capacity: capacity) }
        inputs.forEach { $0.initialize(repeating: 0) }
    }
}
