/// A long array or object of a JSON file without a tree: rows of a text, and beside it another text or a number. A tree
/// of the 400,000 rows of a vocabulary and its merges takes longer to build than everything that reads it.
///
/// An object has a row for each member, whose text is the key; keys may occur twice, which who reads them must check. An
/// array has a row for each element: a text, or an array of a text and one more.
public struct JSONRows: Sendable {
    /// What a row has beside its text.
    public enum Second: Sendable, Equatable {
        /// Nothing: the element is a text alone.
        case none
        case integer(Int)
        case number(Double)
        /// Another text; it ends there.
        case text(end: Int)
        /// A value of another kind, in words.
        case other(String)
        /// The element is no row: it has no text, or more than two parts.
        case malformed
    }

    /// All texts, one after the other.
    public fileprivate(set) var bytes: [UInt8] = []
    /// True for the members of an object.
    public fileprivate(set) var isObject = false
    /// By row, where its text ends in `bytes`; it begins where the row before ends, its second text included.
    private var starts: [Int32] = []
    private var ends: [Int32] = []
    private var kinds: [UInt8] = []
    /// An integer, a number's bits or a text's end.
    private var values: [Int64] = []

    /// The number of rows.
    public var count: Int { ends.count }

    /// Where the text of a row lies in `bytes`.
    @inline(__always)
    public func text(_ row: Int) -> Range<Int> { Int(starts[row])..<Int(ends[row]) }

    /// Where the second text of a row lies in `bytes`; nil if it has none.
    @inline(__always)
    public func secondText(_ row: Int) -> Range<Int>? {
        kinds[row] == 3 ? Int(ends[row])..<Int(values[row]) : nil
    }

    /// The integer of a row; nil if it has none.
    @inline(__always)
    public func integer(_ row: Int) -> Int? { kinds[row] == 1 ? Int(values[row]) : nil }

    /// What a row has beside its text.
    public func second(_ row: Int) -> Second {
        switch kinds[row] {
        case 0: .none
        case 1: .integer(Int(values[row]))
        case 2: .number(Double(bitPattern: UInt64(bitPattern: values[row])))
        case 3: .text(end: Int(values[row]))
        case 4: .malformed
        default: .other(Self.kinds[Int(kinds[row]) - 5])
        }
    }

    /// Kinds of other values, as `JSONValue.kind` has them.
    private static let kinds = ["null", "a boolean", "an array", "an object"]

    fileprivate mutating func append(start: Int, end: Int, _ second: JSONValue?) {
        switch second {
        case nil: append(start, end, 0, 0)
        case .integer(let value): append(start, end, 1, Int64(value))
        case .number(let value): append(start, end, 2, Int64(bitPattern: value.bitPattern))
        case .string: append(start, end, 3, Int64(bytes.count))
        case let value?: append(start, end, UInt8(5 + (Self.kinds.firstIndex(of: value.kind) ?? 0)), 0)
        }
    }

    fileprivate mutating func appendMalformed() { append(bytes.count, bytes.count, 4, 0) }

    private mutating func append(_ start: Int, _ end: Int, _ kind: UInt8, _ value: Int64) {
        starts.append(Int32(clamping: start))
        ends.append(Int32(clamping: end))
        kinds.append(kind)
        values.append(value)
    }
}

extension JSONValue {
    /// Reads one JSON value that fills all of `bytes`, as `parse`, but gives some members as rows instead of a tree.
    ///
    /// - Parameter keys: the members of the object `object` of the top level that are rows.
    /// - Returns: the value without those members, and the rows by key.
    public static func parse(
        _ bytes: [UInt8], file: String, rowsOf object: String, keys: Set<String>
    ) throws -> (value: JSONValue, rows: [String: JSONRows]) {
        guard bytes.count <= defaultMaximumBytes else {
            throw MeraserError.badInput(
                "\(file): \(bytes.count) bytes of JSON, expected at most \(defaultMaximumBytes)")
        }
        return try bytes.withUnsafeBufferPointer { bytes in
            var reader = JSONReader(bytes, file: file)
            var rows: [String: JSONRows] = [:]
            let value = try build(&reader, path: []) { path, reader in
                guard path.count == 2, path[0] == object, keys.contains(path[1]) else { return false }
                guard let found = try JSONRows(&reader) else { return false }
                if rows.updateValue(found, forKey: path[1]) != nil {
                    throw reader.error("duplicate key \(quoted(path[1]))", at: reader.keyStart)
                }
                return true
            }
            _ = try reader.next()
            return (value, rows)
        }
    }

    /// A tree without what `take` has read.
    private static func build(
        _ reader: inout JSONReader, path: [String], take: ([String], inout JSONReader) throws -> Bool
    ) throws -> JSONValue {
        guard let event = try reader.next() else { return .null }
        guard case .beginObject = event, path.count < 2 else { return try build(&reader, event) }
        var object = JSONObject()
        while case .key(let key)? = try reader.next() {
            let keyStart = reader.keyStart
            let inner = path + [key.string]
            if try take(inner, &reader) { continue }
            guard object.append(key, try build(&reader, path: inner, take: take)) else {
                throw reader.error("duplicate key \(quoted(key.string))", at: keyStart)
            }
        }
        return .object(object)
    }
}

extension JSONRows {
    /// Reads the value that comes next; nil, and nothing read, if it is neither an array nor an object.
    fileprivate init?(_ reader: inout JSONReader) throws {
        guard let open = reader.peekValue(), open == UInt8(ascii: "{") || open == UInt8(ascii: "[") else { return nil }
        _ = try reader.next()
        isObject = open == UInt8(ascii: "{")
        while true {
            let start = bytes.count
            if isObject {
                guard try reader.nextKey(into: &bytes) else { return }
                let end = bytes.count
                append(start: start, end: end, try Self.second(&reader, &bytes))
            } else if reader.peekElement() == UInt8(ascii: "\"") {
                try reader.nextText(into: &bytes)
                append(start: start, end: bytes.count, nil)
            } else {
                guard let event = try reader.next() else { return }
                switch event {
                case .endArray: return
                case .beginArray: try pair(&reader, start)
                default:
                    _ = try JSONValue.build(&reader, event)
                    appendMalformed()
                }
            }
        }
    }

    /// The rest of an element that is an array.
    private mutating func pair(_ reader: inout JSONReader, _ start: Int) throws {
        var isGood = false
        var end = start
        var second: JSONValue?
        if reader.peekElement() == UInt8(ascii: "\"") {
            try reader.nextText(into: &bytes)
            end = bytes.count
            second = try Self.second(&reader, &bytes)
            isGood = second != nil
        }
        // What follows the two parts, and the end.
        while let event = try reader.next() {
            if case .endArray = event { break }
            _ = try JSONValue.build(&reader, event)
            isGood = false
        }
        if isGood {
            append(start: start, end: end, second)
        } else {
            bytes.removeLast(bytes.count - start)
            appendMalformed()
        }
    }

    /// The value that comes next; of a text, which goes to `bytes`, only that it is one. Nil at the end of an array, which
    /// stays.
    private static func second(_ reader: inout JSONReader, _ bytes: inout [UInt8]) throws -> JSONValue? {
        switch reader.peekElement() {
        case UInt8(ascii: "\""):
            try reader.nextText(into: &bytes)
            return .string("")
        case UInt8(ascii: "]"): return nil
        default:
            if let integer = try reader.nextSmallInteger() { return .integer(integer) }
            guard let event = try reader.next() else { return nil }
            return try JSONValue.build(&reader, event)
        }
    }
}
