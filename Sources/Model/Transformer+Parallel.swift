import Kernels
import Quant

// The forward of layers whose wiring is `parallel`: x += attention(norm(x)) + mlp(norm(x)). Its backward is
// Tune/ParallelBackward.swift.
extension Transformer {
    /// The whole layer; returns the rows of `output` that were written.
    func forwardParallel(_ pass: LayerPass, _ acts: LayerActivations, into output: FloatMatrix) -> FloatMatrix {
        let acts = forwardParallelAttention(pass, acts)
        let output = output.prefix(rows: acts.residual.rows)
        if acts.residual.rows == 0 { return output }
        forwardParallelGate(pass, acts)
        if !output.beginsWhere(acts.residual) { output.copy(from: acts.residual) }
        project(pass, acts.attention, (.o_proj, output), accumulate: true)
        project(pass, forwardProduct(pass, acts), (.down_proj, output), accumulate: true)
        return output
    }

    /// From `all.residual` to `all.attention`. Returns the activations that go on: all, or those of the last rows.
    @discardableResult
    func forwardParallelAttention(_ pass: LayerPass, _ all: LayerActivations) -> LayerActivations {
        let normed = pass.scratch.hidden.prefix(rows: all.residual.rows)
        if let norm = weights.layers[pass.layer].attentionNorm {
            kernels.norm(all.residual, norm, into: normed, rstd: all[.attentionRstd])
        }
        return forwardHeads(pass, normed, all)
    }

    /// `acts.gate` and `acts.up` from `acts.residual`.
    func forwardParallelGate(_ pass: LayerPass, _ acts: LayerActivations) {
        let normed = pass.scratch.hidden.prefix(rows: acts.residual.rows)
        if let norm = weights.layers[pass.layer].mlpNorm {
            kernels.norm(acts.residual, norm, into: normed, rstd: acts[.mlpRstd])
        }
        forwardGate(pass, normed, acts)
    }
}
