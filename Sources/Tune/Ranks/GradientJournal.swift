import Kernels

/// What a shard adds to rows of the embedding or to a soft prompt, addition by addition.
///
/// A module's gradient is one sum over a shard's tokens, which is added to the step's as a whole. Rows get an addition for each
/// token; one process adds each to all that came before it, in earlier shards too, and rounds each time. So that ranks get the
/// same bits the additions are noted, and made when the sum of the earlier shards has come.
final class GradientJournal {
    private enum Entry {
        /// rows[first...] += scale · values
        case scaled(FloatStorage, scale: Float, first: Int)
        /// rows[row] += Σ weights[t] · column[t] · inputs[t]
        case moment(column: FloatStorage, weights: [Float], inputs: FloatStorage, row: Int)
    }

    private var entries: [Entry] = []

    /// Forgets everything.
    func clear() { entries.removeAll(keepingCapacity: true) }

    /// Notes rows[first...] += scale · values.
    func addScaled(_ scale: Float, _ values: FloatMatrix, first: Int) {
        entries.append(.scaled(values.stored(), scale: scale, first: first))
    }

    /// Notes rows[row] += Σ weights[t] · dlogits[t, column] · x[t]. Several rows in a row may share `x`.
    func addMoment(column: Int, of dlogits: FloatMatrix, weights: [Float], _ x: FloatStorage, row: Int) {
        let values = (0..<dlogits.rows).map { dlogits[$0, column] }
        let storage = FloatStorage(values, rows: values.count, columns: 1)
        entries.append(.moment(column: storage, weights: weights, inputs: x, row: row))
    }

    /// Makes the additions to rows [n, hidden], in their order.
    func replay(onto rows: FloatMatrix, _ kernels: KernelContext) {
        for entry in entries {
            switch entry {
            case .scaled(let values, let scale, let first):
                let values = values.matrix
                kernels.addScaled(scale, values, into: rows.slice(rows: first..<first + values.rows))
            case .moment(let column, let weights, let inputs, let row):
                kernels.accumulateRow(
                    0, of: column.matrix, weights: weights, inputs.matrix, into: rows.slice(rows: row..<row + 1))
            }
        }
    }
}

extension FloatMatrix {
    /// A copy in memory of its own.
    func stored() -> FloatStorage { FloatStorage(toArray(), rows: rows, columns: columns) }
}
