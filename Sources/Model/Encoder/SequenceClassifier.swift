import Base
import Kernels
import Quant

/// A BERT or RoBERTa sequence classifier: token ids of texts to logits of classes.
///
/// Post-norm layers with biases, learned positions, full attention (Devlin et al. 2019; Liu et al. 2019), as
/// Transformers' `BertForSequenceClassification` and `RobertaForSequenceClassification` compute them. Texts are packed
/// without padding; a text's logits do not depend on the others nor on the threads. Owns the scratch of its forward
/// passes: use from one thread at a time.
public final class SequenceClassifier {
    /// Shapes, hyper-parameters, class names.
    public let spec: EncoderSpec
    /// Where the weights came from.
    public let store: any WeightStore
    /// Kernels and threads.
    public let kernels: KernelContext
    /// Precision of the products with quantized weights.
    public let compute: Compute
    /// Tokens of a forward pass; more texts are cut into several passes.
    public let tokenBudget: Int

    private let weights: EncoderWeights
    private let workspace = LinearWorkspace()
    private let attentionCall = AttentionCall()
    private var buffers: EncoderBuffers

    /// Loads the model of an `.mqf` file or a Hugging Face folder.
    ///
    /// - Parameter compute: nil: int8 for quantized weights, f32 for plain ones.
    /// - Throws: a bad-input error for a missing or misshapen tensor, a usage error for a `compute` this CPU lacks.
    public init(
        store: any WeightStore, kernels: KernelContext, compute: Compute? = nil, tokenBudget: Int = 2048
    ) throws {
        spec = try EncoderSpec(of: store)
        weights = try EncoderWeights(store: store, spec: spec)
        let isQuantized = store.tensorNames.contains { (try? store.tensor($0))?.info.type.isTiled == true }
        self.compute = compute ?? kernels.inferenceCompute(quantized: isQuantized)
        try kernels.require(self.compute)
        self.store = store
        self.kernels = kernels
        self.tokenBudget = max(tokenBudget, spec.maxTokens)
        buffers = EncoderBuffers(spec: spec, tokens: 0)
    }

    /// The logits [labels] of each text.
    ///
    /// - Throws: a bad-input error for a text without tokens, one that is longer than the model takes, or a token that
    ///   it does not have; a runtime error if a value is not finite.
    public func logits(_ texts: [ClassifierInput], onText: (Int) -> Void = { _ in }) throws -> [[Float]] {
        var results: [[Float]] = []
        results.reserveCapacity(texts.count)
        var start = 0
        while start < texts.count {
            var tokens = 0
            var end = start
            while end < texts.count, end == start || tokens + texts[end].tokens.count <= tokenBudget {
                try check(texts[end], index: end)
                tokens += texts[end].tokens.count
                end += 1
            }
            results += try forward(Array(texts[start..<end]))
            start = end
            onText(end)
        }
        return results
    }

    private func check(_ input: ClassifierInput, index: Int) throws {
        let text = input.tokens
        guard input.secondStart >= text.count || spec.typeVocabSize > 1 else {
            throw MeraserError.badInput("text \(index) is a pair, but \(store.path) has one token type only")
        }
        guard !text.isEmpty, text.count <= spec.maxTokens else {
            throw MeraserError.badInput(
                "text \(index) has \(text.count) tokens, expected 1 to \(spec.maxTokens) for \(store.path)")
        }
        if let id = text.first(where: { $0 < 0 || Int($0) >= spec.vocabSize }) {
            throw MeraserError.badInput(
                "text \(index) has token \(id), but \(store.path) has a vocabulary of \(spec.vocabSize)")
        }
    }

    /// Rows of the position table, as Transformers numbers them: RoBERTa counts from behind the padding token's own row,
    /// which padding tokens keep.
    private func positions(_ text: [Int32]) -> [Int32] {
        guard spec.family == .roberta else { return (0..<Int32(text.count)).map { $0 } }
        let padding = Int32(spec.padTokenID)
        var last = padding
        return text.map { id in
            if id == padding { return padding }
            last += 1
            return last
        }
    }
}

// MARK: - Forward

extension SequenceClassifier {
    private func forward(_ texts: [ClassifierInput]) throws -> [[Float]] {
        let batch = PackedBatch(texts.map(\.tokens))
        if batch.tokenCount > buffers.tokens { buffers = EncoderBuffers(spec: spec, tokens: batch.tokenCount) }
        let b = buffers.prefix(rows: batch.tokenCount)
        embed(texts, batch, b)
        for index in weights.layers.indices {
            attend(weights.layers[index], batch, b)
            feedForward(weights.layers[index], b)
            if let row = kernels.firstNonFiniteRow(b.hidden) {
                throw MeraserError.runtime(
                    "\(store.path): the output of layer \(index) is not finite at token \(row) of the batch; "
                        + "compare the file's checksums with `verify`")
            }
        }
        return try classify(batch, b)
    }

    private func embed(_ texts: [ClassifierInput], _ batch: PackedBatch, _ b: EncoderBuffers) {
        let types = texts.flatMap { text in text.tokens.indices.map { $0 < text.secondStart ? 0 : 1 as Int32 } }
        let positions = texts.flatMap { self.positions($0.tokens) }
        kernels.gatherRows(weights.wordEmbedding, batch.tokens, into: b.hidden)
        kernels.gatherRows(weights.typeEmbedding, types, into: b.mixed)
        kernels.addScaled(1, b.mixed, into: b.hidden)
        kernels.gatherRows(weights.positionEmbedding, positions, into: b.mixed)
        kernels.addScaled(1, b.mixed, into: b.hidden)
        norm(b.hidden, weights.embeddingNorm)
    }

    /// hidden = norm(hidden + attention(hidden)).
    private func attend(_ layer: EncoderLayerWeights, _ batch: PackedBatch, _ b: EncoderBuffers) {
        for (target, projection) in [(b.query, layer.query), (b.key, layer.key), (b.value, layer.value)] {
            kernels.addBias(projection.bias, into: target, accumulate: false)
        }
        kernels.linear(
            b.hidden, LinearOutput(layer.query.weight, into: b.query, accumulate: true),
            LinearOutput(layer.key.weight, into: b.key, accumulate: true),
            LinearOutput(layer.value.weight, into: b.value, accumulate: true), compute: compute, workspace: workspace)
        AttentionContext.packed(batch, type: compute == .f32 ? .f32 : .bf16).attend(
            layer: 0, kernels, spec.attentionShape, queries: b.query, keys: b.key, values: b.value, into: b.mixed,
            logSumExp: b.logSumExp, call: attentionCall)
        affine(layer.attentionOutput, b.mixed, into: b.hidden, accumulate: true)
        norm(b.hidden, layer.attentionNorm)
    }

    /// hidden = norm(hidden + output(activation(intermediate(hidden)))).
    private func feedForward(_ layer: EncoderLayerWeights, _ b: EncoderBuffers) {
        affine(layer.intermediate, b.hidden, into: b.intermediate)
        kernels.activate(spec.activation, b.intermediate)
        affine(layer.output, b.intermediate, into: b.hidden, accumulate: true)
        norm(b.hidden, layer.outputNorm)
    }

    /// The first token of each text through the tanh layer and the classifier.
    private func classify(_ batch: PackedBatch, _ b: EncoderBuffers) throws -> [[Float]] {
        let count = batch.sequences.count
        let first = FloatStorage(rows: count, columns: spec.hiddenSize)
        for (row, sequence) in batch.sequences.enumerated() {
            first.matrix.slice(rows: row..<row + 1).copy(
                from: b.hidden.slice(rows: sequence.start..<sequence.start + 1))
        }
        let pooled = FloatStorage(rows: count, columns: spec.hiddenSize)
        affine(weights.pooler, first.matrix, into: pooled.matrix)
        kernels.activate(.tanh, pooled.matrix)
        let logits = FloatStorage(rows: count, columns: spec.labels.count)
        affine(weights.classifier, pooled.matrix, into: logits.matrix)
        if let row = kernels.firstNonFiniteRow(logits.matrix) {
            throw MeraserError.runtime("\(store.path): the classifier gave a value that is not finite at text \(row)")
        }
        return (0..<count).map { logits.matrix.withRow($0) { Array($0) } }
    }

    /// y (+)= x · wᵀ + bias.
    private func affine(
        _ weights: AffineWeights, _ x: FloatMatrix, into y: FloatMatrix, accumulate: Bool = false
    ) {
        kernels.addBias(weights.bias, into: y, accumulate: accumulate)
        kernels.linear(weights.weight, x, into: y, accumulate: true, compute: compute, workspace: workspace)
    }

    private func norm(_ x: FloatMatrix, _ weights: NormWeights) {
        kernels.layerNorm(x, weight: weights.weight, bias: weights.bias, eps: weights.eps, into: x)
    }
}

/// The memory of a forward pass over that many tokens.
private struct EncoderBuffers {
    let tokens: Int
    /// The residual stream, [T, hidden].
    let hidden: FloatMatrix
    let query: FloatMatrix
    let key: FloatMatrix
    let value: FloatMatrix
    /// What the heads give; while embedding, one of the terms.
    let mixed: FloatMatrix
    let logSumExp: FloatMatrix
    let intermediate: FloatMatrix
    private let arena: Arena

    init(spec: EncoderSpec, tokens: Int) {
        let (hiddenSize, heads, width) = (spec.hiddenSize, spec.numAttentionHeads, spec.intermediateSize)
        let arena = Arena(
            capacity: 5 * Arena.footprint(rows: tokens, columns: hiddenSize)
                + Arena.footprint(rows: tokens, columns: heads) + Arena.footprint(rows: tokens, columns: width))
        self.init(
            tokens: tokens, arena: arena,
            matrices: [hiddenSize, hiddenSize, hiddenSize, hiddenSize, hiddenSize, heads, width].map {
                arena.matrix(rows: tokens, columns: $0)
            })
    }

    /// The same memory for fewer tokens.
    func prefix(rows: Int) -> EncoderBuffers {
        EncoderBuffers(
            tokens: rows, arena: arena,
            matrices: [hidden, query, key, value, mixed, logSumExp, intermediate].map { $0.prefix(rows: rows) })
    }

    private init(tokens: Int, arena: Arena, matrices: [FloatMatrix]) {
        self.tokens = tokens
        self.arena = arena
        (hidden, query, key, value) = (matrices[0], matrices[1], matrices[2], matrices[3])
        (mixed, logSumExp, intermediate) = (matrices[4], matrices[5], matrices[6])
    }
}
