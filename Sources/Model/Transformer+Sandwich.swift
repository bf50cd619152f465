import Kernels
import Quant

// The forward of layers whose wiring is `sandwich`: x += norm(attention(norm(x))), then x += norm(mlp(norm(x))), the norms in
// front being there or not. Its backward is Tune/SandwichBackward.swift.
extension Transformer {
    /// The whole layer; returns the rows of `output` that were written.
    func forwardSandwich(_ pass: LayerPass, _ acts: LayerActivations, into output: FloatMatrix) -> FloatMatrix {
        let acts = forwardSandwichAttention(pass, acts)
        let output = output.prefix(rows: acts.residual.rows)
        if acts.residual.rows == 0 { return output }
        let branch = forwardSandwichMLP(pass, acts)
        if !output.beginsWhere(acts.residualMid) { output.copy(from: acts.residualMid) }
        kernels.addScaled(1, branch, into: output)
        return output
    }

    /// From `all.residual` to `all.residualMid`. Returns the activations that go on: all, or those of the last rows.
    @discardableResult
    func forwardSandwichAttention(_ pass: LayerPass, _ all: LayerActivations) -> LayerActivations {
        let weights = weights.layers[pass.layer]
        var input = all.residual
        if let norm = weights.attentionNorm {
            input = pass.scratch.hidden.prefix(rows: all.residual.rows)
            kernels.norm(all.residual, norm, into: input, rstd: all[.attentionRstd])
        }
        let acts = forwardHeads(pass, input, all)
        if acts.residual.rows == 0 { return acts }
        project(pass, acts.attention, (.o_proj, acts[.attentionOutput]))
        let branch = pass.scratch.hidden.prefix(rows: acts.residual.rows)
        if let norm = weights.attentionOutputNorm {
            kernels.norm(acts[.attentionOutput], norm, into: branch, rstd: acts[.attentionOutputRstd])
        }
        if !acts.residualMid.beginsWhere(acts.residual) { acts.residualMid.copy(from: acts.residual) }
        kernels.addScaled(1, branch, into: acts.residualMid)
        return acts
    }

    /// From `acts.residualMid` to what is added to it, which is returned (in the scratch).
    @discardableResult
    func forwardSandwichMLP(_ pass: LayerPass, _ acts: LayerActivations) -> FloatMatrix {
        let weights = weights.layers[pass.layer]
        let scratch = pass.scratch.hidden.prefix(rows: acts.residual.rows)
        var input = acts.residualMid
        if let norm = weights.mlpNorm {
            input = scratch
            kernels.norm(acts.residualMid, norm, into: input, rstd: acts[.mlpRstd])
        }
        forwardGate(pass, input, acts)
        project(pass, forwardProduct(pass, acts), (.down_proj, acts[.mlpOutput]))
        if let norm = weights.mlpOutputNorm {
            kernels.norm(acts[.mlpOutput], norm, into: scratch, rstd: acts[.mlpOutputRstd])
        }
        return scratch
    }
}
