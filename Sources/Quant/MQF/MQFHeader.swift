import Base

/// The first 64 bytes of an MQF file. docs/reference/format.md is the authority.
///
///      0  4  magic "MQF1"
///      4  4  version, u32
///      8  8  length of the file in bytes, u64
///     16  4  number of metadata keys, u32
///     20  4  number of tensors, u32
///     24  8  offset of the metadata, u64 (64)
///     32  8  offset of the directory, u64 (right behind the metadata)
///     40  4  length of the metadata, u32
///     44  4  length of the directory, u32
///     48  4  CRC32C of the metadata
///     52  4  CRC32C of the directory
///     56  4  reserved, 0
///     60  4  CRC32C of bytes 0 to 59
struct MQFHeader: Sendable, Equatable {
    static let magic = Array("MQF1".utf8)
    static let byteCount = 64
    static let currentVersion: UInt32 = 1
    /// Every tensor begins on a multiple of this.
    static let alignment = 4096

    var version = currentVersion
    var fileLength = 0
    var metadataCount = 0
    var tensorCount = 0
    var metadataLength = 0
    var directoryLength = 0
    var metadataCRC: UInt32 = 0
    var directoryCRC: UInt32 = 0

    var metadataOffset: Int { Self.byteCount }
    var directoryOffset: Int { Self.byteCount + metadataLength }
    var directoryEnd: Int { directoryOffset + directoryLength }

    init() {}

    /// Reads and checks everything that the header alone, the file's length and the two sections' CRCs can tell.
    init(_ bytes: UnsafeRawBufferPointer, path: String) throws {
        guard bytes.starts(with: Self.magic) else {
            throw MeraserError.badInput("\(path) is not an MQF file: it does not begin with 'MQF1'")
        }
        guard bytes.count >= Self.byteCount else {
            throw MeraserError.badInput(
                "\(path): \(bytes.count) bytes are too few for an MQF header of \(Self.byteCount)")
        }
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[..<Self.byteCount]), label: path)
        _ = try reader.take(Self.magic.count, "the magic")
        version = try reader.integer(UInt32.self, "the version")
        guard version == Self.currentVersion else {
            throw MeraserError.badInput(
                "\(path) has MQF version \(version), expected \(Self.currentVersion); convert the model again with this "
                    + "meraser, or use one that knows this version")
        }
        let storedCRC = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 60, as: UInt32.self))
        guard crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<60])) == storedCRC else {
            throw MeraserError.badInput("\(path): the header is damaged (CRC32C); copy or convert the file again")
        }
        fileLength = try reader.count("the file length")
        guard fileLength == bytes.count else {
            throw MeraserError.badInput(
                "\(path) has \(bytes.count) bytes, its header says \(fileLength); the copy is cut or was extended")
        }
        metadataCount = Int(try reader.integer(UInt32.self, "the number of metadata keys"))
        tensorCount = Int(try reader.integer(UInt32.self, "the number of tensors"))
        let metadataOffset = try reader.count("the offset of the metadata")
        let directoryOffset = try reader.count("the offset of the directory")
        metadataLength = Int(try reader.integer(UInt32.self, "the length of the metadata"))
        directoryLength = Int(try reader.integer(UInt32.self, "the length of the directory"))
        metadataCRC = try reader.integer(UInt32.self, "the metadata's CRC32C")
        directoryCRC = try reader.integer(UInt32.self, "the directory's CRC32C")
        let reserved = try reader.integer(UInt32.self, "the reserved field")
        guard metadataOffset == self.metadataOffset, directoryOffset == self.directoryOffset,
            directoryEnd <= fileLength
        else {
            throw MeraserError.badInput(
                "\(path): metadata at \(metadataOffset) + \(metadataLength) and directory at \(directoryOffset) + "
                    + "\(directoryLength) do not follow the header inside \(fileLength) bytes")
        }
        guard reserved == 0 else {
            throw MeraserError.badInput("\(path): the header's reserved field is \(reserved), expected 0")
        }
    }

    /// The 64 bytes.
    var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.append(raw: Self.magic)
        writer.append(version)
        writer.append(UInt64(fileLength))
        writer.append(UInt32(metadataCount))
        writer.append(UInt32(tensorCount))
        writer.append(UInt64(metadataOffset))
        writer.append(UInt64(directoryOffset))
        writer.append(UInt32(metadataLength))
        writer.append(UInt32(directoryLength))
        writer.append(metadataCRC)
        writer.append(directoryCRC)
        writer.append(UInt32(0))
        writer.append(writer.bytes.withUnsafeBytes { crc32c($0) })
        return writer.bytes
    }
}
