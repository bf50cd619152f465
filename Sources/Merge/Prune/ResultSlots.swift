import Synchronization

/// Results of pieces that threads compute in any order. Thread-safe.
final class ResultSlots<Value: Sendable>: Sendable {
    private let slots: Mutex<[Value?]>

    init(count: Int) { slots = Mutex(Array(repeating: nil, count: count)) }

    func set(_ index: Int, _ value: Value) { slots.withLock { $0[index] = value } }

    /// All results in order; every one must be there.
    var values: [Value] { slots.withLock { $0.compactMap { $0 } } }
}
