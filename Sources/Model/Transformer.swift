import Base
import Kernels
import Quant

/// A loaded model: its spec, its weights, and the forward pass of its layers.
///
/// Immutable: a forward pass keeps its state in what the caller passes (`LayerScratch`), so one model serves inference and
/// training, and several sessions on threads of their own (the kernels below are parallel as well).
public final class Transformer: Sendable {
    /// What the model is.
    public let spec: DecoderSpec
    /// Tokens that end what the model writes.
    public let stopTokens: Set<Int32>
    /// The frozen weights.
    public let weights: ModelWeights
    /// Where they came from.
    public let store: any WeightStore
    /// Kernels and threads.
    public let kernels: KernelContext
    /// Precision of the products with quantized weights in the forward.
    public let compute: Compute
    /// Precision of the products of a backward with them.
    public let backward: Compute
    /// Where the layers' weights lie, if they are in memory only while they are at work; nil: they stay.
    public let pages: LayerPages?

    /// Loads the model of an `.mqf` file or a Hugging Face folder.
    ///
    /// - Throws: a bad-input error for a missing or misshapen tensor, a usage error for a `compute` this CPU lacks.
    public init(store: any WeightStore, kernels: KernelContext, compute: Compute = .f32) throws {
        try kernels.require(compute)
        spec = try DecoderSpec(of: store)
        stopTokens = try StopTokens.read(
            path: store.path, vocabularySize: spec.vocabSize, textFile: store.textFile)
        weights = try ModelWeights(store: store, spec: spec)
        self.store = store
        self.kernels = kernels
        self.compute = compute
        backward = kernels.backwardCompute(for: compute)
        pages = nil
    }

    /// The same model, whose weights are in memory only while their layer is at work.
    ///
    /// - Throws: a bad-input error for a tensor that is missing.
    public func streamingWeights() throws -> Transformer {
        Transformer(
            self, weights: weights, compute: compute, backward: backward,
            pages: try LayerPages(store: store, spec: spec))
    }

    /// The same model in another precision; the weights are shared.
    ///
    /// - Parameter backward: nil: `KernelContext.backwardCompute`.
    /// - Throws: a usage error for a precision this CPU lacks.
    public func with(compute: Compute, backward: Compute? = nil) throws -> Transformer {
        let backward = backward ?? kernels.backwardCompute(for: compute)
        try kernels.require(compute)
        try kernels.require(backward)
        return Transformer(self, weights: weights, compute: compute, backward: backward)
    }

    /// The same model with other matrices for those projections of a layer, which must have their shapes.
    public func replacing(_ matrices: [Projection: Weight], layer: Int) -> Transformer {
        Transformer(
            self, weights: weights.replacing(matrices, layer: layer), compute: compute, backward: backward)
    }

    /// The same model with those projections of another one's layers, which must have the same modules and shapes.
    public func substituting(
        _ projections: Set<Projection>, layers: Set<Int>, from other: Transformer
    ) -> Transformer {
        Transformer(
            self, weights: weights.substituting(projections, layers: layers, from: other.weights), compute: compute,
            backward: backward)
    }

    private init(
        _ other: Transformer, weights: ModelWeights, compute: Compute, backward: Compute, pages: LayerPages? = nil
    ) {
        spec = other.spec
        stopTokens = other.stopTokens
        self.weights = weights
        store = other.store
        kernels = other.kernels
        self.compute = compute
        self.backward = backward
        self.pages = pages ?? other.pages
    }

    /// Checks that a text of that many tokens fits into the model's context.
    ///
    /// - Throws: a bad-input error that names both numbers.
    public func requireContext(of count: Int) throws {
        guard count <= spec.maxPositionEmbeddings else {
            throw MeraserError.badInput(
                "a text of \(count) tokens is longer than the context of \(spec.maxPositionEmbeddings) positions of "
                    + store.path)
        }
    }

    /// How inference stores keys and values: fp32 where it computes in fp32, else bf16.
    public var keyValueType: KeyValueType { compute == .f32 ? .f32 : .bf16 }

    /// x [T, hidden] = embeddings of `tokens`, scaled; `overlay` has rows in place of the model's.
    public func embed(_ tokens: [Int32], overlay: TokenOverlay?, into x: FloatMatrix) {
        kernels.gatherRows(weights.embedding, tokens, into: x)
        overlay?.place(tokens, in: x)
        if let scale = spec.embedding.scale { kernels.scale(x, by: scale) }
    }

    /// Replaces rows r..<r + n of embeddings x [T, hidden] by n vectors [n, hidden], for every r of `rows`.
    public func place(_ vectors: FloatMatrix, at rows: [Int], in x: FloatMatrix) {
        for i in rows.indices { x.slice(rows: rows[i]..<rows[i] + vectors.rows).copy(from: vectors) }
    }

    /// Rotates queries or keys of a layer in place, where it has positions; `inverse` is the backward.
    public func rotate(
        _ layer: Int, _ x: FloatMatrix, _ positions: [Int32], scratch: LayerScratch, inverse: Bool = false
    ) {
        let attention = spec.layers[layer].attention
        guard let rotary = attention.rotary, let table = scratch.rotary[layer] else { return }
        kernels.rotary(
            x, headDim: attention.headDim, width: rotary.width, interleaved: rotary.order == .interleaved,
            positions: table.rows(positions), cos: table.cos, sin: table.sin, inverse: inverse)
    }

    /// The final norm: normed [T, hidden] of the residual stream.
    public func finalNorm(_ x: FloatMatrix, into normed: FloatMatrix, rstd: FloatMatrix) {
        kernels.norm(x, weights.finalNorm, into: normed, rstd: rstd)
    }

    /// logits [T, V] of rows that went through `finalNorm`; `overlay` has rows in place of a tied head's.
    public func head(
        _ normed: FloatMatrix, overlay: TokenOverlay?, into logits: FloatMatrix, scratch: LayerScratch
    ) {
        kernels.linear(weights.head.weight, normed, into: logits, compute: compute, workspace: scratch.workspace)
        if let overlay, spec.head.isTied {
            for i in overlay.tokens.indices {
                kernels.replaceColumn(Int(overlay.tokens[i]), of: logits, by: overlay.rows[i], normed)
            }
        }
        if let bias = weights.head.bias { kernels.addBias(bias, into: logits, accumulate: true) }
        switch spec.head.output {
        case .plain: break
        case .scaled(let factor): kernels.scale(logits, by: factor)
        case .softCapped(let cap): kernels.softCap(logits, at: cap)
        }
    }

    /// Bytes that a scratch's workspace grows to for forwards and backwards of the layers with up to that many tokens.
    public func workspaceBytes(tokens: Int) -> Int {
        let (attention, mlp) = (spec.layers[0].attention, spec.layers[0].mlp)
        let widest = max(spec.hiddenSize, mlp.width, attention.queryWidth)
        let gradients = max(
            attention.queryWidth + 2 * attention.keyValueWidth, (mlp.isGated ? 2 : 1) * mlp.width, spec.hiddenSize)
        return max(
            kernels.workspaceBytes(compute, tokens: tokens, columns: widest),
            kernels.backwardWorkspaceBytes(backward, tokens: tokens, columns: gradients))
    }

    /// A projection and where its outputs go.
    typealias Target = (projection: Projection, y: FloatMatrix)

    /// y (+)= W·x + bias plus every adapter's scale · B · A · x, for up to three projections of the same x.
    func project(
        _ pass: LayerPass, _ x: FloatMatrix, _ first: Target, _ second: Target? = nil, _ third: Target? = nil,
        accumulate: Bool = false
    ) {
        let w = weights.layers[pass.layer]
        pass.scratch.onInput?([first, second, third].compactMap { $0?.projection }, x)
        func output(_ target: Target) -> LinearOutput {
            LinearOutput(w[target.projection].weight, into: target.y, accumulate: accumulate)
        }
        kernels.linear(
            x, output(first), second.map(output), third.map(output), compute: compute,
            workspace: pass.scratch.workspace)
        addBiasAndAdapters(pass, x, first)
        if let second { addBiasAndAdapters(pass, x, second) }
        if let third { addBiasAndAdapters(pass, x, third) }
    }

    /// y += bias + every adapter's scale · B · A · x. Dropout applies to the input of a training adapter.
    private func addBiasAndAdapters(_ pass: LayerPass, _ x: FloatMatrix, _ target: Target) {
        let (adapters, scratch) = (pass.adapters, pass.scratch)
        if let bias = weights.layers[pass.layer][target.projection].bias {
            kernels.addBias(bias, into: target.y, accumulate: true)
        }
        let module = ModuleKey(layer: pass.layer, projection: target.projection)
        for i in adapters.frozen.indices {
            guard let factors = adapters.frozen[i][module] else { continue }
            kernels.addLowRank(factors, x, into: target.y, scratch: scratch)
        }
        if let trained = adapters.trained, let factors = trained[module] {
            kernels.addLowRank(
                factors, adapters.dropped(x, module, kernels, scratch), into: target.y, scratch: scratch)
        }
    }
}

extension KernelContext {
    /// y += scale · B · (A · x).
    func addLowRank(_ factors: LoRAFactors, _ x: FloatMatrix, into y: FloatMatrix, scratch: LayerScratch) {
        let (u, _) = scratch.lowRank(rows: x.rows, rank: factors.rank)
        lowRankReduce(x, factors.a, .a, scale: factors.scale, into: u, workspace: scratch.workspace)
        lowRankExpand(u, factors.b, .b, into: y, accumulate: true, workspace: scratch.workspace)
    }
}
