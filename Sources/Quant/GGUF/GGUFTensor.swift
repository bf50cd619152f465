import Base
import CKernels

/// One tensor of a GGUF file. Thread-safe.
public struct GGUFTensor: TensorRows {
    /// Hugging Face's name.
    public let name: String
    /// One dimension, or two: rows, columns.
    public let shape: [Int]
    /// The element type: one that is read.
    public let type: GGMLType
    /// The file that the bytes lie in.
    public let file: MappedFile

    /// Bytes of the tensor in the file.
    public var byteCount: Int { rows * rowByteCount }  // bounded: checked against the file when it was opened

    /// Where the bytes begin in the file.
    let offset: Int
    private let rowByteCount: Int
    /// The number of heads whose rows are in pairs; nil where rows are as in Hugging Face's models.
    private let pairedHeads: Int?

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.last ?? 1 }

    /// `bytes` reaches from the tensor's first byte to the next tensor or the file's end.
    init(name: String, info: GGUFTensorInfo, file: MappedFile, bytes: Range<Int>, pairedHeads: Int?) throws {
        func bad(_ what: String) -> MeraserError { .badInput("\(file.path): tensor \(quoted(info.name)) \(what)") }
        guard let type = GGMLType(rawValue: info.typeID), type.reading != .not else {
            let name = GGMLType(rawValue: info.typeID)?.name ?? "number \(info.typeID)"
            throw bad("has ggml's type \(name), which is not read; read are \(GGMLType.namesRead)")
        }
        guard info.dimensions.count <= 2 else { throw bad("has \(info.dimensions.count) dimensions, expected 1 or 2") }
        shape = info.dimensions.reversed()
        let (rows, columns) = (shape.count == 2 ? shape[0] : 1, shape.last ?? 1)
        guard columns % type.blockElements == 0 else {
            throw bad("has \(columns) columns of \(type.name), expected a multiple of \(type.blockElements)")
        }
        guard let rowByteCount = type.rowByteCount(columns: columns), let count = product(rows, rowByteCount),
            count <= bytes.count
        else {
            throw bad("of shape \(shape) ends beyond the next tensor or the file: the file is incomplete or damaged")
        }
        if let pairedHeads {
            // Each head has pairs of rows.
            let paired = shape.count == 2 ? rows : columns
            guard pairedHeads >= 1, let pairs = product(2, pairedHeads), paired % pairs == 0 else {
                throw bad("has shape \(shape), which does not hold \(pairedHeads) heads")
            }
        }
        self.name = name
        self.type = type
        self.file = file
        self.rowByteCount = rowByteCount
        self.pairedHeads = pairedHeads
        offset = bytes.lowerBound
    }

    /// Reads those rows as fp32, row-major, into `target` (row count × columns). `raw` is working memory.
    /// Errors: the file has become shorter.
    public func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        try readBlocks(rows: range, into: &raw)
        raw.withUnsafeBytes { type.decode($0, count: range.count * columns, into: target) }  // bounded: at most all
        if shape.count == 1, pairedHeads != nil, !range.isEmpty {
            let stored = Array(UnsafeBufferPointer(start: target, count: columns))
            for i in 0..<columns { target[i] = stored[placeOf(row: i, of: columns)] }
        }
    }

    /// Reads those rows of a tensor of one of our types as tiles. Errors: the file has become shorter.
    public func readTiles(rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws {
        try readBlocks(rows: rows, into: &raw)
        raw.withUnsafeBytes {
            mk_ggml_to_tiles(
                Int32(type.rawValue), $0.baseAddress, Int64(rows.count), Int64(columns), target.baseAddress)
        }
    }

    /// Reads the blocks of those rows to the beginning of `raw`, one row after the other.
    /// Errors: the file has become shorter.
    private func readBlocks(rows range: Range<Int>, into raw: inout [UInt8]) throws {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "tensor \(name): rows \(range) of \(rows)")
        let count = range.count * rowByteCount  // bounded: no more than byteCount
        if raw.count < count { raw = [UInt8](repeating: 0, count: count) }
        try raw.withUnsafeMutableBytes { bytes in
            let isShuffled = shape.count == 2 && pairedHeads != nil
            // What lies together in the file is read at once.
            let step = isShuffled ? 1 : range.count
            for start in stride(from: 0, to: range.count, by: max(1, step)) {
                let row = range.lowerBound + start
                let place = isShuffled ? placeOf(row: row, of: rows) : row
                let part = bytes[start * rowByteCount..<(start + step) * rowByteCount]  // bounded: as above
                let target = UnsafeMutableRawBufferPointer(rebasing: part)
                try file.read(into: target, at: offset + place * rowByteCount)  // bounded: as above
            }
        }
    }

    /// Where Hugging Face's row lies in the file: a head's first half and second half alternate there.
    private func placeOf(row: Int, of rows: Int) -> Int {
        guard let pairedHeads else { return row }
        let size = rows / pairedHeads
        let (head, place) = row.quotientAndRemainder(dividingBy: size)
        return head * size + place % (size / 2) * 2 + place / (size / 2)  // bounded: below rows
    }
}
