import Kernels
import Quant

// The forward of layers whose wiring is `sequential`: x += m·attention(norm(x)), then x += m·mlp(norm(x)). Its backward is
// Tune/SequentialBackward.swift.
extension Transformer {
    /// The whole layer; returns the rows of `output` that were written.
    func forwardSequential(_ pass: LayerPass, _ acts: LayerActivations, into output: FloatMatrix) -> FloatMatrix {
        let acts = forwardSequentialAttention(pass, acts)
        let output = output.prefix(rows: acts.residual.rows)
        if acts.residual.rows == 0 { return output }
        forwardSequentialGate(pass, acts)
        if !output.beginsWhere(acts.residualMid) { output.copy(from: acts.residualMid) }
        add(pass, .down_proj, of: forwardProduct(pass, acts), to: output)
        return output
    }

    /// From `all.residual` to `all.residualMid`. Returns the activations that go on: all, or those of the last rows.
    @discardableResult
    func forwardSequentialAttention(_ pass: LayerPass, _ all: LayerActivations) -> LayerActivations {
        let normed = pass.scratch.hidden.prefix(rows: all.residual.rows)
        if let norm = weights.layers[pass.layer].attentionNorm {
            kernels.norm(all.residual, norm, into: normed, rstd: all[.attentionRstd])
        }
        let acts = forwardHeads(pass, normed, all)
        if acts.residual.rows == 0 { return acts }
        if !acts.residualMid.beginsWhere(acts.residual) { acts.residualMid.copy(from: acts.residual) }
        add(pass, .o_proj, of: acts.attention, to: acts.residualMid)
        return acts
    }

    /// `acts.gate` and `acts.up` from `acts.residualMid`.
    func forwardSequentialGate(_ pass: LayerPass, _ acts: LayerActivations) {
        let normed = pass.scratch.hidden.prefix(rows: acts.residual.rows)
        if let norm = weights.layers[pass.layer].mlpNorm {
            kernels.norm(acts.residualMid, norm, into: normed, rstd: acts[.mlpRstd])
        }
        forwardGate(pass, normed, acts)
    }

    /// stream += m · W·x.
    private func add(_ pass: LayerPass, _ projection: Projection, of x: FloatMatrix, to stream: FloatMatrix) {
        guard case .sequential(_, _, let multiplier) = spec.layers[pass.layer].wiring, multiplier != 1 else {
            return project(pass, x, (projection, stream), accumulate: true)
        }
        let branch = pass.scratch.hidden.prefix(rows: x.rows)
        project(pass, x, (projection, branch))
        kernels.addScaled(multiplier, branch, into: stream)
    }
}
