import Base
import Kernels
import Quant

/// What the parts of a layer's forward need beside its activations.
struct LayerPass {
    /// Which layer.
    let layer: Int
    /// How queries find their keys.
    let attention: AttentionContext
    /// The adapters on the model.
    let adapters: AdapterStack
    /// What is worked in.
    let scratch: LayerScratch
    /// How many last rows of each sequence go beyond the keys and values; nil: all.
    var lastRows: [Int]?
}

extension Transformer {
    /// One decoder layer: reads the residual stream `acts.residual`, writes `output` [T, hidden] and every other slot
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
        pages?.willNeed(layer + 1)
        defer { pages?.release(layer) }
        let pass = LayerPass(
            layer: layer, attention: attention, adapters: adapters, scratch: scratch, lastRows: lastRows)
        let written =
            switch spec.layers[layer].wiring {
            case .sequential: forwardSequential(pass, acts, into: output)
            case .sandwich: forwardSandwich(pass, acts, into: output)
            case .parallel: forwardParallel(pass, acts, into: output)
            }
        if written.rows > 0, let row = kernels.firstNonFiniteRow(written) {
            throw MeraserError.runtime(
                "\(store.path): the output of layer \(layer) is not finite at token \(row) of the batch; "
                    + "compare the file's checksums with `verify`, and look at the adapter's learning rate")
        }
    }

    /// Computes the slots of the group `attention` again, from `acts.residual`.
    public func recomputeAttention(
        _ layer: Int, _ acts: LayerActivations, attention: AttentionContext, adapters: AdapterStack,
        scratch: LayerScratch
    ) {
        let pass = LayerPass(layer: layer, attention: attention, adapters: adapters, scratch: scratch)
        switch spec.layers[layer].wiring {
        case .sequential: forwardSequentialAttention(pass, acts)
        case .sandwich: forwardSandwichAttention(pass, acts)
        case .parallel: forwardParallelAttention(pass, acts)
        }
    }

    /// Computes the slots of the group `mlp` again, from the stream that the MLP's norm reads.
    public func recomputeMLP(
        _ layer: Int, _ acts: LayerActivations, attention: AttentionContext, adapters: AdapterStack,
        scratch: LayerScratch
    ) {
        let pass = LayerPass(layer: layer, attention: attention, adapters: adapters, scratch: scratch)
        switch spec.layers[layer].wiring {
        case .sequential: forwardSequentialGate(pass, acts)
        case .sandwich: forwardSandwichMLP(pass, acts)
        case .parallel: forwardParallelGate(pass, acts)
        }
    }
}

// What every wiring has.
extension Transformer {
    /// From the attention's input x [T, hidden] to the heads' outputs `acts.attention`, writing every slot between. Returns
    /// the activations that go on: all, or those of the last rows.
    func forwardHeads(_ pass: LayerPass, _ x: FloatMatrix, _ all: LayerActivations) -> LayerActivations {
        let (spec, weights) = (spec.layers[pass.layer].attention, weights.layers[pass.layer])
        // Where queries and keys are normed, what the backward of the norm reads has slots of its own.
        let query = weights.queryNorm == nil ? all.query : all[.queryInput]
        let key = weights.keyNorm == nil ? all.key : all[.keyInput]
        switch spec.input {
        case .separate:
            project(pass, x, (.q_proj, query), (.k_proj, key), (.v_proj, all.value))
        case .fused(let linear, let order):
            let fused = pass.scratch.fused(rows: x.rows, columns: linear.rows)
            project(pass, x, (.qkv_proj, fused))
            let columns = spec.columns(order)
            kernels.take(columns.query, of: fused, into: query)
            kernels.take(columns.key, of: fused, into: key)
            kernels.take(columns.value, of: fused, into: all.value)
        }
        if let norm = weights.queryNorm { kernels.norm(query, norm, into: all.query, rstd: all[.queryRstd]) }
        if let norm = weights.keyNorm { kernels.norm(key, norm, into: all.key, rstd: all[.keyRstd]) }
        rotate(pass.layer, all.query, pass.attention.positions, scratch: pass.scratch)
        rotate(pass.layer, all.key, pass.attention.positions, scratch: pass.scratch)
        var acts = all
        if let lastRows = pass.lastRows { acts = pass.attention.keepLast(lastRows, all) }
        pass.attention.attend(
            layer: pass.layer, kernels, spec.shape, queries: acts.query, queryCounts: pass.lastRows, keys: all.key,
            values: all.value, into: acts.attention, logSumExp: acts[.logSumExp], call: pass.scratch.attentionCall)
        return acts
    }

    /// `acts.gate`, where the MLP has one, and `acts.up` from its input x [T, hidden].
    func forwardGate(_ pass: LayerPass, _ x: FloatMatrix, _ acts: LayerActivations) {
        let spec = spec.layers[pass.layer].mlp
        switch spec.input {
        case .gated:
            project(pass, x, (.gate_proj, acts.gate), (.up_proj, acts.up))
        case .plain:
            project(pass, x, (.up_proj, acts.up))
        case .fusedGate(let linear):
            let fused = pass.scratch.fused(rows: x.rows, columns: linear.rows)
            project(pass, x, (.gate_up_proj, fused))
            kernels.take(spec.fusedColumns.gate, of: fused, into: acts.gate)
            kernels.take(spec.fusedColumns.up, of: fused, into: acts.up)
        }
    }

    /// What goes into the down projection, [T, I], in the scratch.
    func forwardProduct(_ pass: LayerPass, _ acts: LayerActivations) -> FloatMatrix {
        let product = pass.scratch.intermediate.prefix(rows: acts.residual.rows)
        activate(pass.layer, acts, into: product)
        return product
    }

    /// product [T, I] = f(gate) · up, or f(up).
    public func activate(_ layer: Int, _ acts: LayerActivations, into product: FloatMatrix) {
        let mlp = spec.layers[layer].mlp
        if mlp.isGated {
            kernels.gated(mlp.activation, acts.gate, acts.up, into: product)
        } else {
            kernels.gated(mlp.activation, acts.up, nil, into: product)
        }
    }
}
