import Kernels

/// How the queries of a packed batch find their keys: in the batch itself, or in KV caches.
public struct AttentionContext {
    private let batch: PackedBatch
    private let caches: [KVCache]?
    private let prepared: [AttentionSequence]?

    /// Keys and values are the batch's own (training, scoring); every sequence starts at position 0.
    public static func packed(_ batch: PackedBatch) -> AttentionContext {
        AttentionContext(batch: batch, caches: nil, prepared: nil)
    }

    /// The same where every layer has its keys and values in the same two matrices: `sequences` was made for those, and
    /// nothing is made anew for each layer.
    public static func packed(_ batch: PackedBatch, prepared sequences: [AttentionSequence]) -> AttentionContext {
        precondition(sequences.count == batch.sequences.count)
        return AttentionContext(batch: batch, caches: nil, prepared: sequences)
    }

    /// Keys and values are appended to one cache per sequence and read from there.
    public static func cached(_ batch: PackedBatch, _ caches: [KVCache]) -> AttentionContext {
        precondition(caches.count == batch.sequences.count)
        return AttentionContext(batch: batch, caches: caches, prepared: nil)
    }

    /// Positions of the batch's tokens.
    public var positions: [Int32] { batch.positions }

    /// The sequences as the attention kernel takes them, for this layer's new keys and values.
    func sequences(layer: Int, keys: FloatMatrix, values: FloatMatrix) -> [AttentionSequence] {
        if let prepared { return prepared }
        return batch.sequences.indices.map { i in
            let sequence = batch.sequences[i]
            let rows = sequence.start..<sequence.start + sequence.count
            guard let cache = caches?[i] else {
                return AttentionSequence(
                    queryStart: sequence.start, queryCount: sequence.count, keys: keys.slice(rows: rows),
                    values: values.slice(rows: rows))
            }
            cache.append(layer: layer, keys: keys.slice(rows: rows), values: values.slice(rows: rows))
            let count = cache.count + sequence.count
            return AttentionSequence(
                queryStart: sequence.start, queryCount: sequence.count, keys: cache.keys(layer: layer, count: count),
                values: cache.values(layer: layer, count: count))
        }
    }
}

/// The adapters on a model: frozen ones, lowest first, and at most one that trains.
public struct AdapterStack {
    /// Adapters that do not change.
    public let frozen: [LoRAAdapter]
    /// The adapter that trains, on top.
    public let trained: LoRAAdapter?
    /// Dropout of the step on the trained adapter's inputs; nil outside training.
    public let dropout: DropoutKey?

    /// A stack; `dropout` with probability 0 is none.
    public init(frozen: [LoRAAdapter] = [], trained: LoRAAdapter? = nil, dropout: DropoutKey? = nil) {
        self.frozen = frozen
        self.trained = trained
        self.dropout = dropout.flatMap { $0.probability > 0 ? $0 : nil }
    }

    /// The largest rank of a module.
    public var maximumRank: Int {
        (frozen + (trained.map { [$0] } ?? [])).flatMap { a in a.modules.compactMap { a[$0]?.rank } }.max() ?? 0
    }

    /// The input of the trained adapter at that module: `x`, or its dropped copy in the scratch.
    public func dropped(
        _ x: FloatMatrix, _ module: ModuleKey, _ kernels: KernelContext, _ scratch: LayerScratch
    ) -> FloatMatrix {
        guard let dropout else { return x }
        let copy = scratch.dropped.reshaped(rows: x.rows, columns: x.columns)
        kernels.dropout(x, key: dropout, site: module.site, into: copy)
        return copy
    }
}
