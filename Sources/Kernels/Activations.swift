import CKernels
import Quant

extension Activation {
    fileprivate var code: Int32 {
        switch self {
        case .gelu: Int32(MK_GELU)
        case .geluTanh: Int32(MK_GELU_TANH)
        case .relu: Int32(MK_RELU)
        case .tanh: Int32(MK_TANH)
        case .silu: Int32(MK_SILU)
        }
    }
}

// Forward beside backward, the same argument order; gradients are prefixed `d`.
extension KernelContext {
    /// x = activation(x), in place; any but SiLU, which decoders alone have.
    public func activate(_ activation: Activation, _ x: FloatMatrix) {
        precondition(x.isContiguous && activation != .silu)
        run { mk_activation($0, activation.code, Int64(x.count), x.base) }
    }

    /// y = activation(gate) · up; without `up` activation(gate).
    public func gated(_ activation: Activation, _ gate: FloatMatrix, _ up: FloatMatrix?, into y: FloatMatrix) {
        precondition(gate.isContiguous && y.isContiguous && gate.count == y.count)
        precondition(up == nil || up?.isContiguous == true && up?.count == gate.count)
        guard activation == .silu, let up else {
            return run { mk_gated_forward($0, activation.code, gate.base, up?.base, Int64(gate.count), y.base) }
        }
        run { mk_swiglu_forward($0, gate.base, up.base, Int64(gate.count), y.base) }
    }

    /// dgate, and dup where there is an `up`, of `gated` for dy; they are overwritten. dgate may be gate, and dup up.
    public func gatedBackward(
        _ activation: Activation, _ gate: FloatMatrix, _ up: FloatMatrix?, _ dy: FloatMatrix, dgate: FloatMatrix,
        dup: FloatMatrix?
    ) {
        precondition(gate.isContiguous && dy.isContiguous && dgate.isContiguous)
        precondition(gate.count == dgate.count && gate.count == dy.count && (up == nil) == (dup == nil))
        guard activation == .silu, let up, let dup else {
            return run {
                mk_gated_backward(
                    $0, activation.code, gate.base, up?.base, dy.base, Int64(gate.count), dgate.base, dup?.base)
            }
        }
        precondition(up.isContiguous && dup.isContiguous && gate.count == up.count && gate.count == dup.count)
        run { mk_swiglu_backward($0, gate.base, up.base, dy.base, Int64(gate.count), dgate.base, dup.base) }
    }

    /// x = cap · tanh(x / cap), in place.
    public func softCap(_ x: FloatMatrix, at cap: Float) {
        precondition(x.isContiguous && cap > 0)
        run { mk_soft_cap($0, cap, Int64(x.count), x.base) }
    }
}
