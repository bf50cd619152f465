import CKernels
import Quant

extension KernelContext {
    /// Rotates the first `width` features of each head of x [T, heads·D] in place by the tables' angles [positions, width/2]
    /// at `positions`: pairs of halves as Hugging Face has Llama, or neighbours with `interleaved`. `inverse` is the
    /// backward.
    public func rotary(
        _ x: FloatMatrix, headDim: Int, width: Int, interleaved: Bool = false, positions: [Int32], cos: FloatMatrix,
        sin: FloatMatrix, inverse: Bool = false
    ) {
        precondition(x.columns % headDim == 0 && positions.count == x.rows && cos.columns == width / 2)
        precondition(width % 2 == 0 && width <= headDim, "\(width) features of \(headDim)")
        precondition(all(positions, atLeast: 0, below: cos.rows), "position outside 0..<\(cos.rows)")
        let shape = mk_rope_shape(
            heads: Int64(x.columns / headDim), head_dim: Int64(headDim), width: Int64(width), interleaved: interleaved)
        withUnsafePointer(to: shape) { shape in
            run {
                mk_rope(
                    $0, x.base, Int64(x.stride), Int64(x.rows), shape, positions, cos.base, sin.base, inverse)
            }
        }
    }

    /// Negative log-likelihoods of `targets` [T] under softmax(logits [T, V]); a negative target is ignored (0).
    ///
    /// With `gradientScale`, `logits` becomes its gradient in place: scale · (softmax − onehot). With `softCap`, logits
    /// are the results of that cap, and the gradient is the one for what went into it.
    public func softmaxCrossEntropy(
        _ logits: FloatMatrix, targets: [Int32], gradientScale: Float = 0, softCap: Float? = nil,
        into nll: FloatMatrix
    ) {
        precondition(targets.count == logits.rows && nll.count >= logits.rows)
        precondition(all(targets, atLeast: .min, below: logits.columns))
        run {
            mk_softmax_cross_entropy(
                $0, logits.base, Int64(logits.stride), Int64(logits.rows), Int64(logits.columns), targets,
                gradientScale, softCap ?? 0, nll.base)
        }
    }

    /// Kullback-Leibler divergences [T] of softmax(logits) from softmax(reference), both [T, V]: Σ p_ref · log(p_ref / p).
    ///
    /// With `gradientScale`, `logits` becomes the gradient in place: scale · (softmax(logits) − softmax(reference)). Rows
    /// that are equal bit for bit give exactly 0. `softCap` as above.
    public func divergence(
        _ logits: FloatMatrix, from reference: FloatMatrix, gradientScale: Float = 0, softCap: Float? = nil,
        into kl: FloatMatrix
    ) {
        precondition(reference.rows == logits.rows && reference.columns == logits.columns && kl.count >= logits.rows)
        run {
            mk_kl_divergence(
                $0, logits.base, Int64(logits.stride), reference.base, Int64(reference.stride), Int64(logits.rows),
                Int64(logits.columns), gradientScale, softCap ?? 0, kl.base)
        }
    }

    /// Lowers the logits [T, V] of `tokens` [T] to where their log-probabilities are those of `limits` [T] where they are
    /// larger; all others keep their proportions. A limit of 0 is none. With a soft cap, logits are its results.
    public func limitProbabilities(_ logits: FloatMatrix, of tokens: [Int32], to limits: [Float]) {
        precondition(tokens.count == logits.rows && limits.count == logits.rows)
        precondition(all(tokens, atLeast: 0, below: logits.columns))
        run {
            mk_limit_probability(
                $0, logits.base, Int64(logits.stride), Int64(logits.rows), Int64(logits.columns), tokens, limits)
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

    /// x = a · x.
    public func scale(_ x: FloatMatrix, by a: Float) {
        precondition(x.isContiguous)
        run { mk_scale($0, Int64(x.count), a, x.base) }
    }

    /// Every row of y = bias, or += bias with `accumulate`.
    public func addBias(_ bias: FloatMatrix, into y: FloatMatrix, accumulate: Bool) {
        precondition(bias.count == y.columns, "a bias of \(bias.count) for \(y.columns) columns")
        run {
            mk_add_bias($0, bias.base, Int64(y.rows), Int64(y.columns), y.base, Int64(y.stride), accumulate)
        }
    }

    /// y = those columns of x: what a fused module gives one of its parts.
    public func take(_ columns: FusedColumns, of x: FloatMatrix, into y: FloatMatrix) {
        columns.requireFit(whole: x, part: y)
        withUnsafePointer(to: columns.c) { columns in
            run { mk_take_columns($0, columns, x.base, Int64(x.stride), Int64(x.rows), y.base, Int64(y.stride)) }
        }
    }

    /// Those columns of y = x: the backward of `take`.
    public func put(_ x: FloatMatrix, in columns: FusedColumns, of y: FloatMatrix) {
        columns.requireFit(whole: y, part: x)
        withUnsafePointer(to: columns.c) { columns in
            run { mk_put_columns($0, columns, x.base, Int64(x.stride), Int64(x.rows), y.base, Int64(y.stride)) }
        }
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

extension FusedColumns {
    fileprivate var c: mk_columns {
        mk_columns(first: Int64(first), step: Int64(step), count: Int64(count), width: Int64(width))
    }

    fileprivate func requireFit(whole: FloatMatrix, part: FloatMatrix) {
        precondition(
            whole.rows == part.rows && part.columns == count * width && first >= 0
                && first + (count - 1) * step + width <= whole.columns,
            "columns \(self) of \(whole.columns) for \(part.columns)")
    }
}

/// True if every number is in that range. A loop over indices, which allocates nothing in a debug build either.
func all(_ numbers: [Int32], atLeast low: Int32, below high: Int) -> Bool {
    for i in numbers.indices where numbers[i] < low || Int(numbers[i]) >= high { return false }
    return true
}
