import CKernels

// What a row of a head in place of its own does to one column of logits, forward beside backward.
extension KernelContext {
    /// logits[t, column] = x[t] · row, of x [T, K] and a row [1, K].
    public func replaceColumn(_ column: Int, of logits: FloatMatrix, by row: FloatMatrix, _ x: FloatMatrix) {
        precondition(x.isContiguous && row.count == x.columns && logits.rows == x.rows && column < logits.columns)
        run {
            mk_row_dots(
                $0, x.base, Int64(x.rows), Int64(x.columns), row.base, logits.base + column, Int64(logits.stride))
        }
    }

    /// dx[t] += dlogits[t, column] · (row − original): what the product with the original head leaves out.
    public func replaceColumnBackward(
        _ column: Int, of dlogits: FloatMatrix, by row: FloatMatrix, original: FloatMatrix, into dx: FloatMatrix
    ) {
        precondition(dx.isContiguous && row.count == dx.columns && original.count == dx.columns)
        precondition(dlogits.rows == dx.rows && column < dlogits.columns)
        run {
            mk_add_outer(
                $0, dlogits.base + column, Int64(dlogits.stride), Int64(dx.rows), row.base, original.base,
                Int64(dx.columns), dx.base)
        }
    }

    /// drow += Σ weights[t] · dlogits[t, column] · x[t].
    public func accumulateRow(
        _ column: Int, of dlogits: FloatMatrix, weights: [Float], _ x: FloatMatrix, into drow: FloatMatrix
    ) {
        precondition(x.isContiguous && drow.count == x.columns && weights.count == x.rows)
        precondition(dlogits.rows == x.rows && column < dlogits.columns)
        mk_add_moment(
            dlogits.base + column, Int64(dlogits.stride), weights, x.base, Int64(x.rows), Int64(x.columns), drow.base)
    }
}
