import Base

/// Reads the fields of a protocol buffer message, one after the other, of bytes that nobody has checked.
///
/// The wire format (protobuf.dev, Encoding): a key, which is a field's number and its type, and a value: a varint, four or
/// eight bytes, or a length and so many bytes. Groups are refused.
struct ProtobufReader {
    /// The value of a field.
    enum Value {
        case varint(UInt64)
        case fixed32(UInt32)
        case fixed64(UInt64)
        /// Text, bytes, a message: where they lie.
        case bytes(Range<Int>)
    }

    private let bytes: UnsafeBufferPointer<UInt8>
    private let end: Int
    private let file: String
    private var position: Int

    /// The message that lies there. The buffer must outlive the reader.
    init(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, file: String) {
        (self.bytes, self.file) = (bytes, file)
        (position, end) = (range.lowerBound, range.upperBound)
    }

    /// The next field; nil at the end. Error (`badInput`): what is there is no field.
    mutating func next() throws -> (field: Int, value: Value)? {
        guard position < end else { return nil }
        let key = try varint()
        let field = Int(truncatingIfNeeded: key >> 3)
        guard field > 0, key >> 3 < 1 << 29 else { throw malformed("a field of number \(key >> 3)") }
        switch key & 7 {
        case 0: return (field, .varint(try varint()))
        case 1: return (field, .fixed64(try fixed(8)))
        case 2:
            let length = try varint()
            guard length <= UInt64(end - position) else { throw malformed("a field that ends beyond its message") }
            let range = position..<position + Int(length)
            position = range.upperBound
            return (field, .bytes(range))
        case 5: return (field, .fixed32(UInt32(truncatingIfNeeded: try fixed(4))))
        default: throw malformed("a field of type \(key & 7)")
        }
    }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            guard position < end else { throw malformed("the end of the file") }
            let byte = bytes[position]
            position += 1
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        throw malformed("a number of more than 64 bits")
    }

    private mutating func fixed(_ count: Int) throws -> UInt64 {
        guard count <= end - position else { throw malformed("the end of the file") }
        var value: UInt64 = 0
        for i in (0..<count).reversed() { value = value << 8 | UInt64(bytes[position + i]) }
        position += count
        return value
    }

    private func malformed(_ what: String) -> MeraserError {
        .badInput("\(file) is no model of SentencePiece: at byte \(position) is \(what)")
    }
}
