import Kernels
import Model
import Quant

/// The loss of a packed batch and its gradient with respect to one LoRA adapter on a frozen model.
///
/// The forward keeps each layer's activations, so the backward runs no second forward; below the lowest adapted layer
/// nothing is kept and nothing is propagated. Memory is one arena, sized for `maximumTokens`. Not thread-safe.
public final class TrainingGraph {
    /// Tokens of the largest batch.
    public let maximumTokens: Int
    /// Looked at before every layer, forward and backward: when it is set, `accumulate` throws `interrupted`.
    public var interrupt: InterruptFlag?
    private let model: Transformer
    private let frozen: [LoRAAdapter]
    private let trained: LoRAAdapter
    private let lowestLayer: Int
    private let arena: Arena
    private let residuals: [FloatMatrix]  // input of each kept layer, then the output of the last, [T, hidden]
    private let activations: [LayerActivations]  // of layers lowestLayer...
    private let below: LayerActivations?  // shared by the layers below
    private let scratch: LayerScratch
    private let backward: LayerBackward
    private let head: LossHead
    private let normed: FloatMatrix
    private let finalRstd: FloatMatrix
    private let dStream: FloatMatrix
    private let dNormed: FloatMatrix

    /// A graph for batches of up to `maximumTokens` tokens. `throughEmbeddings` propagates down to the embeddings even
    /// where no adapter lies (soft prompts).
    public init(
        model: Transformer, frozen: [LoRAAdapter], trained: LoRAAdapter, maximumTokens: Int,
        throughEmbeddings: Bool = false
    ) {
        self.model = model
        self.frozen = frozen
        self.trained = trained
        self.maximumTokens = maximumTokens
        let config = model.config
        let lowest = throughEmbeddings ? 0 : trained.lowestLayer
        lowestLayer = lowest
        let rank = AdapterStack(frozen: frozen, trained: trained).maximumRank
        arena = Arena(
            capacity: Self.footprint(
                config: config, tokens: maximumTokens, maximumRank: rank, lowestLayer: lowestLayer))
        let arena = arena
        func stream() -> FloatMatrix { arena.matrix(rows: maximumTokens, columns: config.hiddenSize) }
        let streams = (lowest...config.numHiddenLayers).map { _ in stream() }
        residuals = streams
        activations = (lowest..<config.numHiddenLayers).map {
            LayerActivations(config: config, residual: streams[$0 - lowest], arena: arena)
        }
        below = lowest > 0 ? LayerActivations(config: config, residual: stream(), arena: arena) : nil
        scratch = LayerScratch(config: config, tokens: maximumTokens, maximumRank: rank, arena: arena)
        backward = LayerBackward(model: model, tokens: maximumTokens, arena: arena)
        head = LossHead(model: model, arena: arena)
        normed = stream()
        finalRstd = arena.matrix(rows: maximumTokens, columns: 1)
        dStream = stream()
        dNormed = stream()
    }

    /// Bytes of memory that a graph takes.
    public static func byteCount(config: ModelConfig, tokens: Int, maximumRank: Int, lowestLayer: Int) -> Int {
        MemoryLayout<Float>.size
            * footprint(config: config, tokens: tokens, maximumRank: maximumRank, lowestLayer: lowestLayer)
    }

    private static func footprint(config: ModelConfig, tokens: Int, maximumRank: Int, lowestLayer: Int) -> Int {
        let stream = Arena.footprint(rows: tokens, columns: config.hiddenSize)
        let layer = LayerActivations.footprint(config: config, tokens: tokens)
        let kept = config.numHiddenLayers - lowestLayer
        return (kept + 1) * stream + kept * layer + (lowestLayer > 0 ? stream + layer : 0)
            + LayerScratch.footprint(config: config, tokens: tokens, maximumRank: maximumRank)
            + LayerBackward.footprint(config: config, tokens: tokens) + LossHead.footprint(config: config)
            + 3 * stream + Arena.footprint(rows: tokens, columns: 1)
    }

    /// Adds d(Σ weight · nll)/dθ to `gradients` (an adapter of the trained one's layout) and returns Σ weight · nll.
    ///
    /// `embeddings` [T, hidden] replaces the embeddings of the tokens; `dEmbeddings` receives their gradient (both for
    /// soft prompts; `dEmbeddings` needs `throughEmbeddings`).
    /// - Throws: a runtime error if a value of the forward or the loss is not finite.
    public func accumulate(
        _ batch: LabelledBatch, dropout: (probability: Float, seed: UInt64, step: UInt64)? = nil,
        into gradients: LoRAAdapter, embeddings: FloatMatrix? = nil, dEmbeddings: FloatMatrix? = nil
    ) throws -> Double {
        let tokens = batch.batch.tokenCount
        precondition(tokens <= maximumTokens, "\(tokens) tokens in a graph for \(maximumTokens)")
        precondition(dEmbeddings == nil || lowestLayer == 0, "the graph was not made with throughEmbeddings")
        guard tokens > 0 else { return 0 }
        let key = dropout.map {
            DropoutKey(
                probability: $0.probability, seed: $0.seed, step: $0.step, samples: batch.samples,
                positions: batch.batch.positions)
        }
        let adapters = AdapterStack(frozen: frozen, trained: trained, dropout: key)
        try forward(batch.batch, adapters: adapters, embeddings: embeddings)

        let stream = residuals[residuals.count - 1].prefix(rows: tokens)
        let h = normed.prefix(rows: tokens)
        let dh = dNormed.prefix(rows: tokens)
        let dx = dStream.prefix(rows: tokens)
        model.finalNorm(stream, into: h, rstd: finalRstd)
        let loss = try head.lossAndGradient(batch, normed: h, into: dh)
        dx.fill(0)
        model.kernels.rmsNormBackward(stream, weight: model.weights.finalNorm, rstd: finalRstd, dh, into: dx)
        for layer in (lowestLayer..<model.config.numHiddenLayers).reversed() {
            try checkInterrupt()
            backward.propagate(
                layer, activations[layer - lowestLayer].prefix(rows: tokens), dx, batch: batch.batch,
                adapters: adapters, gradients: gradients, scratch: scratch)
        }
        dEmbeddings?.copy(from: dx)
        return loss
    }

    private func forward(_ batch: PackedBatch, adapters: AdapterStack, embeddings: FloatMatrix?) throws {
        let tokens = batch.tokenCount
        let context = AttentionContext.packed(batch)
        model.rotary.reserve(positions: Int(batch.positions.max() ?? 0) + 1)
        let bottom = residuals[0].prefix(rows: tokens)
        if let embeddings { bottom.copy(from: embeddings) } else { model.embed(batch.tokens, into: bottom) }
        if let below {
            let acts = below.prefix(rows: tokens)
            for layer in 0..<lowestLayer {
                try checkInterrupt()
                acts.residual.copy(from: bottom)
                try model.forwardLayer(
                    layer, acts, attention: context, adapters: adapters, into: bottom, scratch: scratch)
            }
        }
        for layer in lowestLayer..<model.config.numHiddenLayers {
            try checkInterrupt()
            let index = layer - lowestLayer
            try model.forwardLayer(
                layer, activations[index].prefix(rows: tokens), attention: context, adapters: adapters,
                into: residuals[index + 1].prefix(rows: tokens), scratch: scratch)
        }
    }

    private func checkInterrupt() throws {
        if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
    }
}
