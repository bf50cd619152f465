import Base
import Kernels
import Quant

/// A model with adapters, ready to score and to generate. Owns the scratch of its forward passes.
///
/// Every result is independent of how sequences are batched and of the number of threads. Use from one thread at a time.
public final class InferenceSession {
    /// The model.
    public let model: Transformer
    /// Frozen adapters on it, lowest first.
    public let adapters: AdapterStack
    /// Tokens of the largest forward pass; longer streams are cut into several, a single longer sequence grows it.
    public let tokenBudget: Int
    /// What the last `generate` read, and how long it took.
    public internal(set) var lastGeneration = GenerationStatistics()
    private var buffers: InferenceBuffers

    /// A session. `tokenBudget` bounds the memory of a forward pass.
    public init(model: Transformer, adapters: AdapterStack = AdapterStack(), tokenBudget: Int = 512) {
        self.model = model
        self.adapters = adapters
        self.tokenBudget = tokenBudget
        buffers = InferenceBuffers(model: model, adapters: adapters, tokens: tokenBudget)
    }

    /// An empty cache for one sequence of up to `capacity` positions.
    public func makeCache(capacity: Int) -> KVCache {
        KVCache(spec: model.spec, capacity: capacity, type: model.keyValueType)
    }

    /// Final-norm hidden states [T, hidden] of a packed batch; valid until the next call on this session.
    ///
    /// With `caches` (one for each sequence), keys and values are appended to them and earlier positions are seen. With
    /// `lastRows`, only as many last rows of each sequence are returned, one sequence after the other: the last layer
    /// does no more than those need. With `soft`, its vectors [n, hidden] stand in place of the embeddings of the n rows
    /// from each of its rows on. `onStream` is called in front of each layer with its number and the residual stream
    /// [T, hidden] that enters it.
    ///
    /// - Throws: a bad-input error for a sequence longer than the model's context, what `onStream` throws.
    public func hiddenStates(
        _ batch: PackedBatch, caches: [KVCache]? = nil, lastRows: [Int]? = nil,
        soft: (vectors: FloatMatrix, rows: [Int])? = nil, onStream: ((Int, FloatMatrix) throws -> Void)? = nil
    ) throws -> FloatMatrix {
        let tokens = batch.tokenCount
        let positions = Int(batch.positions.max() ?? -1) + 1
        try model.requireContext(of: positions)
        if tokens > buffers.capacity {
            buffers = InferenceBuffers(model: model, adapters: adapters, tokens: tokens)
        }
        buffers.scratch.prepare(for: batch)
        if let caches {
            for (cache, sequence) in zip(caches, batch.sequences) { cache.reserve(sequence.count) }
        }
        let context =
            caches.map { AttentionContext.cached(batch, $0) } ?? .packed(batch, type: model.keyValueType)
        let (current, normed, acts, scratch) = buffers.forward(tokens: tokens)
        model.embed(batch.tokens, overlay: adapters.overlay, into: current)
        if let soft { model.place(soft.vectors, at: soft.rows, in: current) }
        for layer in 0..<model.spec.numHiddenLayers {
            try onStream?(layer, current)
            let isLast = layer == model.spec.numHiddenLayers - 1
            try model.forwardLayer(
                layer, acts, attention: context, adapters: adapters, into: current, scratch: scratch,
                lastRows: isLast ? lastRows : nil)
        }
        if let caches {
            for (cache, sequence) in zip(caches, batch.sequences) { cache.advance(by: sequence.count) }
        }
        let rows = lastRows?.reduce(0, +) ?? tokens
        let result = normed.prefix(rows: rows)
        model.finalNorm(current.prefix(rows: rows), into: result, rstd: scratch.rstd)
        return result
    }

    /// Logits [rows, V] of hidden states; valid until the next call of this function.
    public func logits(_ hidden: FloatMatrix) throws -> FloatMatrix {
        let logits = buffers.logits(rows: hidden.rows, vocabulary: model.spec.vocabSize)
        model.head(hidden, overlay: adapters.overlay, into: logits, scratch: buffers.scratch)
        if let row = model.kernels.firstNonFiniteRow(logits) {
            throw MeraserError.runtime("\(model.store.path): lm_head gave a value that is not finite at row \(row)")
        }
        return logits
    }

    /// Calls `body` with the logits of rows `range` of the hidden states, a bounded number of rows at a time.
    public func forEachLogits(
        of hidden: FloatMatrix, _ body: (Range<Int>, FloatMatrix) throws -> Void
    ) throws {
        let step = max(1, min(256, 33_554_432 / model.spec.vocabSize))
        var start = 0
        while start < hidden.rows {
            let range = start..<min(start + step, hidden.rows)
            try body(range, try logits(hidden.slice(rows: range)))
            start = range.upperBound
        }
    }

    /// For each sequence, the negative log-likelihood of its tokens 1… given those before: count − 1 values.
    public func negativeLogLikelihoods(_ sequences: [[Int32]]) throws -> [[Float]] {
        try LikelihoodQuestions().ask(sequences.map(SentNumbers.init), of: [self]).map(\.values)
    }

    /// The same on this rank.
    func negativeLogLikelihoodsHere(_ sequences: [[Int32]]) throws -> [[Float]] {
        var results: [[Float]] = []
        var pending: [[Int32]] = []
        var tokens = 0
        func flush() throws {
            if !pending.isEmpty { results += try score(pending) }
            pending = []
            tokens = 0
        }
        for sequence in sequences {
            if tokens + sequence.count > tokenBudget { try flush() }
            pending.append(sequence)
            tokens += sequence.count
        }
        try flush()
        return results
    }

    private func score(_ sequences: [[Int32]]) throws -> [[Float]] {
        let batch = PackedBatch(sequences)
        var targets = [Int32](repeating: -1, count: batch.tokenCount)
        for sequence in batch.sequences where sequence.count > 1 {
            for i in sequence.start..<sequence.start + sequence.count - 1 { targets[i] = batch.tokens[i + 1] }
        }
        let hidden = try hiddenStates(batch)
        let storage = FloatStorage(rows: batch.tokenCount, columns: 1)
        try forEachLogits(of: hidden) { range, logits in
            model.kernels.softmaxCrossEntropy(
                logits, targets: Array(targets[range]), into: storage.matrix.slice(rows: range))
        }
        let nll = storage.matrix.toArray()
        return batch.sequences.map { Array(nll[$0.start..<$0.start + max($0.count - 1, 0)]) }
    }
}

/// The memory of a session's forward passes.
private final class InferenceBuffers {
    let capacity: Int
    private let arena: Arena
    private let current: FloatMatrix
    private let normed: FloatMatrix
    private let activations: LayerActivations
    let scratch: LayerScratch
    private var logitsStorage = FloatStorage(rows: 0, columns: 0)

    init(model: Transformer, adapters: AdapterStack, tokens: Int) {
        let spec = model.spec
        capacity = tokens
        let rank = adapters.maximumRank
        arena = Arena(
            capacity: 2 * Arena.footprint(rows: tokens, columns: spec.hiddenSize)
                + LayerActivations.footprint(spec: spec, tokens: tokens)
                + LayerScratch.footprint(spec: spec, tokens: tokens, maximumRank: rank))
        current = arena.matrix(rows: tokens, columns: spec.hiddenSize)
        normed = arena.matrix(rows: tokens, columns: spec.hiddenSize)
        activations = LayerActivations(spec: spec, residual: current, inPlace: true, arena: arena)
        scratch = LayerScratch(spec: spec, tokens: tokens, maximumRank: rank, arena: arena)
    }

    func forward(
        tokens: Int
    ) -> (FloatMatrix, FloatMatrix, LayerActivations, LayerScratch) {
        (current.prefix(rows: tokens), normed.prefix(rows: tokens), activations.prefix(rows: tokens), scratch)
    }

    func logits(rows: Int, vocabulary: Int) -> FloatMatrix {
        if logitsStorage.matrix.count < rows * vocabulary {
            logitsStorage = FloatStorage(rows: rows, columns: vocabulary)
        }
        return logitsStorage.matrix.reshaped(rows: rows, columns: vocabulary)
    }
}
