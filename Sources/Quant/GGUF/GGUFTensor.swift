import Base
import CKernels

/// One of Hugging Face's tensors, all or a part of one of a GGUF file. Thread-safe.
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
    public var byteCount: Int { lines.count * lineByteCount }  // bounded: checked against the file when it was opened

    /// Where the bytes begin in the file.
    let offset: Int
    /// What the file has added to the values.
    let valueOffset: Float
    /// Its rows among those of the file's tensor. A vector of which a part or another order is meant has rows of one
    /// element, else it is one row.
    private let lines: Range<Int>
    private let lineByteCount: Int
    private let order: GGUFRowOrder

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.last ?? 1 }

    /// What `place` says of the file's tensor `info`; `bytes` reaches from that one's first byte to the next tensor or the
    /// file's end.
    init(_ place: GGUFLayout.Place, info: GGUFTensorInfo, file: MappedFile, bytes: Range<Int>) throws {
        func bad(_ what: String) -> MeraserError { .badInput("\(file.path): tensor \(quoted(info.name)) \(what)") }
        guard let type = GGMLType(rawValue: info.typeID), type.reading != .not else {
            let name = GGMLType(rawValue: info.typeID)?.name ?? "number \(info.typeID)"
            throw bad("has ggml's type \(name), which is not read; read are \(GGMLType.namesRead)")
        }
        guard info.dimensions.count <= 2 else { throw bad("has \(info.dimensions.count) dimensions, expected 1 or 2") }
        let stored = Array(info.dimensions.reversed())
        let isCut = stored.count == 1 && (place.part != nil || place.order != .asStored)
        let lineCount = stored.count == 2 || isCut ? stored[0] : 1
        let lineElements = isCut ? 1 : stored.last ?? 1
        guard !isCut || type.plain != nil else { throw bad("is a vector of \(type.name), expected plain numbers") }
        guard lineElements % type.blockElements == 0 else {
            throw bad("has \(lineElements) columns of \(type.name), expected a multiple of \(type.blockElements)")
        }
        guard let lineByteCount = type.rowByteCount(columns: lineElements),
            let count = product(lineCount, lineByteCount), count <= bytes.count
        else {
            throw bad("of shape \(stored) ends beyond the next tensor or the file: the file is incomplete or damaged")
        }
        guard place.part == nil || place.part?.of == lineCount else {
            throw bad("has shape \(stored), expected \(place.part?.of ?? 0) rows")
        }
        lines = place.part?.lines ?? 0..<lineCount
        guard let divisor = place.order.divisor, lines.count % divisor == 0 else {
            throw bad("has shape \(stored), which does not hold the heads that the file says")
        }
        shape =
            if place.isRow {
                [lineElements]
            } else if isCut {
                [lines.count]
            } else if stored.count == 2 {
                [lines.count, lineElements]
            } else {
                stored
            }
        name = place.name
        self.type = type
        self.file = file
        self.lineByteCount = lineByteCount
        order = place.order
        valueOffset = place.offset
        offset = bytes.lowerBound
    }

    /// Reads those rows as fp32, row-major, into `target` (row count × columns). `raw` is working memory.
    /// Errors: the file has become shorter.
    public func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        try readBlocks(rows: range, into: &raw)
        let count = range.count * columns  // bounded: at most all
        raw.withUnsafeBytes { type.decode($0, count: count, into: target) }
        if valueOffset != 0 {
            for i in 0..<count { target[i] -= valueOffset }
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
        // All of a vector, whatever its lines are.
        let wanted = shape.count == 2 || range.isEmpty ? range : 0..<lines.count
        let count = wanted.count * lineByteCount  // bounded: no more than byteCount
        if raw.count < count { raw = [UInt8](repeating: 0, count: count) }
        try raw.withUnsafeMutableBytes { bytes in
            // What lies together in the file is read at once.
            let step = order == .asStored ? wanted.count : 1
            for start in stride(from: 0, to: wanted.count, by: max(1, step)) {
                let line = lines.lowerBound + order.place(of: wanted.lowerBound + start, count: lines.count)
                let part = bytes[start * lineByteCount..<(start + step) * lineByteCount]  // bounded: as above
                let target = UnsafeMutableRawBufferPointer(rebasing: part)
                try file.read(into: target, at: offset + line * lineByteCount)  // bounded: as above
            }
        }
    }
}
