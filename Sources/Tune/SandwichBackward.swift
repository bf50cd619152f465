import Kernels
import Model
import Quant

// The backward of layers whose wiring is `sandwich` (Model/Transformer+Sandwich.swift).
extension LayerBackward {
    /// `dStream` as in `propagate`.
    func sandwich(_ pass: Pass, _ dStream: FloatMatrix) {
        let (acts, weights) = (pass.acts, model.weights.layers[pass.layer])
        let dOutput = behind(acts[.mlpOutput], weights.mlpOutputNorm, acts[.mlpOutputRstd], dStream)
        mlp(pass, dOutput, stream: acts.residualMid, norm: weights.mlpNorm)
        addInput(acts.residualMid, weights.mlpNorm, acts[.mlpRstd], to: dStream)
        let dAttended = behind(
            acts[.attentionOutput], weights.attentionOutputNorm, acts[.attentionOutputRstd], dStream)
        attention(pass, dAttended, stream: acts.residual, norm: weights.attentionNorm)
        if pass.throughInput { addInput(acts.residual, weights.attentionNorm, acts[.attentionRstd], to: dStream) }
    }

    /// The gradient of what enters the norm behind a sublayer, in `dHidden`.
    private func behind(
        _ x: FloatMatrix, _ norm: NormWeights?, _ rstd: FloatMatrix, _ dStream: FloatMatrix
    ) -> FloatMatrix {
        guard let norm else { return dStream }
        let dx = dHidden.prefix(rows: dStream.rows)
        dx.fill(0)
        model.kernels.normBackward(x, norm, rstd: rstd, dStream, into: dx)
        return dx
    }

    /// dStream += the gradient of a sublayer's input, in `dHidden`, through the norm in front of it.
    private func addInput(_ x: FloatMatrix, _ norm: NormWeights?, _ rstd: FloatMatrix, to dStream: FloatMatrix) {
        let dHidden = dHidden.prefix(rows: dStream.rows)
        guard let norm else { return model.kernels.addScaled(1, dHidden, into: dStream) }
        model.kernels.normBackward(x, norm, rstd: rstd, dHidden, into: dStream)
    }
}
