import Base

/// What a safetensors header says about one tensor, of any dtype and rank.
public struct SafetensorsEntry: Sendable, Equatable {
    /// The tensor's name.
    public let name: String
    /// The dtype as written: `F32`, `BF16`, `I64`, …
    public let dtype: String
    /// Dimensions, slowest first; empty for a scalar; zeros are allowed.
    public let shape: [Int]
    /// Where the bytes begin, from the start of the file.
    public let offset: Int
    /// How many bytes there are.
    public let byteCount: Int

    /// The type that meraser computes with, or nil for other dtypes.
    public var type: TensorType? { SafetensorsFile.type(dtype: dtype) }
}

/// One safetensors file: its header parsed and checked, its data mapped read-only. Thread-safe.
///
/// Source of the format: huggingface/safetensors, src/tensor.rs: u64 length N, N bytes of JSON, data. The tensors must
/// tile the data exactly: no hole, no overlap, nothing left over.
public struct SafetensorsFile: Sendable {
    /// The map.
    public let file: MappedFile
    /// All tensors, in the order of their data.
    public let entries: [SafetensorsEntry]
    /// `__metadata__`, in the file's order.
    public let metadata: [(key: String, value: String)]
    private let indexByName: [[UInt8]: Int]

    /// The longest header that is read, as in the reference implementation.
    public static let maximumHeaderLength = 100_000_000

    /// Maps the file and checks the header. Errors: `badInput` with path, tensor and expectation.
    public init(path: String) throws {
        let file = try MappedFile(path: path)
        (entries, metadata) = try file.withBytes { try Self.parse($0, path: path) }
        indexByName = Dictionary(uniqueKeysWithValues: entries.enumerated().map { (Array($1.name.utf8), $0) })
        self.file = file
    }

    /// The path as given.
    public var path: String { file.path }

    /// The header's entry of that name (compared by bytes), or nil.
    public func entry(_ name: String) -> SafetensorsEntry? { indexByName[Array(name.utf8)].map { entries[$0] } }

    /// A view of the tensor of that name. Errors (`badInput`): there is none, its dtype is not F32, F16 or BF16, or it
    /// has not one or two dimensions of at least 1.
    public func tensor(_ name: String) throws -> TensorView {
        guard let entry = entry(name) else { throw MeraserError.badInput("\(path): there is no tensor '\(name)'") }
        guard let type = entry.type else {
            throw MeraserError.badInput("\(path): tensor '\(name)' has dtype \(entry.dtype), expected F32, F16 or BF16")
        }
        guard byteCount(of: type, shape: entry.shape) == entry.byteCount else {
            throw MeraserError.badInput(
                "\(path): tensor '\(name)' has shape \(entry.shape), expected one or two dimensions of at least 1")
        }
        let info = TensorInfo(
            name: name, type: type, shape: entry.shape, offset: entry.offset, byteCount: entry.byteCount, crc32c: nil)
        return TensorView(info: info, file: file)
    }

    /// The values of an I32 or I64 tensor of any rank, such as token ids. Errors (`badInput`): there is none of that
    /// name, or its dtype is another.
    public func integers(_ name: String) throws -> [Int] {
        guard let entry = entry(name) else { throw MeraserError.badInput("\(path): there is no tensor '\(name)'") }
        return try file.withBytes { bytes in
            let data = UnsafeRawBufferPointer(rebasing: bytes[entry.offset..<entry.offset + entry.byteCount])
            switch entry.dtype {
            case "I32":
                return stride(from: 0, to: data.count, by: 4).map {
                    Int(Int32(littleEndian: data.loadUnaligned(fromByteOffset: $0, as: Int32.self)))
                }
            case "I64":
                return stride(from: 0, to: data.count, by: 8).map {
                    Int(Int64(littleEndian: data.loadUnaligned(fromByteOffset: $0, as: Int64.self)))
                }
            default:
                throw MeraserError.badInput(
                    "\(path): tensor \(quoted(name)) has dtype \(entry.dtype), expected I32 or I64")
            }
        }
    }

    /// The type of a dtype that meraser computes with, or nil.
    static func type(dtype: String) -> TensorType? {
        switch dtype {
        case "F32": .f32
        case "F16": .f16
        case "BF16": .bf16
        default: nil
        }
    }

    /// Bytes of an element; nil for dtypes that are unknown or not whole bytes.
    static func elementByteCount(dtype: String) -> Int? {
        switch dtype {
        case "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ": 1
        case "I16", "U16", "F16", "BF16": 2
        case "I32", "U32", "F32": 4
        case "I64", "U64", "F64", "C64": 8
        default: nil
        }
    }
}

// MARK: - Parsing

extension SafetensorsFile {
    private typealias Contents = (entries: [SafetensorsEntry], metadata: [(key: String, value: String)])

    private static func parse(_ bytes: UnsafeRawBufferPointer, path: String) throws -> Contents {
        var reader = ByteReader(bytes, label: path)
        let length = try reader.count("the header's length")
        guard length <= maximumHeaderLength else {
            throw MeraserError.badInput(
                "\(path) is no safetensors file: its header would have \(length) bytes, at most \(maximumHeaderLength) "
                    + "are allowed")
        }
        let header = try reader.take(length, "the header")
        guard header.first == UInt8(ascii: "{") else {
            throw MeraserError.badInput("\(path) is no safetensors file: its header does not begin with '{'")
        }
        let json = try JSONValue.parse(header, file: "\(path) (header)")
        guard let object = json.object else { throw MeraserError.badInput("\(path): the header is no JSON object") }
        var entries: [SafetensorsEntry] = []
        entries.reserveCapacity(object.count)
        var metadata: [(key: String, value: String)] = []
        for (key, value) in object.members {
            if key == "__metadata__" {
                metadata = try parseMetadata(value, path: path)
            } else {
                entries.append(
                    try parseEntry(key.string, value, dataOffset: 8 + length, dataCount: reader.remaining, path: path))
            }
        }
        entries.sort { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
        try checkTiling(entries, dataOffset: 8 + length, end: bytes.count, path: path)
        return (entries, metadata)
    }

    private static func parseMetadata(_ value: JSONValue, path: String) throws -> [(key: String, value: String)] {
        guard let object = value.object else {
            throw MeraserError.badInput("\(path): '__metadata__' is \(value.kind), expected an object of strings")
        }
        return try object.members.map { key, value in
            guard let text = value.string else {
                throw MeraserError.badInput(
                    "\(path): '__metadata__.\(key.string)' is \(value.kind), expected a string")
            }
            return (key.string, text)
        }
    }

    private static func parseEntry(
        _ name: String, _ value: JSONValue, dataOffset: Int, dataCount: Int, path: String
    ) throws -> SafetensorsEntry {
        func bad(_ what: String) -> MeraserError { .badInput("\(path): tensor \(quoted(name)): \(what)") }
        guard !name.isEmpty else { throw MeraserError.badInput("\(path): a tensor's name is empty") }
        guard let object = value.object else { throw bad("the header has \(value.kind) for it, expected an object") }
        for (key, _) in object.members where !["dtype", "shape", "data_offsets"].contains(key) {
            throw bad("unknown key \(quoted(key.string)) in the header, expected dtype, shape and data_offsets")
        }
        guard let dtype = object["dtype"]?.string else { throw bad("'dtype' is missing or no string") }
        let shape = object["shape"]?.array?.map { $0.int ?? -1 }
        guard let shape, shape.allSatisfy({ $0 >= 0 }) else {
            throw bad("'shape' is missing or no array of non-negative integers")
        }
        let offsets = object["data_offsets"]?.array?.map { $0.int ?? -1 }
        guard let offsets, offsets.count == 2, offsets[0] >= 0, offsets[1] >= offsets[0] else {
            throw bad("'data_offsets' is missing or no pair of a begin and an end")
        }
        guard offsets[1] <= dataCount else {
            throw bad("its data ends at \(offsets[1]) of \(dataCount) bytes of data; the file is incomplete")
        }
        let count = offsets[1] - offsets[0]
        if let size = elementByteCount(dtype: dtype) {
            var expected: Int? = size
            for n in shape { expected = expected.flatMap { product($0, n) } }
            if shape.contains(0) { expected = 0 }
            guard expected == count else {
                throw bad(
                    "\(count) bytes, expected \(expected.map(String.init) ?? "an impossible number") for shape \(shape) "
                        + "of dtype \(dtype)")
            }
        }
        return SafetensorsEntry(
            name: name, dtype: dtype, shape: shape, offset: dataOffset + offsets[0], byteCount: count)
    }

    /// `entries` in the order of their offsets must follow each other from the header's end to the file's end.
    private static func checkTiling(
        _ entries: [SafetensorsEntry], dataOffset: Int, end fileEnd: Int, path: String
    ) throws {
        var end = dataOffset
        for entry in entries {
            guard entry.offset == end else {
                throw MeraserError.badInput(
                    "\(path): tensor '\(entry.name)' begins at byte \(entry.offset - dataOffset) of the data, expected "
                        + "\(end - dataOffset): tensors overlap or leave a hole")
            }
            end += entry.byteCount
        }
        guard end == fileEnd else {
            throw MeraserError.badInput("\(path): \(fileEnd - end) bytes follow the last tensor")
        }
    }
}
