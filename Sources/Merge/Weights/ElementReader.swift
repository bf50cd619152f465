import CKernels
import Quant

/// Reads stretches of a tensor's elements as fp32, from any thread.
///
/// Plain types come by `pread`, so that a merge of any size holds only the stretches it works on; tiles are read where they
/// are mapped.
struct ElementReader: Sendable {
    let view: TensorView

    /// Elements of the tensor.
    var count: Int { view.info.elementCount }

    /// Elements `range`, row-major, into `target`; `raw` is working memory of the caller.
    ///
    /// - Throws: `badInput` for a number that is not finite, naming row and column.
    func read(_ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>, raw: inout [UInt8]) throws {
        precondition(range.count == target.count && range.upperBound <= count, "elements \(range) of \(count)")
        if let size = view.info.type.elementByteCount {
            if raw.count < range.count * size { raw = [UInt8](repeating: 0, count: range.count * size) }
            try raw.withUnsafeMutableBytes { bytes in
                let part = UnsafeMutableRawBufferPointer(rebasing: bytes[..<(range.count * size)])
                try view.file.read(into: part, at: view.info.offset + range.lowerBound * size)
                dequantize(part.baseAddress, rows: 1, columns: range.count, row: 0, rowCount: 1, target.baseAddress)
            }
            view.file.willNeed(at: view.info.offset + range.upperBound * size, count: 4 * range.count * size)
        } else {
            readTiles(range, into: target)
        }
        let bad = Int(mk_find_nonfinite(target.baseAddress, Int64(target.count)))
        guard bad < 0 else {
            let index = range.lowerBound + bad
            throw MeraserError.badInput(
                "\(view.file.path): tensor '\(view.info.name)' has the value \(target[bad]) in row "
                    + "\(index / view.info.columns), column \(index % view.info.columns), expected finite weights")
        }
    }

    /// The rows that `range` touches, one after the other.
    private func readTiles(_ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) {
        let columns = view.info.columns
        var line = [Float](repeating: 0, count: columns)
        var index = range.lowerBound
        while index < range.upperBound {
            let (row, column) = index.quotientAndRemainder(dividingBy: columns)
            let length = min(columns - column, range.upperBound - index)
            line.withUnsafeMutableBufferPointer { line in
                dequantize(
                    view.baseAddress, rows: view.info.rows, columns: columns, row: row, rowCount: 1, line.baseAddress)
                let source = UnsafeMutableBufferPointer(rebasing: line[column..<column + length])
                _ = UnsafeMutableBufferPointer(rebasing: target[(index - range.lowerBound)...]).update(
                    fromContentsOf: source)
            }
            index += length
        }
    }

    private func dequantize(
        _ data: UnsafeRawPointer?, rows: Int, columns: Int, row: Int, rowCount: Int,
        _ target: UnsafeMutablePointer<Float>?
    ) {
        var matrix = mk_matrix()
        matrix.type = Int32(view.info.type.rawValue)
        matrix.rows = Int64(rows)
        matrix.cols = Int64(columns)
        matrix.data = data
        mk_dequantize(&matrix, Int64(row), Int64(rowCount), target)
    }
}
