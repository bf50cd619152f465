import Base
import Synchronization

/// Writes an MQF file whose tensors are declared first and whose data comes in pieces, in any order and from any
/// thread; the file appears under its name when `finish` is called. The bytes do not depend on order or threads.
public final class MQFWriter: RowSink {
    private let layout: MQFLayout
    private let file: AtomicFile

    private struct Piece {
        let offset: Int
        let count: Int
        let crc: UInt32
    }
    private let pieces: Mutex<[[Piece]]>

    /// The tensors where they will lie, in the order of declaration; their CRCs are not known yet.
    public var tensors: [TensorInfo] { layout.tensors }
    /// The length of the finished file in bytes.
    public var fileLength: Int { layout.header.fileLength }

    /// Lays the file out and creates the temporary file beside `path`.
    ///
    /// Errors: `usage` if `path` exists and `overwrite` is false; `runtime` if the disk has no room for the file;
    /// `badInput` for a name that occurs twice, is empty or too long, or a shape that its type cannot have.
    public convenience init(
        path: String, metadata: Metadata, tensors: [TensorDeclaration], overwrite: Bool = false
    ) throws {
        try self.init(path: path, metadata: metadata, tensors: tensors, overwrite: overwrite, maximumByteCount: nil)
    }

    /// `maximumByteCount` pretends that the disk is full behind that many bytes, for tests.
    init(
        path: String, metadata: Metadata, tensors declarations: [TensorDeclaration], overwrite: Bool,
        maximumByteCount: Int?
    ) throws {
        layout = try MQFLayout(path: path, metadata: metadata, tensors: declarations)
        pieces = Mutex(Array(repeating: [], count: declarations.count))
        try checkFreeSpace(for: layout.header.fileLength, path: path)
        file = try AtomicFile(path: path, overwrite: overwrite, mode: 0o666, maximumByteCount: maximumByteCount)
        try file.setLength(layout.header.fileLength)
    }

    /// Writes a piece of tensor number `index` that begins `offset` bytes into it. Pieces may come in any order and
    /// from any thread, but each byte once. Errors: `runtime`, such as a full disk.
    public func write(tensor index: Int, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws {
        let tensor = tensors[index]
        precondition(
            offset >= 0 && bytes.count <= tensor.byteCount && offset <= tensor.byteCount - bytes.count,
            "tensor \(tensor.name): \(bytes.count) bytes at \(offset) of \(tensor.byteCount)")
        try file.write(bytes, at: tensor.offset + offset)
        let piece = Piece(offset: offset, count: bytes.count, crc: crc32c(bytes))
        pieces.withLock { $0[index].append(piece) }
    }

    /// Writes the directory and the header, flushes the file and gives it its name.
    /// All bytes of all tensors must have been written: a precondition. `metadata` replaces what was declared; it must have
    /// the same length (a digest that was not known yet).
    public func finish(metadata: Metadata? = nil) throws {
        let pieces = pieces.withLock { $0 }
        let complete = zip(tensors, pieces).map { tensor, pieces in
            var end = 0
            var crc: UInt32 = 0
            for piece in pieces.sorted(by: { $0.offset < $1.offset }) {
                precondition(
                    piece.offset == end, "tensor \(tensor.name): next piece at \(piece.offset), expected \(end)")
                crc = crc32cCombined(crc, piece.crc, lengthOfB: piece.count)
                end += piece.count
            }
            precondition(end == tensor.byteCount, "tensor \(tensor.name): \(end) of \(tensor.byteCount) bytes written")
            return TensorInfo(
                name: tensor.name, type: tensor.type, shape: tensor.shape, offset: tensor.offset,
                byteCount: tensor.byteCount, crc32c: crc)
        }
        var directory = ByteWriter()
        MQFDirectory.write(complete, to: &directory)
        var header = layout.header
        precondition(directory.bytes.count == header.directoryLength, "directory of \(directory.bytes.count) bytes")
        header.directoryCRC = directory.bytes.withUnsafeBytes { crc32c($0) }
        var metadataBytes = layout.metadataBytes
        if let metadata {
            var writer = ByteWriter()
            metadata.write(to: &writer)
            precondition(writer.bytes.count == metadataBytes.count, "metadata of \(writer.bytes.count) bytes")
            metadataBytes = writer.bytes
            header.metadataCRC = metadataBytes.withUnsafeBytes { crc32c($0) }
        }
        let front = header.bytes + metadataBytes + directory.bytes
        try front.withUnsafeBytes { try file.write($0, at: 0) }
        try file.commit()
    }
}
