import Base
import CKernels

/// Writes a GGUF file, version 3. A model's tensors come as a pump has them, in pieces of plain numbers or tiles, in
/// any order and from any thread; they are turned into ggml's blocks and put where llama.cpp expects their rows. The
/// file appears under its name when `finish` is called; its bytes do not depend on order or threads.
///
/// Source of the format: ggml/include/gguf.h.
final class GGUFWriter: RowSink {
    private let plan: GGUFTensorPlan
    private let dataOffset: Int
    private let file: AtomicFile

    /// The length of the finished file in bytes.
    let fileLength: Int

    /// Creates the temporary file beside `path` and writes everything before the tensors' data, and the `vectors` of
    /// the plan.
    ///
    /// Errors: `usage` if `path` exists and `overwrite` is false; `runtime` if the disk has no room for the file.
    init(
        path: String, metadata: Metadata, plan: GGUFTensorPlan, vectors: [(name: String, values: [Float])],
        overwrite: Bool
    ) throws {
        self.plan = plan
        let front = Self.front(metadata: metadata, tensors: plan.infos)
        let start = front.count
        guard let length = sum(start, plan.dataByteCount) else {
            throw MeraserError.badInput("\(path) would be longer than any file")
        }
        (dataOffset, fileLength) = (start, length)
        try checkFreeSpace(for: length, path: path)
        file = try AtomicFile(path: path, overwrite: overwrite)
        try file.setLength(length)
        try front.withUnsafeBytes { try file.write($0, at: 0) }
        for (tensor, vector) in zip(plan.stored, vectors) {
            let bytes = vector.values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian) { Array($0) } }
            try bytes.withUnsafeBytes { try file.write($0, at: start + tensor.offset) }
        }
    }

    /// Everything before the data section, whose tensors lie at those offsets.
    static func front(metadata: Metadata, tensors: [GGUFTensorInfo]) -> [UInt8] {
        var front = ByteWriter()
        front.append(raw: "GGUF".utf8)
        front.append(UInt32(3))
        front.append(UInt64(tensors.count))
        front.append(UInt64(metadata.count))
        metadata.write(to: &front)
        for tensor in tensors {
            front.append(string: tensor.name)
            front.append(UInt32(tensor.dimensions.count))
            for dimension in tensor.dimensions { front.append(UInt64(dimension)) }
            front.append(tensor.typeID)
            front.append(UInt64(tensor.offset))
        }
        while front.bytes.count % GGUFTensorPlan.alignment != 0 { front.append(UInt8(0)) }
        return front.bytes
    }

    /// Writes a piece of the model's tensor number `index` that begins `offset` bytes into it; each byte comes once.
    /// Errors: `runtime`, such as a full disk.
    func write(tensor index: Int, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws {
        let part = plan.parts[index]
        let tensor = part.declaration
        guard let group = tensor.type.byteCount(rows: 1, columns: tensor.columns), offset % group == 0 else {
            preconditionFailure("tensor \(tensor.name): a piece at \(offset)")
        }
        // Of tiles a group of 16 rows, else a row.
        let rowsOfGroup = tensor.type.isTiled ? TensorType.tileRows : 1
        let first = offset / group * rowsOfGroup  // bounded: inside the tensor
        let count = min(bytes.count / group * rowsOfGroup, tensor.rows - first)  // bounded: inside the tensor
        if tensor.type.isTiled {
            let stored = plan.stored[part.index]
            let size = count * stored.rowByteCount  // bounded: a piece
            let blocks = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
                mk_tiles_to_ggml(
                    Int32(tensor.type.rawValue), bytes.baseAddress, Int64(count), Int64(tensor.columns),
                    buffer.baseAddress)
                initialized = size
            }
            try blocks.withUnsafeBytes { try put($0, lines: first..<first + count, part) }
        } else if part.place.offset != 0 {
            let shifted = bytes.bindMemory(to: Float.self).map { $0 + part.place.offset }
            try shifted.withUnsafeBytes { try put($0, lines: first..<first + count, part) }
        } else {
            try put(bytes, lines: first..<first + count, part)
        }
    }

    /// Puts rows of ggml's blocks in their places. Of a vector in another order its elements are the rows.
    private func put(_ bytes: UnsafeRawBufferPointer, lines: Range<Int>, _ part: GGUFTensorPlan.Part) throws {
        let (stored, place) = (plan.stored[part.index], part.place)
        let isCut = stored.shape.count == 1 && place.order != .asStored
        let lines = isCut ? 0..<part.declaration.columns : lines
        let lineByteCount = isCut ? bytes.count / max(lines.count, 1) : stored.rowByteCount
        let total = isCut ? lines.count : part.declaration.rows
        let first = (place.part?.lines.lowerBound ?? 0) * lineByteCount  // bounded: in the tensor
        let base = dataOffset + stored.offset + first
        if place.order == .asStored {
            try file.write(bytes, at: base + lines.lowerBound * lineByteCount)  // bounded: in the file
            return
        }
        for (number, line) in lines.enumerated() {
            let piece = bytes[number * lineByteCount..<(number + 1) * lineByteCount]  // bounded: a piece
            try file.write(
                UnsafeRawBufferPointer(rebasing: piece),
                at: base + place.order.place(of: line, count: total) * lineByteCount)  // bounded: in the file
        }
    }

    /// Flushes the file and gives it its name. All data must have come.
    func finish() throws { try file.commit() }
}
