import CKernels
import Quant

extension Activation {
    fileprivate var code: Int32 {
        switch self {
        case .gelu: Int32(MK_GELU)
        case .geluTanh: Int32(MK_GELU_TANH)
        case .relu: Int32(MK_RELU)
        case .tanh: Int32(MK_TANH)
        }
    }
}

extension KernelContext {
    /// y = (x − mean) / √(variance + eps) · weight + bias over each row; y may be x.
    public func layerNorm(
        _ x: FloatMatrix, weight: FloatMatrix, bias: FloatMatrix, eps: Float, into y: FloatMatrix
    ) {
        precondition(x.isContiguous && y.isContiguous && x.count == y.count)
        precondition(weight.count == x.columns && bias.count == x.columns)
        run {
            mk_layernorm_forward(
                $0, x.base, weight.base, bias.base, eps, Int64(x.rows), Int64(x.columns), y.base)
        }
    }

    /// Every row of y = bias, or += bias with `accumulate`.
    public func addBias(_ bias: FloatMatrix, into y: FloatMatrix, accumulate: Bool) {
        precondition(bias.count == y.columns, "a bias of \(bias.count) for \(y.columns) columns")
        run {
            mk_add_bias($0, bias.base, Int64(y.rows), Int64(y.columns), y.base, Int64(y.stride), accumulate)
        }
    }

    /// x = activation(x), in place.
    public func activate(_ activation: Activation, _ x: FloatMatrix) {
        precondition(x.isContiguous)
        run { mk_activation($0, activation.code, Int64(x.count), x.base) }
    }
}
