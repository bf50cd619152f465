import Foundation
import Synchronization

/// What a writer needs to know about a tensor before its data comes.
public struct TensorDeclaration: Sendable, Equatable {
    /// Hugging Face's name.
    public let name: String
    /// Element type.
    public let type: TensorType
    /// One or two dimensions: rows, columns.
    public let shape: [Int]

    /// A declaration; writers check that it is possible.
    public init(name: String, type: TensorType, shape: [Int]) {
        self.name = name
        self.type = type
        self.shape = shape
    }
}

/// Writes an MQF file whose tensors are declared first and whose data comes in pieces, in any order and from any
/// thread; the file appears under its name when `finish` is called. The bytes do not depend on order or threads.
public final class MQFWriter: Sendable {
    /// The tensors where they will lie, in the order of declaration; their CRCs are not known yet.
    public let tensors: [TensorInfo]
    /// The length of the finished file in bytes.
    public let fileLength: Int

    private let file: AtomicFile
    private let metadata: Metadata
    private let header: MQFHeader
    private let metadataBytes: [UInt8]

    private struct Piece {
        let offset: Int
        let count: Int
        let crc: UInt32
    }
    private let pieces: Mutex<[[Piece]]>

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
        var writer = ByteWriter()
        metadata.write(to: &writer)
        metadataBytes = writer.bytes
        var header = MQFHeader()
        header.metadataCount = metadata.count
        header.tensorCount = declarations.count
        header.metadataLength = metadataBytes.count
        header.metadataCRC = metadataBytes.withUnsafeBytes { crc32c($0) }
        header.directoryLength = declarations.reduce(0) { $0 + 8 + $1.name.utf8.count + 28 + 8 * $1.shape.count }
        guard UInt32(exactly: header.metadataLength) != nil, UInt32(exactly: header.directoryLength) != nil else {
            throw MeraserError.badInput("\(path): the metadata or the directory would exceed 4 GiB")
        }
        tensors = try Self.layOut(declarations, from: header.directoryEnd, path: path)
        fileLength = tensors.last.map { $0.offset + $0.byteCount } ?? header.directoryEnd
        header.fileLength = fileLength
        self.header = header
        self.metadata = metadata
        pieces = Mutex(Array(repeating: [], count: declarations.count))
        try checkFreeSpace(for: fileLength, path: path)
        file = try AtomicFile(path: path, overwrite: overwrite, mode: 0o666, maximumByteCount: maximumByteCount)
        try file.setLength(fileLength)
    }

    private static func layOut(
        _ declarations: [TensorDeclaration], from start: Int, path: String
    ) throws -> [TensorInfo] {
        var names: Set<[UInt8]> = []
        var end = start
        return try declarations.map { tensor in
            func bad(_ what: String) -> MeraserError { .badInput("\(path): tensor '\(tensor.name)' \(what)") }
            guard (1...MQFDirectory.maximumNameLength).contains(tensor.name.utf8.count) else {
                throw bad("needs a name of 1 to \(MQFDirectory.maximumNameLength) bytes")
            }
            guard names.insert(Array(tensor.name.utf8)).inserted else { throw bad("occurs twice") }
            guard let count = byteCount(of: tensor.type, shape: tensor.shape),
                tensor.shape.count == 2 || !tensor.type.isTiled
            else { throw bad("cannot have shape \(tensor.shape) with type \(tensor.type.name)") }
            guard let offset = roundUp(end, to: MQFHeader.alignment), offset <= Int.max - count else {
                throw bad("ends beyond any file")
            }
            end = offset + count
            return TensorInfo(
                name: tensor.name, type: tensor.type, shape: tensor.shape, offset: offset, byteCount: count, crc32c: nil
            )
        }
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
    /// All bytes of all tensors must have been written: a precondition.
    public func finish() throws {
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
        var header = header
        precondition(directory.bytes.count == header.directoryLength, "directory of \(directory.bytes.count) bytes")
        header.directoryCRC = directory.bytes.withUnsafeBytes { crc32c($0) }
        let front = header.bytes + metadataBytes + directory.bytes
        try front.withUnsafeBytes { try file.write($0, at: 0) }
        try file.commit()
    }
}

/// Throws a `runtime` error if the file system of `path` has fewer free bytes than `count`. Where it cannot be asked,
/// nothing is thrown: a full disk is found when it is full.
func checkFreeSpace(for count: Int, path: String) throws {
    var status = statvfs()
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
    guard statvfs(folder, &status) == 0,
        let free = product(Int(clamping: status.f_bavail), Int(clamping: status.f_frsize)), free < count
    else { return }
    throw MeraserError.runtime(
        "cannot write \(path): it needs \(byteText(count)), the disk has \(byteText(free)) free; free some space or choose "
            + "another disk")
}

/// A byte count for people: "3.8 GB" (powers of 1000).
func byteText(_ count: Int) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"]
    var value = Double(count)
    var unit = 0
    while value >= 1000 && unit < units.count - 1 {
        value /= 1000
        unit += 1
    }
    return unit == 0 ? "\(count) bytes" : String(format: "%.1f %@", value, units[unit])
}
