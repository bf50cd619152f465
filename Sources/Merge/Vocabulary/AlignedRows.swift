import CKernels
import Quant

/// Rows of a tensor in another order, with others among them.
struct AlignedRows: TensorRows {
    /// What stands in a row.
    enum Row: Sendable {
        /// The tensor's row of that number.
        case own(Int)
        /// Other numbers.
        case other([Float])
    }

    let reader: ElementReader
    let rows: [Row]

    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        let columns = reader.entry.columns
        for (index, row) in rows[range].enumerated() {
            let place = UnsafeMutableBufferPointer(start: target + index * columns, count: columns)
            switch row {
            case .own(let number):
                try reader.read(number * columns..<(number + 1) * columns, into: place, raw: &raw)
            case .other(let values): _ = place.update(fromContentsOf: values)
            }
        }
    }
}

/// Makes rows of tokens, in the arithmetic of a type.
struct TokenRowSource {
    let columns: Int
    let type: TensorType

    var zeros: [Float] { [Float](repeating: 0, count: columns) }

    /// A row of a tensor.
    func row(_ number: Int, of reader: ElementReader) throws -> [Float] {
        var (values, raw) = (zeros, [UInt8]())
        try values.withUnsafeMutableBufferPointer {
            try reader.read(number * columns..<(number + 1) * columns, into: $0, raw: &raw)
        }
        round(&values)
        return values
    }

    /// The mean of rows, each step rounded as torch's; zeros of none.
    func mean(_ parts: [(reader: ElementReader, row: Int)]) throws -> [Float] {
        guard let first = parts.first else { return zeros }
        var sum = try row(first.row, of: first.reader)
        guard parts.count > 1 else { return sum }
        for part in parts.dropFirst() {
            let values = try row(part.row, of: part.reader)
            for i in sum.indices { sum[i] += values[i] }
            round(&sum)
        }
        for i in sum.indices { sum[i] /= Float(parts.count) }
        round(&sum)
        return sum
    }

    /// A tensor of those rows, and behind them up to `count` the mean of all of them.
    func reader(_ reader: ElementReader, _ rows: [AlignedRows.Row], padded count: Int) throws -> ElementReader {
        var rows = rows
        if count > rows.count {
            let all = AlignedRows(reader: reader, rows: rows)
            var (sums, line, raw) = ([Double](repeating: 0, count: columns), zeros, [UInt8]())
            for row in rows.indices {
                try line.withUnsafeMutableBufferPointer { line in
                    if let start = line.baseAddress { try all.read(rows: row..<row + 1, into: start, raw: &raw) }
                }
                round(&line)
                for i in sums.indices { sums[i] += Double(line[i]) }
            }
            var mean = sums.map { Float($0 / Double(rows.count)) }
            round(&mean)
            rows += Array(repeating: .other(mean), count: count - rows.count)
        }
        let entry = TensorEntry(
            computed: reader.entry.name, shape: [count, columns], type: reader.type, path: reader.entry.path)
        return ElementReader(entry, AlignedRows(reader: reader, rows: rows))
    }

    private func round(_ values: inout [Float]) {
        if type != .f32 { mk_merge_round(Int32(type.rawValue), &values, Int64(values.count)) }
    }
}
