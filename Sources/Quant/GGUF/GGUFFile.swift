import Base

/// What a GGUF file says about one tensor.
public struct GGUFTensorInfo: Sendable, Equatable {
    /// ggml's name, such as `blk.0.attn_q.weight`.
    public let name: String
    /// `ggml_type`; may be one that meraser does not know.
    public let typeID: UInt32
    /// Dimensions in ggml's order, fastest first: the reverse of PyTorch's.
    public let dimensions: [Int]
    /// Where the bytes begin, from the start of the data section.
    public let offset: Int

    /// A tensor that is not checked against any file.
    public init(name: String, typeID: UInt32, dimensions: [Int], offset: Int) {
        self.name = name
        self.typeID = typeID
        self.dimensions = dimensions
        self.offset = offset
    }
}

/// Header, metadata and tensor list of a GGUF file (version 2 or 3, little-endian), read from an untrusted file.
///
/// Source of the format: ggml/include/gguf.h. Tensor data is not read. Thread-safe.
public struct GGUFFile: Sendable {
    /// The path as given.
    public let path: String
    /// 2 or 3.
    public let version: Int
    /// All keys and values in file order.
    public let metadata: Metadata
    /// The tensors in file order; empty in vocabulary-only files.
    public let tensors: [GGUFTensorInfo]
    /// `general.alignment`, 32 by default.
    public let alignment: Int
    /// Where the data section begins.
    public let dataOffset: Int

    /// Reads and checks everything before the tensor data. Errors: `badInput` with path, place and expectation.
    public init(path: String) throws {
        let file = try MappedFile(path: path)
        self = try file.withBytes { try GGUFFile(path: path, bytes: $0) }
    }

    /// True if the file begins with GGUF's magic.
    public static func isGGUF(path: String) -> Bool { fileBegins(path: path, with: Array("GGUF".utf8)) }

    private init(path: String, bytes: UnsafeRawBufferPointer) throws {
        var reader = ByteReader(bytes, label: path)
        guard Array(try reader.take(4, "the magic")) == Array("GGUF".utf8) else {
            throw MeraserError.badInput("\(path) is not a GGUF file: it does not begin with 'GGUF'")
        }
        let version = try reader.integer(UInt32.self, "the version")
        guard version & 0xFFFF != 0 else {
            throw MeraserError.badInput("\(path): big-endian GGUF files are not supported (version field \(version))")
        }
        guard version == 2 || version == 3 else {
            throw MeraserError.badInput("\(path): GGUF version \(version) is not supported, expected 2 or 3")
        }
        let tensorCount = try reader.count("the number of tensors")
        let keyCount = try reader.count("the number of metadata keys")
        let metadata = try Metadata(reading: &reader, count: keyCount)
        var alignment = 32
        if let value = metadata["general.alignment"] {
            guard let bytes = metadata.int("general.alignment"), (1...1 << 20).contains(bytes),
                bytes.nonzeroBitCount == 1
            else { throw MeraserError.badInput("\(path): general.alignment is \(value), expected a power of two") }
            alignment = bytes
        }
        let tensors = try Self.tensors(&reader, count: tensorCount)
        guard let dataOffset = roundUp(reader.offset, to: alignment) else {
            throw reader.error("the data section begins beyond any file")
        }
        try Self.check(tensors, alignment: alignment, dataCount: max(0, bytes.count - dataOffset), path: path)
        self.path = path
        self.version = Int(version)
        self.metadata = metadata
        self.tensors = tensors
        self.alignment = alignment
        self.dataOffset = dataOffset
    }

    private static func tensors(_ reader: inout ByteReader, count: Int) throws -> [GGUFTensorInfo] {
        // A tensor takes at least 8 + 1 + 4 + 8 + 4 + 8 bytes.
        guard count <= reader.remaining / 33 else {
            throw reader.error("\(count) tensors cannot fit into \(reader.remaining) bytes")
        }
        var tensors: [GGUFTensorInfo] = []
        var names: Set<[UInt8]> = []
        for i in 0..<count {
            let name = try reader.string(maximum: 63, "the name of tensor \(i)")
            guard !name.isEmpty else { throw reader.error("the name of tensor \(i) is empty") }
            guard names.insert(Array(name.utf8)).inserted else { throw reader.error("tensor '\(name)' occurs twice") }
            let rank = try reader.integer(UInt32.self, "the rank of tensor \(quoted(name))")
            guard (1...4).contains(rank) else {
                throw reader.error("tensor \(quoted(name)) has \(rank) dimensions, expected 1 to 4")
            }
            var dimensions: [Int] = []
            var elements = 1
            for _ in 0..<rank {
                let dimension = try reader.count("a dimension of tensor \(quoted(name))")
                guard dimension >= 1, let next = product(elements, dimension) else {
                    throw reader.error("the dimensions of tensor \(quoted(name)) are zero or overflow")
                }
                elements = next
                dimensions.append(dimension)
            }
            let typeID = try reader.integer(UInt32.self, "the type of tensor \(quoted(name))")
            let offset = try reader.count("the offset of tensor \(quoted(name))")
            tensors.append(GGUFTensorInfo(name: name, typeID: typeID, dimensions: dimensions, offset: offset))
        }
        return tensors
    }

    /// Offsets are aligned, rise in file order and lie inside the data section.
    private static func check(_ tensors: [GGUFTensorInfo], alignment: Int, dataCount: Int, path: String) throws {
        var previous = -1
        for tensor in tensors {
            guard tensor.offset % alignment == 0, tensor.offset > previous, tensor.offset < dataCount else {
                throw MeraserError.badInput(
                    "\(path): tensor '\(tensor.name)' begins at \(tensor.offset) of \(dataCount) data bytes; expected a "
                        + "multiple of \(alignment) behind the tensor before it")
            }
            previous = tensor.offset
        }
    }
}

/// True if a regular file at `path` begins with those bytes.
func fileBegins(path: String, with magic: [UInt8]) -> Bool {
    guard let file = try? MappedFile(path: path), file.count >= magic.count else { return false }
    return file.withBytes { $0.starts(with: magic) }
}
