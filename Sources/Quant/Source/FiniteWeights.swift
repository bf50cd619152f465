import Base
import CKernels

extension TensorEntry {
    /// Throws a bad-input error that names the first of these weights, whole rows from number `firstRow` on, that is not
    /// finite.
    func requireFinite(_ weights: UnsafeBufferPointer<Float>, firstRow: Int) throws {
        guard let start = weights.baseAddress else { return }
        let bad = Int(mk_find_nonfinite(start, Int64(weights.count)))
        guard bad < 0 else {
            throw MeraserError.badInput(
                "\(path): tensor '\(name)' has the value \(weights[bad]) in row \(firstRow + bad / columns), column "
                    + "\(bad % columns), expected finite weights")
        }
    }
}

extension TensorSource {
    /// Reads all of a tensor.
    ///
    /// - Throws: a bad-input error that names a weight which is not finite.
    public func requireFinite(_ name: String, threads: Int) throws {
        let (entry, rows) = (try tensorEntry(name), try rows(of: name))
        let step = max(TensorType.tileRows, (1 << 18) / entry.columns / TensorType.tileRows * TensorType.tileRows)
        try forEachInParallel(count: (entry.rows + step - 1) / step, threads: threads) { piece in
            let first = piece * step  // bounded: a row
            let range = first..<min(first + step, entry.rows)
            let count = range.count * entry.columns  // bounded: a piece
            var raw: [UInt8] = []
            let floats = UnsafeMutableBufferPointer<Float>.allocate(capacity: count)
            defer { floats.deallocate() }
            guard let start = floats.baseAddress else { return }
            try rows.read(rows: range, into: start, raw: &raw)
            try entry.requireFinite(UnsafeBufferPointer(floats), firstRow: first)
        }
    }
}
