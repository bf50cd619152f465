import Base
import CKernels
import Quant

/// Reads stretches of a tensor's elements as fp32, from any thread: a merge works on elements whatever the rows are, since
/// sums over a tensor are taken in torch's order.
struct ElementReader: Sendable {
    /// The tensor.
    let entry: TensorEntry
    private let rows: any TensorRows

    /// The tensor of that name in a source; nil if there is none.
    init?(_ name: String, in source: any TensorSource) throws {
        guard let entry = try source.entry(name) else { return nil }
        self.entry = entry
        rows = try source.rows(of: name)
    }

    /// Those rows under that entry.
    init(_ entry: TensorEntry, _ rows: any TensorRows) { (self.entry, self.rows) = (entry, rows) }

    /// The type that its numbers count as: f32 for quantized ones.
    var type: TensorType { entry.plainType }
    /// True for numbers that a model file holds in blocks with scales.
    var isQuantized: Bool { entry.exactType?.isTiled ?? true }

    /// Elements `range`, row-major, into `target`; `raw` is working memory of the caller.
    ///
    /// - Throws: `badInput` for a number that is not finite, naming row and column.
    func read(_ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>, raw: inout [UInt8]) throws {
        precondition(
            range.count == target.count && range.upperBound <= entry.elementCount,
            "elements \(range) of \(entry.elementCount)")
        let columns = entry.columns
        var index = range.lowerBound
        while index < range.upperBound {
            let place = UnsafeMutableBufferPointer(rebasing: target[(index - range.lowerBound)...])
            let (row, column) = index.quotientAndRemainder(dividingBy: columns)
            let whole = column == 0 ? (range.upperBound - index) / columns : 0
            if whole > 0, let start = place.baseAddress {
                try rows.read(rows: row..<row + whole, into: start, raw: &raw)
                index += whole * columns
            } else {
                // A row whose beginning or end belongs to another piece.
                let length = min(columns - column, range.upperBound - index)
                var line = [Float](repeating: 0, count: columns)
                try line.withUnsafeMutableBufferPointer { line in
                    guard let start = line.baseAddress else { return }
                    try rows.read(rows: row..<row + 1, into: start, raw: &raw)
                    _ = place.update(fromContentsOf: line[column..<column + length])
                }
                index += length
            }
        }
        let bad = Int(mk_find_nonfinite(target.baseAddress, Int64(target.count)))
        guard bad < 0 else {
            let index = range.lowerBound + bad
            throw MeraserError.badInput(
                "\(entry.path): tensor '\(entry.name)' has the value \(target[bad]) in row \(index / columns), column "
                    + "\(index % columns), expected finite weights")
        }
    }
}
