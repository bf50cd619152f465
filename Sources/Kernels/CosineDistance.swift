import CKernels

extension KernelContext {
    /// distances [T, 1] = 1 − cos of the rows of `a` and `b` [T, K]; 1 where a row is zero.
    public func cosineDistance(_ a: FloatMatrix, _ b: FloatMatrix, into distances: FloatMatrix) {
        precondition(a.isContiguous && b.isContiguous && a.rows == b.rows && a.columns == b.columns)
        precondition(distances.isContiguous && distances.count == a.rows)
        run { mk_cosine_distance($0, a.base, b.base, Int64(a.rows), Int64(a.columns), distances.base) }
    }

    /// da [T, K] += scale · d(1 − cos(a, b))/da, row by row; nothing where a row is zero.
    public func cosineBackward(_ a: FloatMatrix, _ b: FloatMatrix, scale: Float, into da: FloatMatrix) {
        precondition(a.isContiguous && b.isContiguous && a.rows == b.rows && a.columns == b.columns)
        precondition(da.isContiguous && da.rows == a.rows && da.columns == a.columns)
        run { mk_cosine_backward($0, a.base, b.base, Int64(a.rows), Int64(a.columns), scale, da.base) }
    }

    /// y = scale · sign(x), 0 of 0; the same shape.
    public func signs(_ x: FloatMatrix, scale: Float, into y: FloatMatrix) {
        precondition(x.isContiguous && y.isContiguous && x.count == y.count)
        mk_signs(x.base, Int64(x.count), scale, y.base)
    }
}
