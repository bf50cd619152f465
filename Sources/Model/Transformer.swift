import Kernels
import Quant

/// A loaded model: configuration, weights, and the forward pass of its layers.
///
/// The weights are never written. The forward pass keeps its state in what the caller passes, so one model serves
/// inference and training; use it from one thread at a time (the kernels below are parallel).
public final class Transformer {
    /// Shapes and hyper-parameters.
    public let config: ModelConfig
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
    /// Cosines and sines.
    public let rotary: RotaryTable
    /// Scratch of the linear kernels.
    public let workspace = LinearWorkspace()
    /// Scratch of attention.
    private let attentionCall = AttentionCall()

    /// Loads the model of an `.mqf` file or a Hugging Face folder.
    ///
    /// - Throws: a bad-input error for a missing or misshapen tensor, a usage error for a `compute` this CPU lacks.
    public init(store: any WeightStore, kernels: KernelContext, compute: Compute = .f32) throws {
        guard let json = try store.textFile("config.json") else {
            throw MeraserError.badInput(
                "\(store.path): no config.json in it; expected a Hugging Face folder or an MQF file")
        }
        try kernels.require(compute)
        config = try ModelConfig(json: json, file: "\(store.path): config.json")
        stopTokens = try StopTokens.read(store: store, vocabularySize: config.vocabSize)
        weights = try ModelWeights(store: store, config: config)
        self.store = store
        self.kernels = kernels
        self.compute = compute
        rotary = RotaryTable(headDim: config.headDim, theta: config.ropeTheta, scaling: config.ropeScaling)
    }

    /// The same model in another precision; the weights are shared.
    ///
    /// - Throws: a usage error for a `compute` this CPU lacks.
    public func with(compute: Compute) throws -> Transformer {
        try kernels.require(compute)
        return Transformer(self, compute: compute)
    }

    private init(_ other: Transformer, compute: Compute) {
        config = other.config
        stopTokens = other.stopTokens
        weights = other.weights
        store = other.store
        kernels = other.kernels
        rotary = other.rotary
        self.compute = compute
    }

    /// The attention's shape.
    public var attentionShape: AttentionShape { config.attentionShape }

    /// How inference stores keys and values: fp32 where it computes in fp32, else bf16.
    public var keyValueType: KeyValueType { compute == .f32 ? .f32 : .bf16 }

    /// x [T, hidden] = embeddings of `tokens`.
    public func embed(_ tokens: [Int32], into x: FloatMatrix) {
        kernels.gatherRows(weights.embedding, tokens, into: x)
    }

    /// Replaces rows r..<r + n of embeddings x [T, hidden] by n vectors [n, hidden], for every r of `rows`.
    public func place(_ vectors: FloatMatrix, at rows: [Int], in x: FloatMatrix) {
        for i in rows.indices { x.slice(rows: rows[i]..<rows[i] + vectors.rows).copy(from: vectors) }
    }

    /// One decoder layer: reads the residual stream `acts.residual`, writes `output` [T, hidden] and every other field
    /// of `acts`, which is all that the backward needs. Where `acts.residualMid` is the residual stream itself, as in
    /// inference, `output` is it too, and nothing is copied.
    ///
    /// With `lastRows`, only as many last rows of each sequence go beyond the keys and values: they are moved to the
    /// front of the residual stream, and as many rows of `output` are written.
    /// - Throws: a runtime error naming layer and row if a value is not finite.
    public func forwardLayer(
        _ layer: Int, _ acts: LayerActivations, attention: AttentionContext, adapters: AdapterStack,
        into output: FloatMatrix, scratch: LayerScratch, lastRows: [Int]? = nil
    ) throws {
        let acts = forwardAttention(
            layer, acts, attention: attention, adapters: adapters, scratch: scratch, lastRows: lastRows)
        if acts.residual.rows == 0 { return }
        forwardGate(layer, acts, adapters: adapters, scratch: scratch)
        let product = scratch.intermediate.prefix(rows: acts.residual.rows)
        kernels.swiGLU(acts.gate, acts.up, into: product)
        let output = output.prefix(rows: acts.residual.rows)
        if !output.beginsWhere(acts.residualMid) { output.copy(from: acts.residualMid) }
        project(
            layer, product, (.down_proj, output), adapters: adapters, scratch: scratch,
            accumulate: true)

        if let row = kernels.firstNonFiniteRow(output) {
            throw MeraserError.runtime(
                "\(store.path): the output of layer \(layer) is not finite at token \(row) of the batch; "
                    + "check the file with 'meraser inspect --verify' and the adapter's learning rate")
        }
    }

    /// The first half of a layer: from `all.residual` to `all.residualMid`, writing every field between. Returns the
    /// activations that go on: all, or those of the last rows.
    @discardableResult
    public func forwardAttention(
        _ layer: Int, _ all: LayerActivations, attention: AttentionContext, adapters: AdapterStack,
        scratch: LayerScratch, lastRows: [Int]? = nil
    ) -> LayerActivations {
        let normed = scratch.hidden.prefix(rows: all.residual.rows)
        kernels.rmsNorm(
            all.residual, weight: weights.layers[layer].inputNorm, eps: config.rmsNormEps, into: normed,
            rstd: all.attentionRstd)
        project(
            layer, normed, (.q_proj, all.query), (.k_proj, all.key), (.v_proj, all.value), adapters: adapters,
            scratch: scratch)
        rotate(all.query, attention.positions)
        rotate(all.key, attention.positions)
        var acts = all
        if let lastRows { acts = attention.keepLast(lastRows, all) }
        attention.attend(
            layer: layer, kernels, attentionShape, queries: acts.query, queryCounts: lastRows, keys: all.key,
            values: all.value, into: acts.attention, logSumExp: acts.logSumExp, call: attentionCall)
        if acts.residual.rows == 0 { return acts }
        if !acts.residualMid.beginsWhere(acts.residual) { acts.residualMid.copy(from: acts.residual) }
        project(
            layer, acts.attention, (.o_proj, acts.residualMid), adapters: adapters, scratch: scratch, accumulate: true)
        return acts
    }

    /// The beginning of a layer's second half: `acts.gate` and `acts.up` from `acts.residualMid`.
    public func forwardGate(_ layer: Int, _ acts: LayerActivations, adapters: AdapterStack, scratch: LayerScratch) {
        let normed = scratch.hidden.prefix(rows: acts.residual.rows)
        kernels.rmsNorm(
            acts.residualMid, weight: weights.layers[layer].postAttentionNorm, eps: config.rmsNormEps, into: normed,
            rstd: acts.mlpRstd)
        project(layer, normed, (.gate_proj, acts.gate), (.up_proj, acts.up), adapters: adapters, scratch: scratch)
    }

    /// Rotates queries or keys in place; `inverse` is the backward.
    public func rotate(_ x: FloatMatrix, _ positions: [Int32], inverse: Bool = false) {
        kernels.rotary(
            x, headDim: config.headDim, positions: positions, cos: rotary.cos, sin: rotary.sin, inverse: inverse)
    }

    /// The final norm: normed [T, hidden] of the residual stream.
    public func finalNorm(_ x: FloatMatrix, into normed: FloatMatrix, rstd: FloatMatrix) {
        kernels.rmsNorm(x, weight: weights.finalNorm, eps: config.rmsNormEps, into: normed, rstd: rstd)
    }

    /// logits [T, V] of rows that went through `finalNorm`.
    public func head(_ normed: FloatMatrix, into logits: FloatMatrix) {
        kernels.linear(weights.head, normed, into: logits, compute: compute, workspace: workspace)
    }

    /// Bytes that `workspace` grows to for forwards and backwards of the layers with up to that many tokens.
    public func workspaceBytes(tokens: Int) -> Int {
        let widest = max(config.hiddenSize, config.intermediateSize, config.queryWidth)
        let gradients = max(
            config.queryWidth + 2 * config.keyValueWidth, 2 * config.intermediateSize, config.hiddenSize)
        return max(
            kernels.workspaceBytes(compute, tokens: tokens, columns: widest),
            kernels.backwardWorkspaceBytes(tokens: tokens, columns: gradients))
    }

    /// A projection and where its outputs go.
    private typealias Target = (projection: Projection, y: FloatMatrix)

    /// y (+)= W·x plus every adapter's scale · B · A · x, for up to three projections of the same x.
    private func project(
        _ layer: Int, _ x: FloatMatrix, _ first: Target, _ second: Target? = nil, _ third: Target? = nil,
        adapters: AdapterStack, scratch: LayerScratch, accumulate: Bool = false
    ) {
        let w = weights.layers[layer]
        func output(_ target: Target) -> LinearOutput {
            LinearOutput(w[target.projection], into: target.y, accumulate: accumulate)
        }
        kernels.linear(
            x, output(first), second.map(output), third.map(output), compute: compute, workspace: workspace)
        addAdapters(layer, x, first, adapters, scratch)
        if let second { addAdapters(layer, x, second, adapters, scratch) }
        if let third { addAdapters(layer, x, third, adapters, scratch) }
    }

    /// y += every adapter's scale · B · A · x. Dropout applies to the input of a training adapter.
    private func addAdapters(
        _ layer: Int, _ x: FloatMatrix, _ target: Target, _ adapters: AdapterStack, _ scratch: LayerScratch
    ) {
        let module = ModuleKey(layer: layer, projection: target.projection)
        for i in adapters.frozen.indices {
            guard let factors = adapters.frozen[i][module] else { continue }
            kernels.addLowRank(factors, x, into: target.y, scratch: scratch, workspace: workspace)
        }
        if let trained = adapters.trained, let factors = trained[module] {
            kernels.addLowRank(
                factors, adapters.dropped(x, module, kernels, scratch), into: target.y, scratch: scratch,
                workspace: workspace)
        }
    }
}

extension KernelContext {
    /// y += scale · B · (A · x).
    func addLowRank(
        _ factors: LoRAFactors, _ x: FloatMatrix, into y: FloatMatrix, scratch: LayerScratch,
        workspace: LinearWorkspace
    ) {
        let (u, _) = scratch.lowRank(rows: x.rows, rank: factors.rank)
        lowRankReduce(x, factors.a, .a, scale: factors.scale, into: u, workspace: workspace)
        lowRankExpand(u, factors.b, .b, into: y, accumulate: true, workspace: workspace)
    }
}
