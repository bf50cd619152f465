import Base
import Kernels
import Model
import Quant

/// The backward of one decoder layer: d(output) becomes d(input) in place, LoRA gradients are accumulated.
///
/// Through frozen weights only dX = dY·W is computed. Inputs that the forward did not keep (norms' outputs, what goes into
/// the down projection) are element-wise recomputations where an adapter needs them. How the parts are put together is in a
/// file a wiring, as in the forward.
struct LayerBackward {
    let model: Transformer
    /// Gradient of a sublayer's input or output, [T, hidden].
    let dHidden: FloatMatrix
    /// What the MLP adds to the stream's gradient where it stands beside the attention, [T, hidden]; else empty.
    let dBeside: FloatMatrix
    // Gradient of the down projection's input, [T, I]; shares memory with the next four.
    private let dProduct: FloatMatrix
    private let dQuery: FloatMatrix  // [T, H·D]
    private let dKey: FloatMatrix  // [T, G·D]
    private let dValue: FloatMatrix  // [T, G·D]
    private let dAttention: FloatMatrix  // [T, H·D]
    private let dInput: FloatMatrix  // gradient of a dropped adapter input, [T, droppedWidth]

    /// What belongs to the layer at work.
    struct Pass {
        let layer: Int
        let acts: LayerActivations
        let positions: [Int32]
        let sequences: [AttentionSequence]
        let step: ProjectionBackward
        let scratch: LayerScratch
        let throughInput: Bool
        let importance: PartImportance?
    }

    /// Buffers for up to `tokens` tokens; `droppedWidth` as in `LayerScratch`.
    init(model: Transformer, tokens: Int, droppedWidth: Int, arena: Arena) {
        self.model = model
        let (hiddenSize, layer) = (model.spec.hiddenSize, model.spec.layers[0])
        func matrix(_ columns: Int) -> FloatMatrix { arena.matrix(rows: tokens, columns: columns) }
        dHidden = matrix(hiddenSize)
        dBeside = matrix(layer.wiring.isParallel ? hiddenSize : 0)
        dInput = matrix(droppedWidth)
        let start = arena.used
        dProduct = matrix(layer.mlp.width)
        let end = arena.used
        arena.reset(to: start)
        dQuery = matrix(layer.attention.queryWidth)
        dKey = matrix(layer.attention.keyValueWidth)
        dValue = matrix(layer.attention.keyValueWidth)
        dAttention = matrix(layer.attention.queryWidth)
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
        throughInput: Bool, importance: PartImportance? = nil, sensitivity: OutputSensitivity? = nil
    ) {
        let step = ProjectionBackward(
            model: model, layer: layer, adapters: adapters, gradients: gradients, scratch: scratch, dInput: dInput,
            sensitivity: sensitivity)
        let pass = Pass(
            layer: layer, acts: acts, positions: positions, sequences: sequences, step: step, scratch: scratch,
            throughInput: throughInput, importance: importance)
        switch model.spec.layers[layer].wiring {
        case .sequential(_, _, let multiplier): sequential(pass, dStream, multiplier: multiplier)
        case .sandwich: sandwich(pass, dStream)
        case .parallel: parallel(pass, dStream)
        }
    }

    // MARK: What every wiring has

    /// From the gradient of the MLP's output, which may lie in `dHidden`, to that of its input, in `dHidden`. `stream` is what
    /// its norm reads, or its input where there is none.
    func mlp(_ pass: Pass, _ dOutput: FloatMatrix, stream: FloatMatrix, norm: NormWeights?) {
        let (acts, step, kernels) = (pass.acts, pass.step, model.kernels)
        let (spec, tokens) = (model.spec.layers[pass.layer].mlp, dOutput.rows)
        let product = pass.scratch.intermediate.prefix(rows: tokens)
        let dProduct = dProduct.prefix(rows: tokens)
        let dHidden = dHidden.prefix(rows: tokens)
        let (dGate, dUp) = (acts.gate, acts.up)
        if step.needsInput(.down_proj) || pass.importance != nil { model.activate(pass.layer, acts, into: product) }
        step.run(input: product, (.down_proj, dOutput), into: dProduct)
        pass.importance?.addChannels(layer: pass.layer, product, dProduct)
        if spec.isGated {
            kernels.gatedBackward(spec.activation, acts.gate, acts.up, dProduct, dgate: dGate, dup: dUp)
        } else {
            kernels.gatedBackward(spec.activation, acts.up, nil, dProduct, dgate: dUp, dup: nil)
        }

        let isRead = step.needsInput(.gate_proj) || step.needsInput(.up_proj) || step.needsInput(.gate_up_proj)
        let input = input(pass, stream, norm, isRead: isRead)
        switch spec.input {
        case .gated:
            step.run(input: input, (.gate_proj, dGate), (.up_proj, dUp), into: dHidden)
        case .plain:
            step.run(input: input, (.up_proj, dUp), into: dHidden)
        case .fusedGate(let linear):
            let fused = pass.scratch.fused(rows: tokens, columns: linear.rows)
            kernels.put(dGate, in: spec.fusedColumns.gate, of: fused)
            kernels.put(dUp, in: spec.fusedColumns.up, of: fused)
            step.run(input: input, (.gate_up_proj, fused), into: dHidden)
        }
    }

    /// From the gradient of the attention's output, which may lie in `dHidden`, to that of its input, in `dHidden` unless the
    /// pass ends here. `stream` is what its norm reads, or its input where there is none.
    func attention(_ pass: Pass, _ dOutput: FloatMatrix, stream: FloatMatrix, norm: NormWeights?) {
        let (layer, acts, step, kernels) = (pass.layer, pass.acts, pass.step, model.kernels)
        let (spec, weights) = (model.spec.layers[layer].attention, model.weights.layers[layer])
        let tokens = dOutput.rows
        let dAttention = dAttention.prefix(rows: tokens)
        let dQuery = dQuery.prefix(rows: tokens)
        let dKey = dKey.prefix(rows: tokens)
        let dValue = dValue.prefix(rows: tokens)
        step.run(input: acts.attention, (.o_proj, dOutput), into: dAttention)
        pass.importance?.addHeads(layer: layer, acts.attention, dAttention)
        kernels.attentionBackward(
            spec.shape, pass.sequences, type: model.keyValueType, keyValueStride: spec.keyValueWidth, q: acts.query,
            out: acts.attention, lse: acts[.logSumExp], dAttention, into: dQuery)
        model.rotate(layer, dQuery, pass.positions, scratch: pass.scratch, inverse: true)
        model.rotate(layer, dKey, pass.positions, scratch: pass.scratch, inverse: true)
        // What enters the norms of queries and keys; the matrices of the rotated ones are free by now.
        var (dQueryInput, dKeyInput) = (dQuery, dKey)
        if let norm = weights.queryNorm {
            dQueryInput = acts.query
            dQueryInput.fill(0)
            kernels.normBackward(acts[.queryInput], norm, rstd: acts[.queryRstd], dQuery, into: dQueryInput)
        }
        if let norm = weights.keyNorm {
            dKeyInput = acts.key
            dKeyInput.fill(0)
            kernels.normBackward(acts[.keyInput], norm, rstd: acts[.keyRstd], dKey, into: dKeyInput)
        }

        let isRead =
            step.needsInput(.q_proj) || step.needsInput(.k_proj) || step.needsInput(.v_proj)
            || step.needsInput(.qkv_proj)
        let input = input(pass, stream, norm, isRead: isRead)
        let dx = pass.throughInput ? dHidden.prefix(rows: tokens) : nil
        switch spec.input {
        case .separate:
            step.run(input: input, (.q_proj, dQueryInput), (.k_proj, dKeyInput), (.v_proj, dValue), into: dx)
        case .fused(let linear, let order):
            let fused = pass.scratch.fused(rows: tokens, columns: linear.rows)
            let columns = spec.columns(order)
            kernels.put(dQueryInput, in: columns.query, of: fused)
            kernels.put(dKeyInput, in: columns.key, of: fused)
            kernels.put(dValue, in: columns.value, of: fused)
            step.run(input: input, (.qkv_proj, fused), into: dx)
        }
    }

    /// The input of a sublayer: its norm of `stream`, computed again in the scratch where somebody reads it.
    private func input(_ pass: Pass, _ stream: FloatMatrix, _ norm: NormWeights?, isRead: Bool) -> FloatMatrix {
        guard let norm else { return stream }
        let normed = pass.scratch.hidden.prefix(rows: stream.rows)
        if isRead { model.kernels.norm(stream, norm, into: normed, rstd: pass.scratch.rstd) }
        return normed
    }
}
