import Kernels
import Quant

/// How the queries of a packed batch find their keys: in the batch itself, or in KV caches.
public struct AttentionContext {
    private let batch: PackedBatch
    private let caches: [KVCache]?
    private let type: KeyValueType

    /// Keys and values are the batch's own (training, scoring); every sequence starts at position 0. They are attended
    /// to as `type` stores them.
    public static func packed(_ batch: PackedBatch, type: KeyValueType = .f32) -> AttentionContext {
        AttentionContext(batch: batch, caches: nil, type: type)
    }

    /// Keys and values are appended to one cache per sequence, all of one type, and read from there.
    public static func cached(_ batch: PackedBatch, _ caches: [KVCache]) -> AttentionContext {
        precondition(caches.count == batch.sequences.count)
        let type = caches.first?.type ?? .f32
        precondition(caches.allSatisfy { $0.type == type }, "caches of different types")
        return AttentionContext(batch: batch, caches: caches, type: type)
    }

    /// Positions of the batch's tokens.
    public var positions: [Int32] { batch.positions }

    /// The activations of each sequence's last rows, as many as `counts` says: their residual stream and queries are
    /// moved to the front.
    func keepLast(_ counts: [Int], _ acts: LayerActivations) -> LayerActivations {
        var row = 0
        for (sequence, count) in zip(batch.sequences, counts) {
            let source = sequence.start + sequence.count - count
            for matrix in [acts.residual, acts.query] where count > 0 && source != row {
                matrix.slice(rows: row..<row + count).copy(from: matrix.slice(rows: source..<source + count))
            }
            row += count
        }
        return acts.prefix(rows: row)
    }

    /// out = attention of `queries` to the keys of that layer, those of the batch among them.
    ///
    /// Each sequence has queries for its last positions, as many as `queryCounts` says, one after the other; nil: for
    /// all the positions that are in the batch.
    func attend(
        layer: Int, _ kernels: KernelContext, _ shape: AttentionShape, queries: FloatMatrix,
        queryCounts: [Int]? = nil, keys: FloatMatrix, values: FloatMatrix, into out: FloatMatrix,
        logSumExp: FloatMatrix, call: AttentionCall
    ) {
        call.removeAll()
        // Plain loops: a step of training allocates nothing, in debug builds neither.
        var pages: KeyValuePages?
        if caches == nil {
            var count = 0
            for i in batch.sequences.indices { count += pageCount(batch.sequences[i].count) }
            pages = call.pages(count: count, bytes: shape.pageBytes(type))
        }
        var queryStart = 0
        var offset = 0
        for i in batch.sequences.indices {
            let sequence = batch.sequences[i]
            var queryCount = sequence.count
            if let queryCounts { queryCount = queryCounts[i] }
            if let caches {
                let cache = caches[i]
                call.add(
                    queryStart: queryStart, queryCount: queryCount, newStart: sequence.start,
                    newCount: sequence.count, keyCount: cache.count + sequence.count, pages: cache.table)
                offset = cache.offset(layer: layer)
            } else if let table = pages {  // a batch without tokens has none
                call.add(
                    queryStart: queryStart, queryCount: queryCount, newStart: sequence.start,
                    newCount: sequence.count, keyCount: sequence.count, pages: table)
                pages = table + pageCount(sequence.count)
            }
            queryStart += queryCount
        }
        kernels.attention(
            shape, call, type: type, pageOffset: offset, q: queries, keys: keys,
            values: values, into: out, lse: logSumExp)
    }
}

/// Pages that hold `n` positions.
private func pageCount(_ n: Int) -> Int { (n + AttentionShape.pageKeys - 1) / AttentionShape.pageKeys }

extension AttentionSpec {
    /// The shape as the kernels have it.
    public var shape: AttentionShape {
        AttentionShape(
            heads: heads, keyValueHeads: keyValueHeads, headDim: headDim, window: window, scale: scale,
            softCap: softCap)
    }
}

extension EncoderSpec {
    /// The attention's shape.
    var attentionShape: AttentionShape {
        AttentionShape(
            heads: numAttentionHeads, keyValueHeads: numAttentionHeads, headDim: hiddenSize / numAttentionHeads,
            isBidirectional: true)
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
    /// Rows of the embedding that they have in place of the model's; nil: none.
    public let overlay: TokenOverlay?

    /// A stack; `dropout` with probability 0 is none.
    public init(frozen: [LoRAAdapter] = [], trained: LoRAAdapter? = nil, dropout: DropoutKey? = nil) {
        self.frozen = frozen
        self.trained = trained
        overlay = TokenOverlay(frozen, trained)
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
