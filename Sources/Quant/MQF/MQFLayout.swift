import Base

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

    /// Rows; 1 for a tensor of one dimension.
    var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    var columns: Int { shape.last ?? 1 }
    /// Elements, without padding.
    var elementCount: Int { rows * columns }  // bounded: writers check the bytes
}

/// Where everything of an MQF file will lie, known before any data comes.
struct MQFLayout: Sendable {
    /// Complete but for the directory's CRC.
    let header: MQFHeader
    let metadataBytes: [UInt8]
    /// In the order of declaration, without CRCs.
    let tensors: [TensorInfo]

    /// Errors: `badInput` for a name that occurs twice, is empty or too long, or a shape that its type cannot have.
    init(path: String, metadata: Metadata, tensors declarations: [TensorDeclaration]) throws {
        var writer = ByteWriter()
        metadata.write(to: &writer)
        metadataBytes = writer.bytes
        var header = MQFHeader()
        header.metadataCount = metadata.count
        header.tensorCount = declarations.count
        header.metadataLength = metadataBytes.count
        header.metadataCRC = metadataBytes.withUnsafeBytes { crc32c($0) }
        header.directoryLength = declarations.reduce(0) { $0 + MQFDirectory.entryLength($1) }
        guard UInt32(exactly: header.metadataLength) != nil, UInt32(exactly: header.directoryLength) != nil else {
            throw MeraserError.badInput("\(path): the metadata or the directory would exceed 4 GiB")
        }
        tensors = try Self.place(declarations, from: header.directoryEnd, path: path)
        header.fileLength = tensors.last.map { $0.offset + $0.byteCount } ?? header.directoryEnd
        self.header = header
    }

    private static func place(
        _ declarations: [TensorDeclaration], from start: Int, path: String
    ) throws -> [TensorInfo] {
        var names: Set<[UInt8]> = []
        var end = start
        return try declarations.map { tensor in
            func bad(_ what: String) -> MeraserError { .badInput("\(path): tensor \(quoted(tensor.name)) \(what)") }
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
}
