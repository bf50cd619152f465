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

    /// Rotates x [T, heads·D] in place by the tables' angles at `positions` (half-split pairs, as Hugging Face).
    /// `inverse` rotates back, which is the backward.
    public func rotary(
        _ x: FloatMatrix, headDim: Int, positions: [Int32], cos: FloatMatrix, sin: FloatMatrix, inverse: Bool = false
    ) {
        precondition(x.columns % headDim == 0 && positions.count == x.rows && cos.columns == headDim / 2)
        precondition(all(positions, atLeast: 0, below: cos.rows), "position outside 0..<\(cos.rows)")
        run {
            mk_rope(
                $0, x.base, Int64(x.stride), Int64(x.rows), Int64(x.columns / headDim), Int64(headDim), positions,
                cos.base, sin.base, inverse)
        }
    }

    /// y = silu(gate) · up.
    public func swiGLU(_ gate: FloatMatrix, _ up: FloatMatrix, into y: FloatMatrix) {
        precondition(gate.isContiguous && up.isContiguous && y.isContiguous)
        precondition(gate.count == up.count && gate.count == y.count)
        run { mk_swiglu_forward($0, gate.base, up.base, Int64(gate.count), y.base) }
    }

    /// dgate and dup of `swiGLU` for dy; they are overwritten.
    public func swiGLUBackward(
        _ gate: FloatMatrix, _ up: FloatMatrix, _ dy: FloatMatrix, dgate: FloatMatrix, dup: FloatMatrix
    ) {
        precondition(gate.isContiguous && up.isContiguous && dy.isContiguous && dgate.isContiguous && dup.isContiguous)
        precondition(gate.count == dgate.count && gate.count == dup.count && gate.count == dy.count)
        run { mk_swiglu_backward($0, gate.base, up.base, dy.base, Int64(gate.count), dgate.base, dup.base) }
    }

    /// Negative log-likelihoods of `targets` [T] under softmax(logits [T, V]); a negative target is ignored (0).
    ///
    /// With `gradientScale`, `logits` becomes its gradient in place: scale · (softmax − onehot).
    public func softmaxCrossEntropy(
        _ logits: FloatMatrix, targets: [Int32], gradientScale: Float = 0, into nll: FloatMatrix
    ) {
        precondition(targets.count == logits.rows && nll.count >= logits.rows)
        precondition(all(targets, atLeast: .min, below: logits.columns))
        run {
            mk_softmax_cross_entropy(
                $0, logits.base, Int64(logits.stride), Int64(logits.rows), Int64(logits.columns), targets,
                gradientScale, nll.base)
        }
    }

    /// Kullback-Leibler divergences [T] of softmax(logits) from softmax(reference), both [T, V]: Σ p_ref · log(p_ref / p).
    ///
    /// With `gradientScale`, `logits` becomes the gradient in place: scale · (softmax(logits) − softmax(reference)). Rows
    /// that are equal bit for bit give exactly 0.
    public func divergence(
        _ logits: FloatMatrix, from reference: FloatMatrix, gradientScale: Float = 0, into kl: FloatMatrix
    ) {
        precondition(reference.rows == logits.rows && reference.columns == logits.columns && kl.count >= logits.rows)
        run {
            mk_kl_divergence(
                $0, logits.base, Int64(logits.stride), reference.base, Int64(reference.stride), Int64(logits.rows),
                Int64(logits.columns), gradientScale, kl.base)
        }
    }

    /// The index of the largest value of each row, the lowest among equals.
    public func argmax(_ x: FloatMatrix) -> [Int32] {
        var ids = [Int32](repeating: 0, count: x.rows)
        run { mk_argmax($0, x.base, Int64(x.stride), Int64(x.rows), Int64(x.columns), &ids) }
        return ids
    }

    /// y += a · x.
    public func addScaled(_ a: Float, _ x: FloatMatrix, into y: FloatMatrix) {
        precondition(x.isContiguous && y.isContiguous && x.count == y.count)
        run { mk_axpy($0, Int64(x.count), a, x.base, y.base) }
    }

    /// Index of the first row with a value that is not finite, or nil.
    public func firstNonFiniteRow(_ x: FloatMatrix) -> Int? {
        if x.isContiguous {
            let index = mk_find_nonfinite(x.base, Int64(x.count))
            return index < 0 ? nil : Int(index) / max(x.columns, 1)
        }
        return (0..<x.rows).first { mk_find_nonfinite(x.base + $0 * x.stride, Int64(x.columns)) >= 0 }
    }
}

/// True if every number is in that range. A loop over indices, which allocates nothing in a debug build either.
func all(_ numbers: [Int32], atLeast low: Int32, below high: Int) -> Bool {
    for i in numbers.indices where numbers[i] < low || Int(numbers[i]) >= high { return false }
    return true
}
