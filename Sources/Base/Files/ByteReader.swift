/// A cursor over little-endian bytes of an untrusted file: every read checks what is left, and what is missing is an
/// error that names file, section and offset.
public struct ByteReader {
    /// The section's bytes.
    public let bytes: UnsafeRawBufferPointer
    /// For messages: "PATH: metadata".
    public let label: String
    /// Where `bytes` begins in the file, for messages.
    public let fileOffset: Int
    /// The next byte to read.
    public private(set) var offset = 0

    /// From the first of those bytes.
    public init(_ bytes: UnsafeRawBufferPointer, label: String, fileOffset: Int = 0) {
        self.bytes = bytes
        self.label = label
        self.fileOffset = fileOffset
    }

    /// Bytes not read yet.
    public var remaining: Int { bytes.count - offset }

    /// An error about what was read last.
    public func error(_ what: String) -> MeraserError {
        .badInput("\(label): \(what) (at byte \(fileOffset + offset))")
    }

    /// The next `count` bytes.
    public mutating func take(_ count: Int, _ what: @autoclosure () -> String) throws -> UnsafeRawBufferPointer {
        guard count >= 0, count <= remaining else {
            throw error("\(what()) needs \(count) bytes, \(remaining) are left")
        }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }

    /// The next integer.
    public mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ what: @autoclosure () -> String
    ) throws -> T {
        T(littleEndian: try take(MemoryLayout<T>.size, what()).loadUnaligned(as: type))
    }

    /// The next u64 as a count, offset or length.
    public mutating func count(_ what: @autoclosure () -> String) throws -> Int {
        let value = try integer(UInt64.self, what())
        guard let count = Int(exactly: value) else { throw error("\(what()) is \(value), too large") }
        return count
    }

    /// The next string: u64 length, then that many bytes of valid UTF-8.
    public mutating func string(maximum: Int, _ what: @autoclosure () -> String) throws -> String {
        let length = try count("the length of \(what())")
        guard length <= maximum else {
            throw error("\(what()) is \(length) bytes long, at most \(maximum) are allowed")
        }
        let bytes = try take(length, what())
        guard let text = String(validating: bytes, as: UTF8.self) else { throw error("\(what()) is not valid UTF-8") }
        return text
    }
}

/// Little-endian bytes being put together.
public struct ByteWriter {
    /// What was put together.
    public private(set) var bytes: [UInt8] = []

    /// No bytes yet.
    public init() {}

    /// An integer.
    public mutating func append<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// Those bytes.
    public mutating func append(raw: some Sequence<UInt8>) { bytes.append(contentsOf: raw) }

    /// A string as u64 length and bytes.
    public mutating func append(string: String) {
        append(UInt64(string.utf8.count))
        append(raw: string.utf8)
    }
}
