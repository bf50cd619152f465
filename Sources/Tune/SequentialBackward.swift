import Kernels
import Model
import Quant

// The backward of layers whose wiring is `sequential` (Model/Transformer+Sequential.swift).
extension LayerBackward {
    /// `dStream` as in `propagate`.
    func sequential(_ pass: Pass, _ dStream: FloatMatrix, multiplier: Float) {
        let (acts, kernels, weights) = (pass.acts, model.kernels, model.weights.layers[pass.layer])
        let dHidden = dHidden.prefix(rows: dStream.rows)
        mlp(pass, times(multiplier, dStream), stream: acts.residualMid, norm: weights.mlpNorm)
        if let norm = weights.mlpNorm {
            kernels.normBackward(acts.residualMid, norm, rstd: acts[.mlpRstd], dHidden, into: dStream)
        }
        attention(pass, times(multiplier, dStream), stream: acts.residual, norm: weights.attentionNorm)
        guard pass.throughInput, let norm = weights.attentionNorm else { return }
        kernels.normBackward(acts.residual, norm, rstd: acts[.attentionRstd], dHidden, into: dStream)
    }

    /// The gradient of a branch that was multiplied by a factor: in `dHidden`, unless the factor is 1.
    private func times(_ multiplier: Float, _ dStream: FloatMatrix) -> FloatMatrix {
        if multiplier == 1 { return dStream }
        let branch = dHidden.prefix(rows: dStream.rows)
        branch.copy(from: dStream)
        model.kernels.scale(branch, by: multiplier)
        return branch
    }
}
