import Base
import Foundation

/// An MQF model file, mapped read-only and used in place. docs/reference/format.md describes the bytes.
///
/// Opening reads and checks the header, the metadata and the directory with their CRCs, not the tensors: `verify` does
/// that. Thread-safe.
public final class MQFFile: WeightStore {
    /// The path as given.
    public let path: String
    /// The version field of the header.
    public let version: Int
    /// All keys and values in file order, but the files.
    public let metadata: Metadata
    /// Hugging Face's files in file order, and where they are: they are read in place. Text is checked by who reads it.
    public let files: [(name: String, range: Range<Int>)]
    /// All tensors in file order.
    public let tensors: [TensorInfo]

    private let file: MappedFile
    private let directoryEnd: Int
    private let indexByName: [[UInt8]: Int]
    private let identity = Identity()

    /// The prefix of the metadata keys that hold Hugging Face's files verbatim.
    public static let filePrefix = "mqf.file."

    /// Maps and checks a file. Errors: `badInput` with path, place and expectation.
    public init(path: String) throws {
        let file = try MappedFile(path: path)
        let header = try file.withBytes { try MQFHeader($0, path: path) }
        var files: [(name: String, range: Range<Int>)] = []
        metadata = try file.withBytes { bytes in
            var reader = try Self.section(
                bytes, header.metadataOffset, header.metadataLength, header.metadataCRC, "\(path): metadata")
            let metadata = try Metadata(reading: &reader, count: header.metadataCount) { key, reader in
                guard key.hasPrefix(Self.filePrefix),
                    let text = try Metadata.bytes(reading: &reader, "the value of metadata key \(quoted(key))")
                else { return false }
                let end = header.metadataOffset + reader.offset
                files.append((String(key.dropFirst(Self.filePrefix.count)), end - text.count..<end))
                return true
            }
            guard reader.remaining == 0 else { throw reader.error("\(reader.remaining) bytes are left over") }
            return metadata
        }
        tensors = try file.withBytes { bytes in
            var reader = try Self.section(
                bytes, header.directoryOffset, header.directoryLength, header.directoryCRC, "\(path): directory")
            return try MQFDirectory.read(
                &reader, count: header.tensorCount, directoryEnd: header.directoryEnd, fileLength: header.fileLength)
        }
        self.files = files
        indexByName = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { (Array($1.name.utf8), $0) })
        directoryEnd = header.directoryEnd
        version = Int(header.version)
        self.path = path
        self.file = file
    }

    private static func section(
        _ bytes: UnsafeRawBufferPointer, _ offset: Int, _ length: Int, _ crc: UInt32, _ label: String
    ) throws -> ByteReader {
        let section = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length])
        guard crc32c(section) == crc else {
            throw MeraserError.badInput("\(label) is damaged (CRC32C); copy or convert the file again")
        }
        return ByteReader(section, label: label, fileOffset: offset)
    }

    /// True if the file begins with MQF's magic, whatever its version.
    public static func isMQF(path: String) -> Bool { fileBegins(path: path, with: Array("MQF".utf8)) }

    /// True if any tensor is tiled.
    public var isQuantized: Bool { tensors.contains { $0.type.isTiled } }

    /// Bytes of the file.
    public var byteCount: Int { file.count }

    /// The names of all tensors in file order.
    public var tensorNames: [String] { tensors.map(\.name) }

    /// True if there is a tensor of exactly that name.
    public func hasTensor(_ name: String) -> Bool { indexByName[Array(name.utf8)] != nil }

    /// The tensor of that name. Error: `badInput` naming file and tensor if there is none.
    public func tensor(_ name: String) throws -> TensorView {
        guard let index = indexByName[Array(name.utf8)] else {
            throw MeraserError.badInput("\(path): there is no tensor \(quoted(name))")
        }
        return TensorView(info: tensors[index], file: file)
    }

    /// The Hugging Face file of that name as it was when the model was converted; nil if there was none.
    public func textFile(_ name: String) throws -> [UInt8]? { try withTextFile(name) { $0.map { Array($0) } } }

    /// The same, in place.
    public func withTextFile<Result>(
        _ name: String, _ body: (UnsafeBufferPointer<UInt8>?) throws -> Result
    ) throws -> Result {
        guard let range = files.first(where: { $0.name == name })?.range else { return try body(nil) }
        return try file.withBytes { bytes in
            try UnsafeRawBufferPointer(rebasing: bytes[range]).withMemoryRebound(to: UInt8.self) { try body($0) }
        }
    }

    /// Takes the file's pages out of this process's resident memory.
    public func releasePages() { file.releasePages() }

    /// SHA-256 of the whole file. The first call reads all of it.
    public func sha256() throws -> String {
        try identity.value {
            defer { releasePages() }
            return try sha256Hex(file)
        }
    }

    /// Reads every tensor and compares its CRC32C with the directory's; padding must be zero.
    /// Error: `badInput` naming the first damaged tensor.
    public func verify() throws {
        defer { releasePages() }
        try forEachInParallel(count: tensors.count, threads: defaultThreadCount()) { i in
            let tensor = self.tensors[i]
            // Tensor by tensor: a run that streams its weights never has all of them in memory.
            defer { self.file.releasePages(at: tensor.offset, count: tensor.byteCount) }
            let crc = self.file.withBytes { bytes in
                crc32c(UnsafeRawBufferPointer(rebasing: bytes[tensor.offset..<tensor.offset + tensor.byteCount]))
            }
            guard crc == tensor.crc32c else {
                throw MeraserError.badInput(
                    "\(self.path): tensor \(quoted(tensor.name)) is damaged (CRC32C); copy or convert the file again")
            }
        }
        var end = directoryEnd
        for tensor in tensors {
            guard file.withBytes({ isZero(UnsafeRawBufferPointer(rebasing: $0[end..<tensor.offset])) }) else {
                throw MeraserError.badInput("\(path): the padding before tensor \(quoted(tensor.name)) is not zero")
            }
            end = tensor.offset + tensor.byteCount
        }
    }
}

/// True if all bytes are zero: the first one is, and each equals the one before it.
private func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let first = bytes.baseAddress, !bytes.isEmpty else { return true }
    return bytes[0] == 0 && memcmp(first, first + 1, bytes.count - 1) == 0
}
