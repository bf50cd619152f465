import Kernels

/// Keys and values of one sequence for all layers, fp32, grown by the forward pass.
///
/// Not thread-safe.
public final class KVCache {
    /// Positions it can hold.
    public let capacity: Int
    /// Positions it holds.
    public private(set) var count = 0
    private let storage: FloatStorage
    private let layers: Int

    /// A cache for `capacity` positions of that model.
    public init(config: ModelConfig, capacity: Int) {
        self.capacity = capacity
        layers = config.numHiddenLayers
        let columns = config.numKeyValueHeads * config.headDim
        storage = FloatStorage(rows: 2 * layers * capacity, columns: columns)
    }

    /// Bytes that a cache of `capacity` positions takes.
    public static func byteCount(config: ModelConfig, capacity: Int) -> Int {
        2 * config.numHiddenLayers * capacity * config.numKeyValueHeads * config.headDim * MemoryLayout<Float>.size
    }

    /// Copies the keys and values [n, G·D] of the next n positions of a layer; `advance` then counts them.
    func append(layer: Int, keys: FloatMatrix, values: FloatMatrix) {
        precondition(count + keys.rows <= capacity, "KV cache of \(capacity) positions is full")
        let rows = count..<count + keys.rows
        all(layer, 0).slice(rows: rows).copy(from: keys)
        all(layer, 1).slice(rows: rows).copy(from: values)
    }

    /// The first `n` keys of a layer.
    func keys(layer: Int, count n: Int) -> FloatMatrix { all(layer, 0).prefix(rows: n) }
    /// The first `n` values of a layer.
    func values(layer: Int, count n: Int) -> FloatMatrix { all(layer, 1).prefix(rows: n) }

    /// Counts `n` more positions as held, after every layer has appended them.
    func advance(by n: Int) { count += n }

    /// Forgets every position from `n` on.
    public func truncate(to n: Int) {
        precondition(n <= count)
        count = n
    }

    private func all(_ layer: Int, _ which: Int) -> FloatMatrix {
        let start = (2 * layer + which) * capacity
        return storage.matrix.slice(rows: start..<start + capacity)
    }
}
