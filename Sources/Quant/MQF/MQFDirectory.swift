import Base

// The directory: one entry per tensor, in the order in which the tensors lie in the file. docs/reference/format.md.
//   name (u64 length, bytes), u32 type, u32 rank (1 or 2), rank × u64 dimension (rows first),
//   u64 offset from the start of the file, u64 byte length, u32 CRC32C of the bytes

enum MQFDirectory {
    /// The longest tensor name.
    static let maximumNameLength = 1024
    /// The smallest entry: a name of one byte and one dimension.
    private static let minimumEntryLength = 8 + 1 + 4 + 4 + 8 + 8 + 8 + 4

    /// Reads `count` entries and checks each of them; the whole section must be used up, and the tensors must fill the
    /// file from the directory's end to its last byte with nothing but the padding to 4096 between them.
    static func read(_ reader: inout ByteReader, count: Int, directoryEnd: Int, fileLength: Int) throws -> [TensorInfo]
    {
        guard count <= reader.remaining / minimumEntryLength else {
            throw reader.error("\(count) tensors cannot fit into \(reader.remaining) bytes")
        }
        var tensors: [TensorInfo] = []
        tensors.reserveCapacity(count)
        var names: Set<[UInt8]> = []
        var end = directoryEnd
        for i in 0..<count {
            let tensor = try readEntry(&reader, index: i)
            guard names.insert(Array(tensor.name.utf8)).inserted else {
                throw reader.error("tensor \(quoted(tensor.name)) occurs twice")
            }
            guard let start = roundUp(end, to: MQFHeader.alignment), tensor.offset == start,
                fileLength >= start, tensor.byteCount <= fileLength - start
            else {
                throw reader.error(
                    "tensor '\(tensor.name)' has \(tensor.byteCount) bytes at \(tensor.offset); expected it at the next "
                        + "multiple of \(MQFHeader.alignment) after \(end), inside a file of \(fileLength) bytes")
            }
            end = start + tensor.byteCount
            tensors.append(tensor)
        }
        guard reader.remaining == 0 else { throw reader.error("\(reader.remaining) bytes are left over") }
        guard end == fileLength else {
            throw reader.error("the last tensor ends at \(end), the file at \(fileLength)")
        }
        return tensors
    }

    private static func readEntry(_ reader: inout ByteReader, index: Int) throws -> TensorInfo {
        let name = try reader.string(maximum: maximumNameLength, "the name of tensor \(index)")
        guard !name.isEmpty else { throw reader.error("the name of tensor \(index) is empty") }
        let typeID = try reader.integer(UInt32.self, "the type of tensor \(quoted(name))")
        guard let type = TensorType(rawValue: typeID) else {
            let known = TensorType.allCases.map { "\($0.rawValue) \($0.name)" }.joined(separator: ", ")
            throw reader.error("tensor \(quoted(name)) has the unknown type \(typeID); known are \(known)")
        }
        let rank = try reader.integer(UInt32.self, "the rank of tensor \(quoted(name))")
        guard rank == 1 || rank == 2 else {
            throw reader.error("tensor \(quoted(name)) has \(rank) dimensions, expected 1 or 2")
        }
        var shape: [Int] = []
        for _ in 0..<rank { shape.append(try reader.count("a dimension of tensor \(quoted(name))")) }
        let offset = try reader.count("the offset of tensor \(quoted(name))")
        let length = try reader.count("the byte length of tensor \(quoted(name))")
        let crc = try reader.integer(UInt32.self, "the CRC32C of tensor \(quoted(name))")
        guard rank == 2 || !type.isTiled else {
            throw reader.error("tensor \(quoted(name)) has one dimension and type \(type.name), expected a plain type")
        }
        guard let expected = byteCount(of: type, shape: shape) else {
            throw reader.error("tensor \(quoted(name)): the shape \(shape) is not possible for type \(type.name)")
        }
        guard length == expected else {
            throw reader.error(
                "tensor \(quoted(name)): \(length) bytes, expected \(expected) for shape \(shape) of type \(type.name)")
        }
        return TensorInfo(name: name, type: type, shape: shape, offset: offset, byteCount: length, crc32c: crc)
    }

    /// Bytes of the entry of a tensor.
    static func entryLength(_ tensor: TensorDeclaration) -> Int {
        8 + tensor.name.utf8.count + 4 + 4 + 8 * tensor.shape.count + 8 + 8 + 4  // bounded: at most 2
    }

    /// Appends all entries.
    static func write(_ tensors: [TensorInfo], to writer: inout ByteWriter) {
        for tensor in tensors {
            writer.append(string: tensor.name)
            writer.append(tensor.type.rawValue)
            writer.append(UInt32(tensor.shape.count))
            for dimension in tensor.shape { writer.append(UInt64(dimension)) }
            writer.append(UInt64(tensor.offset))
            writer.append(UInt64(tensor.byteCount))
            writer.append(tensor.crc32c ?? 0)
        }
    }
}
