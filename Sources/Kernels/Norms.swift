import CKernels

// Forward beside backward, the same argument order; gradients are prefixed `d`.
extension KernelContext {
    /// y = x / sqrt(mean(x²) + eps) · weight; `rstd` [T] receives the reciprocal root for the backward.
    public func rmsNorm(_ x: FloatMatrix, weight: FloatMatrix, eps: Float, into y: FloatMatrix, rstd: FloatMatrix) {
        precondition(x.isContiguous && y.isContiguous && x.columns == weight.count && rstd.count >= x.rows)
        run { mk_rmsnorm_forward($0, x.base, weight.base, eps, Int64(x.rows), Int64(x.columns), y.base, rstd.base) }
    }

    /// dx += the gradient of `rmsNorm` for dy, the weight being frozen.
    public func rmsNormBackward(
        _ x: FloatMatrix, weight: FloatMatrix, rstd: FloatMatrix, _ dy: FloatMatrix, into dx: FloatMatrix
    ) {
        precondition(x.isContiguous && dy.isContiguous && dx.isContiguous && dx.count == x.count && dy.count == x.count)
        run {
            mk_rmsnorm_backward(
                $0, x.base, weight.base, rstd.base, dy.base, Int64(x.rows), Int64(x.columns), dx.base)
        }
    }

    /// y = (x − mean) / √(variance + eps) · weight + bias over each row; y may be x. `weight` and `bias` [sets, K] hold a set
    /// for all rows, or several that rows take in turn. `rstd` [T] receives 1/√(variance + eps).
    public func layerNorm(
        _ x: FloatMatrix, weight: FloatMatrix, bias: FloatMatrix?, eps: Float, into y: FloatMatrix,
        rstd: FloatMatrix? = nil
    ) {
        precondition(x.isContiguous && y.isContiguous && x.count == y.count)
        precondition(
            weight.columns == x.columns && weight.isContiguous && x.rows % weight.rows == 0
                && (bias == nil || bias?.count == weight.count) && (rstd == nil || (rstd?.count ?? 0) >= x.rows))
        run {
            mk_layernorm_forward(
                $0, x.base, weight.base, bias?.base, Int64(weight.rows), eps, Int64(x.rows), Int64(x.columns), y.base,
                rstd?.base)
        }
    }

    /// dx += the gradient of `layerNorm` for dy, weight and bias being frozen.
    public func layerNormBackward(
        _ x: FloatMatrix, weight: FloatMatrix, rstd: FloatMatrix, _ dy: FloatMatrix, into dx: FloatMatrix
    ) {
        precondition(x.isContiguous && dy.isContiguous && dx.isContiguous && dx.count == x.count && dy.count == x.count)
        precondition(weight.columns == x.columns && x.rows % weight.rows == 0 && rstd.count >= x.rows)
        run {
            mk_layernorm_backward(
                $0, x.base, weight.base, Int64(weight.rows), rstd.base, dy.base, Int64(x.rows), Int64(x.columns),
                dx.base)
        }
    }
}
