import Base
import CKernels

/// The largest singular values of a matrix with their vectors, in double precision.
struct TruncatedSVD {
    /// Singular values, the largest first.
    let values: [Double]
    /// The left vectors, a row [rows] each; zeros for a value of 0 that they belong to if the matrix has fewer rows.
    let left: [Double]
    /// The right vectors, a row [columns] each.
    let right: [Double]

    /// Those of `matrix`, row-major, at most `rank` and at least one.
    ///
    /// - Throws: `runtime` if the eigenvalues do not converge.
    init(_ matrix: [Float], rows: Int, columns: Int, rank: Int) throws {
        precondition(matrix.count == rows * columns && rank >= 1, "\(matrix.count) numbers for \(rows) x \(columns)")
        // The smaller side has the eigenvalues.
        let isWide = rows <= columns
        let (n, long) = isWide ? (rows, columns) : (columns, rows)
        let wide = isWide ? matrix : Self.transposed(matrix, rows: rows, columns: columns)
        var gram = [Double](repeating: 0, count: n * n)
        mk_row_products(wide, Int64(n), Int64(long), &gram)
        var eigenvalues = [Double](repeating: 0, count: n)
        var vectors = [Double](repeating: 0, count: n * n)
        guard mk_symmetric_eigen(Int64(n), &gram, &eigenvalues, &vectors) else {
            throw MeraserError(.runtime, "the singular values of a matrix of \(rows) x \(columns) do not converge")
        }
        let order = eigenvalues.indices.sorted { eigenvalues[$0] > eigenvalues[$1] }.prefix(rank)
        values = order.map { max(eigenvalues[$0], 0).squareRoot() }
        let short = order.flatMap { vectors[$0 * n..<($0 + 1) * n] }
        var other = [Double](repeating: 0, count: order.count * long)
        mk_project(short, Int64(order.count), wide, Int64(n), Int64(long), &other)
        let smallest = (values.first ?? 0) * 1e-8
        for (k, value) in values.enumerated() {
            // Below that the product is noise of the sums.
            let factor = value > smallest ? 1 / value : 0
            for i in k * long..<(k + 1) * long { other[i] *= factor }
        }
        (left, right) = isWide ? (short, other) : (other, short)
    }

    private static func transposed(_ matrix: [Float], rows: Int, columns: Int) -> [Float] {
        var result = [Float](repeating: 0, count: matrix.count)
        for r in 0..<rows {
            for c in 0..<columns { result[c * rows + r] = matrix[r * columns + c] }
        }
        return result
    }
}
