import Base
import Kernels
import Quant

// The forward of layers whose wiring is `sequential`. Its backward is Tune/LayerBackward.swift.
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
                    + "compare the file's checksums with `verify`, and look at the adapter's learning rate")
        }
    }

    /// The first half of a layer: from `all.residual` to `all.residualMid`, writing every slot between. Returns the
    /// activations that go on: all, or those of the last rows.
    @discardableResult
    public func forwardAttention(
        _ layer: Int, _ all: LayerActivations, attention: AttentionContext, adapters: AdapterStack,
        scratch: LayerScratch, lastRows: [Int]? = nil
    ) -> LayerActivations {
        let (spec, weights) = (spec.layers[layer], weights.layers[layer])
        let normed = scratch.hidden.prefix(rows: all.residual.rows)
        kernels.rmsNorm(
            all.residual, weight: weights.inputNorm, eps: spec.inputNorm.eps, into: normed, rstd: all[.attentionRstd])
        // Where queries and keys are normed, what the backward of the norm reads has slots of its own.
        let query = weights.queryNorm == nil ? all.query : all[.queryInput]
        let key = weights.keyNorm == nil ? all.key : all[.keyInput]
        project(
            layer, normed, (.q_proj, query), (.k_proj, key), (.v_proj, all.value), adapters: adapters,
            scratch: scratch)
        if let weight = weights.queryNorm, let norm = spec.attention.qNorm {
            headNorm(query, norm, weight, into: all.query, rstd: all[.queryRstd])
        }
        if let weight = weights.keyNorm, let norm = spec.attention.kNorm {
            headNorm(key, norm, weight, into: all.key, rstd: all[.keyRstd])
        }
        rotate(layer, all.query, attention.positions, scratch: scratch)
        rotate(layer, all.key, attention.positions, scratch: scratch)
        var acts = all
        if let lastRows { acts = attention.keepLast(lastRows, all) }
        attention.attend(
            layer: layer, kernels, spec.attention.shape, queries: acts.query, queryCounts: lastRows, keys: all.key,
            values: all.value, into: acts.attention, logSumExp: acts[.logSumExp], call: scratch.attentionCall)
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
            acts.residualMid, weight: weights.layers[layer].postAttentionNorm,
            eps: spec.layers[layer].postAttentionNorm.eps, into: normed, rstd: acts[.mlpRstd])
        project(layer, normed, (.gate_proj, acts.gate), (.up_proj, acts.up), adapters: adapters, scratch: scratch)
    }

    /// y = the RMS norm over each head of x, both [T, heads·D]; rstd [T, heads].
    private func headNorm(
        _ x: FloatMatrix, _ norm: NormSpec, _ weight: FloatMatrix, into y: FloatMatrix, rstd: FloatMatrix
    ) {
        let heads = x.count / norm.width
        kernels.rmsNorm(
            x.reshaped(rows: heads, columns: norm.width), weight: weight, eps: norm.eps,
            into: y.reshaped(rows: heads, columns: norm.width), rstd: rstd.reshaped(rows: heads, columns: 1))
    }
}
