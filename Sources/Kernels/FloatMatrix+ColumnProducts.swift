import CKernels

extension FloatMatrix {
    /// sums[c] += Σ over rows of this[r][c] · other[r][c], in double. Same shape, rows without gaps, one sum a column.
    public func addColumnProducts(_ other: FloatMatrix, to sums: inout [Double]) {
        precondition(
            isContiguous && other.isContiguous && rows == other.rows && columns == other.columns
                && sums.count == columns, "\(rows)x\(columns) and \(other.rows)x\(other.columns) to \(sums.count) sums")
        mk_column_products(base, other.base, Int64(rows), Int64(columns), &sums)
    }
}
