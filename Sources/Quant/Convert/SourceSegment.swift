/// A stretch of a source file that is read at once: some rows of a tensor, or bytes that are only hashed.
struct SourceSegment: Sendable {
    /// Some rows of one tensor of the plan.
    struct Rows: Sendable {
        /// Index of the item in the plan.
        let item: Int
        /// Which rows; they begin at a multiple of 16.
        let range: Range<Int>
    }

    /// Where the bytes begin in the file.
    let offset: Int
    /// How many bytes.
    let byteCount: Int
    /// What they are; nil for the header and tensors that are left out.
    let rows: Rows?

    /// Elements of a segment: 2 MiB in the usual 16 bits.
    private static let elementCount = 1 << 20
    /// Bytes of a segment that is only hashed.
    private static let plainByteCount = 2 << 20

    /// All segments of a file in order, without gaps. `items` are those of the plan that lie in it.
    static func cut(fileByteCount: Int, items: [(index: Int, info: TensorInfo)]) -> [SourceSegment] {
        var result: [SourceSegment] = []
        var end = 0
        func fill(to offset: Int) {
            while end < offset {
                let count = min(plainByteCount, offset - end)
                result.append(SourceSegment(offset: end, byteCount: count, rows: nil))
                end += count
            }
        }
        for (index, info) in items.sorted(by: { $0.info.offset < $1.info.offset }) {
            precondition(info.offset >= end, "tensor \(info.name) overlaps another")  // the reader has refused that
            fill(to: info.offset)
            let step = max(elementCount / info.columns / TensorType.tileRows, 1) * TensorType.tileRows
            let rowByteCount = info.byteCount / info.rows
            for start in stride(from: 0, to: info.rows, by: step) {
                let range = start..<min(start + step, info.rows)
                let count = range.count * rowByteCount
                result.append(SourceSegment(offset: end, byteCount: count, rows: Rows(item: index, range: range)))
                end += count
            }
        }
        fill(to: fileByteCount)
        return result
    }
}
