import Base

// GGUF's encoding of keys and values (ggml/include/gguf.h, version 3), shared by the GGUF reader and by MQF:
//   string  u64 length, bytes without NUL
//   pair    string key, u32 type, value
//   array   u32 element type, u64 count, elements; arrays do not nest

extension Metadata {
    /// The longest key, as GGUF has it.
    static let maximumKeyLength = 65_535
    /// The longest string, as llama.cpp has it.
    static let maximumStringLength = 1 << 30

    /// Reads `count` pairs but those whose value `take` reads: it is given every key, with the reader in front of the value's
    /// type, and says whether it has read the value.
    init(
        reading reader: inout ByteReader, count: Int,
        take: (_ key: String, inout ByteReader) throws -> Bool = { _, _ in false }
    ) throws {
        self.init()
        // A pair takes at least 8 + 1 + 4 + 1 bytes; a larger count is not worth starting on.
        guard count <= reader.remaining / 14 else {
            throw reader.error("\(count) metadata keys cannot fit into \(reader.remaining) bytes")
        }
        var keys: Set<String> = []
        for i in 0..<count {
            let key = try reader.string(maximum: Self.maximumKeyLength, "metadata key \(i)")
            guard Self.isValidKey(key) else { throw reader.error("metadata key \(i) is not printable ASCII") }
            guard keys.insert(key).inserted else { throw reader.error("metadata key \(quoted(key)) occurs twice") }
            if try take(key, &reader) { continue }
            self[key] = try MetadataValue(reading: &reader, key: key)
        }
    }

    /// Moves behind a value that is a string or an array of u8, whose bytes are returned; nil, and nothing read, for any
    /// other value.
    static func bytes(reading reader: inout ByteReader, _ what: String) throws -> UnsafeRawBufferPointer? {
        var ahead = reader
        switch try MetadataValue.type(reading: &ahead, what) {
        case .string: break
        case .array: guard try MetadataValue.type(reading: &ahead, what) == .uint8 else { return nil }
        default: return nil
        }
        let count = try ahead.count("the length of \(what)")
        guard count <= maximumStringLength else {
            throw ahead.error("\(what) is \(count) bytes long, at most \(maximumStringLength) are allowed")
        }
        let bytes = try ahead.take(count, what)
        reader = ahead
        return bytes
    }

    /// Keys are printable ASCII without spaces and not empty.
    static func isValidKey(_ key: String) -> Bool {
        !key.isEmpty && key.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }

    /// Appends all pairs.
    func write(to writer: inout ByteWriter) {
        for key in keys {
            guard let value = self[key] else { continue }
            precondition(Self.isValidKey(key), "metadata key '\(key)' is not printable ASCII")
            writer.append(string: key)
            value.write(to: &writer)
        }
    }
}

extension MetadataValue {
    fileprivate init(reading reader: inout ByteReader, key: String) throws {
        let what = "the value of metadata key \(quoted(key))"
        switch try Self.type(reading: &reader, what) {
        case .uint8: self = .uint8(try reader.integer(UInt8.self, what))
        case .int8: self = .int8(try reader.integer(Int8.self, what))
        case .uint16: self = .uint16(try reader.integer(UInt16.self, what))
        case .int16: self = .int16(try reader.integer(Int16.self, what))
        case .uint32: self = .uint32(try reader.integer(UInt32.self, what))
        case .int32: self = .int32(try reader.integer(Int32.self, what))
        case .float32: self = .float32(Float(bitPattern: try reader.integer(UInt32.self, what)))
        case .bool: self = .bool(try Self.bool(reading: &reader, what))
        case .string: self = .string(try reader.string(maximum: Metadata.maximumStringLength, what))
        case .array: self = .array(try MetadataArray(reading: &reader, what))
        case .uint64: self = .uint64(try reader.integer(UInt64.self, what))
        case .int64: self = .int64(try reader.integer(Int64.self, what))
        case .float64: self = .float64(Double(bitPattern: try reader.integer(UInt64.self, what)))
        }
    }

    fileprivate static func type(reading reader: inout ByteReader, _ what: String) throws -> MetadataType {
        let id = try reader.integer(UInt32.self, "the type of \(what)")
        guard let type = MetadataType(rawValue: id) else {
            throw reader.error("\(what) has type \(id); types 0 to 12 are known")
        }
        return type
    }

    fileprivate static func bool(reading reader: inout ByteReader, _ what: String) throws -> Bool {
        let byte = try reader.integer(UInt8.self, what)
        guard byte <= 1 else { throw reader.error("\(what) is a boolean with the byte \(byte), expected 0 or 1") }
        return byte == 1
    }

    fileprivate func write(to writer: inout ByteWriter) {
        func put<T: FixedWidthInteger>(_ type: MetadataType, _ value: T) {
            writer.append(type.rawValue)
            writer.append(value)
        }
        switch self {
        case .uint8(let value): put(.uint8, value)
        case .int8(let value): put(.int8, value)
        case .uint16(let value): put(.uint16, value)
        case .int16(let value): put(.int16, value)
        case .uint32(let value): put(.uint32, value)
        case .int32(let value): put(.int32, value)
        case .float32(let value): put(.float32, value.bitPattern)
        case .bool(let value): put(.bool, UInt8(value ? 1 : 0))
        case .string(let text):
            writer.append(MetadataType.string.rawValue)
            writer.append(string: text)
        case .array(let array):
            writer.append(MetadataType.array.rawValue)
            array.write(to: &writer)
        case .uint64(let value): put(.uint64, value)
        case .int64(let value): put(.int64, value)
        case .float64(let value): put(.float64, value.bitPattern)
        }
    }
}

extension MetadataArray {
    /// The most elements, as llama.cpp has it.
    fileprivate static let maximumCount = 1 << 30

    fileprivate init(reading reader: inout ByteReader, _ what: String) throws {
        let type = try MetadataValue.type(reading: &reader, "an element of \(what)")
        guard let size = type.minimumByteCount else { throw reader.error("\(what) is an array of arrays") }
        let count = try reader.count("the length of \(what)")
        guard count <= Self.maximumCount, count <= reader.remaining / size else {
            throw reader.error("\(what) claims \(count) elements, only \(reader.remaining) bytes are left")
        }
        switch type {
        case .uint8: self = .uint8(try Self.integers(&reader, count, what))
        case .int8: self = .int8(try Self.integers(&reader, count, what))
        case .uint16: self = .uint16(try Self.integers(&reader, count, what))
        case .int16: self = .int16(try Self.integers(&reader, count, what))
        case .uint32: self = .uint32(try Self.integers(&reader, count, what))
        case .int32: self = .int32(try Self.integers(&reader, count, what))
        case .uint64: self = .uint64(try Self.integers(&reader, count, what))
        case .int64: self = .int64(try Self.integers(&reader, count, what))
        case .float32:
            let bits: [UInt32] = try Self.integers(&reader, count, what)
            self = .float32(bits.map(Float.init(bitPattern:)))
        case .float64:
            let bits: [UInt64] = try Self.integers(&reader, count, what)
            self = .float64(bits.map(Double.init(bitPattern:)))
        case .bool:
            self = .bool(try (0..<count).map { _ in try MetadataValue.bool(reading: &reader, what) })
        case .string, .array:
            var strings: [String] = []
            strings.reserveCapacity(count)
            for i in 0..<count {
                strings.append(try reader.string(maximum: Metadata.maximumStringLength, "element \(i) of \(what)"))
            }
            self = .string(strings)
        }
    }

    private static func integers<T: FixedWidthInteger & BitwiseCopyable>(
        _ reader: inout ByteReader, _ count: Int, _ what: String
    ) throws -> [T] {
        let size = MemoryLayout<T>.size
        let bytes = try reader.take(count * size, what)  // bounded: count ≤ what remains / size
        return stride(from: 0, to: bytes.count, by: size).map {
            T(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: T.self))
        }
    }

    fileprivate func write(to writer: inout ByteWriter) {
        func put<T: FixedWidthInteger>(_ type: MetadataType, _ values: [T]) {
            writer.append(type.rawValue)
            writer.append(UInt64(values.count))
            for value in values { writer.append(value) }
        }
        switch self {
        case .uint8(let values):
            writer.append(MetadataType.uint8.rawValue)
            writer.append(UInt64(values.count))
            writer.append(raw: values)
        case .int8(let values): put(.int8, values)
        case .uint16(let values): put(.uint16, values)
        case .int16(let values): put(.int16, values)
        case .uint32(let values): put(.uint32, values)
        case .int32(let values): put(.int32, values)
        case .float32(let values): put(.float32, values.map(\.bitPattern))
        case .bool(let values): put(.bool, values.map { UInt8($0 ? 1 : 0) })
        case .uint64(let values): put(.uint64, values)
        case .int64(let values): put(.int64, values)
        case .float64(let values): put(.float64, values.map(\.bitPattern))
        case .string(let strings):
            writer.append(MetadataType.string.rawValue)
            writer.append(UInt64(strings.count))
            for text in strings { writer.append(string: text) }
        }
    }
}
