import Kernels
import Model
import Quant

// The backward of layers whose wiring is `parallel` (Model/Transformer+Parallel.swift).
extension LayerBackward {
    /// `dStream` as in `propagate`.
    func parallel(_ pass: Pass, _ dStream: FloatMatrix) {
        let (acts, kernels, weights) = (pass.acts, model.kernels, model.weights.layers[pass.layer])
        let dHidden = dHidden.prefix(rows: dStream.rows)
        let dBeside = dBeside.prefix(rows: dStream.rows)
        mlp(pass, dStream, stream: acts.residual, norm: weights.mlpNorm)
        // The attention still reads the gradient of the output: what the MLP adds waits.
        if pass.throughInput, let norm = weights.mlpNorm {
            dBeside.fill(0)
            kernels.normBackward(acts.residual, norm, rstd: acts[.mlpRstd], dHidden, into: dBeside)
        }
        attention(pass, dStream, stream: acts.residual, norm: weights.attentionNorm)
        guard pass.throughInput, let norm = weights.attentionNorm else { return }
        kernels.normBackward(acts.residual, norm, rstd: acts[.attentionRstd], dHidden, into: dStream)
        kernels.addScaled(1, dBeside, into: dStream)
    }
}
