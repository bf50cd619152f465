import Base
import Kernels
import Model
import Quant

/// The backward of one decoder layer whose wiring is `sequential` (Model/Transformer+Sequential.swift): d(output) becomes d(input) in place, LoRA gradients are accumulated.
///
/// Through frozen weights only dX = dY·W is computed. Inputs that the forward did not keep (the two norms' outputs,
/// SiLU(gate)·up) are element-wise recomputations where an adapter needs them.
struct LayerBackward {
    private let model: Transformer
    private let dHidden: FloatMatrix  // gradient of a normed stream, [T, hidden]
    private let dProduct: FloatMatrix  // gradient of SiLU(gate)·up, [T, I]; shares memory with the next four
    private let dQuery: FloatMatrix  // [T, H·D]
    private let dKey: FloatMatrix  // [T, G·D]
    private let dValue: FloatMatrix  // [T, G·D]
    private let dAttention: FloatMatrix  // [T, H·D]
    private let dInput: FloatMatrix  // gradient of a dropped adapter input, [T, droppedWidth]
    private let rstd: FloatMatrix  // [T]

    /// Buffers for up to `tokens` tokens; `droppedWidth` as in `LayerScratch`.
    init(model: Transformer, tokens: Int, droppedWidth: Int, arena: Arena) {
        self.model = model
        let (hiddenSize, attention) = (model.spec.hiddenSize, model.spec.layers[0].attention)
        func matrix(_ columns: Int) -> FloatMatrix { arena.matrix(rows: tokens, columns: columns) }
        dHidden = matrix(hiddenSize)
        dInput = matrix(droppedWidth)
        rstd = matrix(1)
        let start = arena.used
        dProduct = matrix(model.spec.layers[0].mlp.width)
        let end = arena.used
        arena.reset(to: start)
        dQuery = matrix(attention.queryWidth)
        dKey = matrix(attention.keyValueWidth)
        dValue = matrix(attention.keyValueWidth)
        dAttention = matrix(attention.queryWidth)
        // The larger of the two stays taken.
        if arena.used < end { _ = arena.matrix(rows: 1, columns: end - arena.used) }
    }

    /// The sequences of a batch for the attention of every layer, forward and backward: their keys and values are rows
    /// of `acts`. Appended to `list`.
    func appendSequences(of batch: PackedBatch, _ acts: LayerActivations, to list: inout [AttentionSequence]) {
        for i in batch.sequences.indices {
            let sequence = batch.sequences[i]
            let rows = sequence.start..<sequence.start + sequence.count
            list.append(
                AttentionSequence(
                    queryStart: sequence.start, queryCount: sequence.count, keys: acts.key.slice(rows: rows),
                    values: acts.value.slice(rows: rows), dKeys: dKey.slice(rows: rows),
                    dValues: dValue.slice(rows: rows)))
        }
    }

    /// `dStream` [T, hidden] holds the gradient of the layer's output and receives that of its input; without
    /// `throughInput` only the layer's adapters get theirs. `acts.gate` and `acts.up` are overwritten.
    func propagate(
        _ layer: Int, _ acts: LayerActivations, _ dStream: FloatMatrix, positions: [Int32],
        sequences: [AttentionSequence], adapters: AdapterStack, gradients: LoRAAdapter, scratch: LayerScratch,
        throughInput: Bool, importance: PartImportance? = nil
    ) {
        let step = ProjectionBackward(
            model: model, layer: layer, adapters: adapters, gradients: gradients, scratch: scratch, dInput: dInput)
        feedForward(layer, acts, dStream, step, scratch, importance)
        attention(layer, acts, dStream, positions, sequences, step, scratch, throughInput, importance)
    }

    private func feedForward(
        _ layer: Int, _ acts: LayerActivations, _ dStream: FloatMatrix, _ step: ProjectionBackward,
        _ scratch: LayerScratch, _ importance: PartImportance?
    ) {
        let tokens = dStream.rows
        let kernels = model.kernels
        let (spec, weights) = (model.spec.layers[layer], model.weights.layers[layer])
        let product = scratch.intermediate.prefix(rows: tokens)
        let dProduct = dProduct.prefix(rows: tokens)
        let (dGate, dUp) = (acts.gate, acts.up)
        let dHidden = dHidden.prefix(rows: tokens)
        if step.needsInput(.down_proj) || importance != nil { kernels.swiGLU(acts.gate, acts.up, into: product) }
        step.run(input: product, (.down_proj, dStream), into: dProduct)
        importance?.addChannels(layer: layer, product, dProduct)
        kernels.swiGLUBackward(acts.gate, acts.up, dProduct, dgate: dGate, dup: dUp)

        let normed = scratch.hidden.prefix(rows: tokens)
        if step.needsInput(.gate_proj) || step.needsInput(.up_proj) {
            kernels.rmsNorm(
                acts.residualMid, weight: weights.postAttentionNorm, eps: spec.postAttentionNorm.eps, into: normed,
                rstd: rstd)
        }
        step.run(input: normed, (.gate_proj, dGate), (.up_proj, dUp), into: dHidden)
        kernels.rmsNormBackward(
            acts.residualMid, weight: weights.postAttentionNorm, rstd: acts[.mlpRstd], dHidden, into: dStream)
    }

    private func attention(
        _ layer: Int, _ acts: LayerActivations, _ dStream: FloatMatrix, _ positions: [Int32],
        _ sequences: [AttentionSequence], _ step: ProjectionBackward, _ scratch: LayerScratch, _ throughInput: Bool,
        _ importance: PartImportance?
    ) {
        let tokens = dStream.rows
        let kernels = model.kernels
        let (spec, weights) = (model.spec.layers[layer], model.weights.layers[layer])
        let dAttention = dAttention.prefix(rows: tokens)
        let dQuery = dQuery.prefix(rows: tokens)
        let dKey = dKey.prefix(rows: tokens)
        let dValue = dValue.prefix(rows: tokens)
        let dHidden = dHidden.prefix(rows: tokens)
        step.run(input: acts.attention, (.o_proj, dStream), into: dAttention)
        importance?.addHeads(layer: layer, acts.attention, dAttention)
        kernels.attentionBackward(
            spec.attention.shape, sequences, type: model.keyValueType, keyValueStride: spec.attention.keyValueWidth,
            q: acts.query, out: acts.attention, lse: acts[.logSumExp], dAttention, into: dQuery)
        model.rotate(layer, dQuery, positions, scratch: scratch, inverse: true)
        model.rotate(layer, dKey, positions, scratch: scratch, inverse: true)
        // What enters the norms over heads; the matrices of the rotated queries and keys are free by now.
        var (dQueryInput, dKeyInput) = (dQuery, dKey)
        if let weight = weights.queryNorm {
            dQueryInput = headNormBackward(acts[.queryInput], weight, acts[.queryRstd], dQuery, into: acts.query)
        }
        if let weight = weights.keyNorm {
            dKeyInput = headNormBackward(acts[.keyInput], weight, acts[.keyRstd], dKey, into: acts.key)
        }

        let normed = scratch.hidden.prefix(rows: tokens)
        if step.needsInput(.q_proj) || step.needsInput(.k_proj) || step.needsInput(.v_proj) {
            kernels.rmsNorm(
                acts.residual, weight: weights.inputNorm, eps: spec.inputNorm.eps, into: normed, rstd: rstd)
        }
        step.run(
            input: normed, (.q_proj, dQueryInput), (.k_proj, dKeyInput), (.v_proj, dValue),
            into: throughInput ? dHidden : nil)
        guard throughInput else { return }
        kernels.rmsNormBackward(
            acts.residual, weight: weights.inputNorm, rstd: acts[.attentionRstd], dHidden, into: dStream)
    }

    /// The gradient of what entered an RMS norm over heads, written to `dx` and returned; all but `rstd` [T, heads·D].
    private func headNormBackward(
        _ x: FloatMatrix, _ weight: FloatMatrix, _ rstd: FloatMatrix, _ dy: FloatMatrix, into dx: FloatMatrix
    ) -> FloatMatrix {
        let (heads, width) = (x.count / weight.count, weight.count)
        dx.fill(0)
        model.kernels.rmsNormBackward(
            x.reshaped(rows: heads, columns: width), weight: weight, rstd: rstd.reshaped(rows: heads, columns: 1),
            dy.reshaped(rows: heads, columns: width), into: dx.reshaped(rows: heads, columns: width))
        return dx
    }
}

/// The backward of one projection with its adapters.
struct ProjectionBackward {
    let model: Transformer
    let layer: Int
    let adapters: AdapterStack
    let gradients: LoRAAdapter
    let scratch: LayerScratch
    let dInput: FloatMatrix

    /// True if a trained adapter sits there, whose gradient reads the projection's input.
    func needsInput(_ projection: Projection) -> Bool {
        adapters.trained?[ModuleKey(layer: layer, projection: projection)] != nil
    }

    /// A projection and the gradient of its outputs.
    typealias Source = (projection: Projection, dy: FloatMatrix)

    /// dx = Σ dy·W + Σ scale · (dy·B)·A over the projections of the same x and their adapters, unless `dx` is nil;
    /// accumulates dA and dB of the trained ones.
    func run(
        input x: FloatMatrix, _ first: Source, _ second: Source? = nil, _ third: Source? = nil, into dx: FloatMatrix?
    ) {
        if let dx {
            let w = model.weights.layers[layer]
            func input(_ source: Source) -> LinearInput { LinearInput(w[source.projection].weight, source.dy) }
            model.kernels.linearBackward(
                input(first), second.map(input), third.map(input), into: dx,
                compute: model.kernels.backwardCompute(for: model.compute), workspace: scratch.workspace)
        }
        addAdapters(first, input: x, into: dx)
        if let second { addAdapters(second, input: x, into: dx) }
        if let third { addAdapters(third, input: x, into: dx) }
    }

    private func addAdapters(_ source: Source, input x: FloatMatrix, into dx: FloatMatrix?) {
        let kernels = model.kernels
        let dy = source.dy
        let module = ModuleKey(layer: layer, projection: source.projection)
        let workspace = scratch.workspace
        if let dx {
            for i in adapters.frozen.indices {
                guard let factors = adapters.frozen[i][module] else { continue }
                let (du, _) = scratch.lowRank(rows: dy.rows, rank: factors.rank)
                kernels.lowRankReduce(dy, factors.b, .b, scale: factors.scale, into: du, workspace: workspace)
                kernels.lowRankExpand(du, factors.a, .a, into: dx, accumulate: true, workspace: workspace)
            }
        }
        guard let factors = adapters.trained?[module], let gradient = gradients[module] else { return }
        // With u = scale·A·x̃ and y = B·u, x̃ being x after dropout:
        // dB = dyᵀ·u, du = scale·dy·B, dA = duᵀ·x̃, dx += dropout(du·A).
        let dropped = adapters.dropped(x, module, kernels, scratch)
        let (du, u) = scratch.lowRank(rows: dy.rows, rank: factors.rank)
        kernels.lowRankReduce(dy, factors.b, .b, scale: factors.scale, into: du, workspace: workspace)
        kernels.lowRankReduce(dropped, factors.a, .a, scale: factors.scale, into: u, workspace: workspace)
        kernels.accumulateLowRankGradient(u, dy, .b, into: gradient.b)
        kernels.accumulateLowRankGradient(du, dropped, .a, into: gradient.a)
        guard let dx else { return }
        if let key = adapters.dropout {
            let d = dInput.reshaped(rows: dx.rows, columns: dx.columns)
            kernels.lowRankExpand(du, factors.a, .a, into: d, accumulate: false, workspace: workspace)
            kernels.dropout(d, key: key, site: module.site, into: dx, accumulate: true)
        } else {
            kernels.lowRankExpand(du, factors.a, .a, into: dx, accumulate: true, workspace: workspace)
        }
    }
}
