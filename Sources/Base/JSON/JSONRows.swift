/// A long array or object of a JSON file without a tree: rows of a text, and beside it another text or a number. A tree
/// of the 400,000 rows of a vocabulary and its merges takes longer to build than everything that reads it.
///
/// An object has a row for each member, whose text is the key; keys may occur twice, which who reads them must check. An
/// array has a row for each element: a text, or an array of a text and one more.
///
/// Valid as long as the bytes that were parsed.
public struct JSONRows {
    /// What a row has beside its text.
    public enum Second: Sendable, Equatable {
        /// Nothing: the element is a text alone.
        case none
        case integer(Int)
        case number(Double)
        /// Another text.
        case text
        /// A value of another kind, in words.
        case other(String)
        /// The element is no row: it has no text, or more than two parts.
        case malformed
    }

    /// True for the members of an object.
    public fileprivate(set) var isObject = false
    /// The file, in which texts without escapes lie.
    private let source: UnsafeBufferPointer<UInt8>
    /// The other texts, one after the other.
    fileprivate var decoded: [UInt8] = []
    private var rows: [Row] = []

    @usableFromInline
    struct Row {
        /// Where the row's text is, and what is beside it.
        @usableFromInline let place: Place
        /// An integer, a number's bits or a text's place.
        @usableFromInline let value: Int64
    }

    /// Where a text is: in the file, or with the highest bit among the decoded ones; below it 31 bits where, 28 how many
    /// bytes (a file has at most 2^28), and 4 for the kind of a row.
    @usableFromInline
    struct Place {
        @usableFromInline let bits: UInt64

        @inline(__always)
        init(_ range: Range<Int>, isDecoded: Bool, kind: UInt64 = 0) {
            bits = (isDecoded ? 1 << 63 : 0) | UInt64(range.lowerBound) << 32 | UInt64(range.count) << 4 | kind
        }

        @inlinable
        init(bits: UInt64) { self.bits = bits }

        @inlinable var kind: Int { Int(bits & 15) }
        @inlinable var isDecoded: Bool { bits >> 63 == 1 }
        @inlinable var start: Int { Int(bits >> 32 & 0x7FFF_FFFF) }
        @inlinable var count: Int { Int(bits >> 4 & 0xFFF_FFFF) }
    }

    /// The number of rows.
    public var count: Int { rows.count }

    /// The texts of all rows, as long as ``JSONRows/withTexts(_:)`` runs.
    public struct Texts {
        @usableFromInline let source: UnsafeBufferPointer<UInt8>
        @usableFromInline let decoded: UnsafeBufferPointer<UInt8>
        @usableFromInline let rows: UnsafeBufferPointer<Row>

        @inlinable
        func bytes(_ place: Place) -> UnsafeBufferPointer<UInt8> {
            UnsafeBufferPointer(rebasing: (place.isDecoded ? decoded : source)[place.start..<place.start + place.count])
        }

        /// The text of a row.
        @inlinable
        public subscript(row: Int) -> UnsafeBufferPointer<UInt8> { bytes(rows[row].place) }

        /// The second text of a row; nil if it has none.
        @inlinable
        public func second(_ row: Int) -> UnsafeBufferPointer<UInt8>? {
            rows[row].place.kind == 3 ? bytes(Place(bits: UInt64(bitPattern: rows[row].value))) : nil
        }

        /// The integer of a row; nil if it has none.
        @inlinable
        public func integer(_ row: Int) -> Int? { rows[row].place.kind == 1 ? Int(rows[row].value) : nil }
    }

    /// Calls `body` with the texts of all rows.
    public func withTexts<Result>(_ body: (Texts) throws -> Result) rethrows -> Result {
        try decoded.withUnsafeBufferPointer { decoded in
            try rows.withUnsafeBufferPointer { try body(Texts(source: source, decoded: decoded, rows: $0)) }
        }
    }

    /// What a row has beside its text.
    public func second(_ row: Int) -> Second {
        let (kind, value) = (rows[row].place.kind, rows[row].value)
        return switch kind {
        case 0: .none
        case 1: .integer(Int(value))
        case 2: .number(Double(bitPattern: UInt64(bitPattern: value)))
        case 3: .text
        case 4: .malformed
        default: .other(Self.kinds[kind - 5])
        }
    }

    /// Kinds of other values, as `JSONValue.kind` has them.
    private static let kinds = ["null", "a boolean", "an array", "an object"]

    private init(source: UnsafeBufferPointer<UInt8>) { self.source = source }

    /// Adds a row whose text lies among the decoded ones, where the second begins at its end.
    fileprivate mutating func append(start: Int, end: Int, _ second: JSONValue?) {
        let kind: UInt64
        var value: Int64 = 0
        switch second {
        case nil: kind = 0
        case .integer(let integer): (kind, value) = (1, Int64(integer))
        case .number(let number): (kind, value) = (2, Int64(bitPattern: number.bitPattern))
        case .string: (kind, value) = (3, Int64(bitPattern: Place(end..<decoded.count, isDecoded: true).bits))
        case let other?: kind = 5 + UInt64(Self.kinds.firstIndex(of: other.kind) ?? 0)
        }
        rows.append(Row(place: Place(start..<end, isDecoded: true, kind: kind), value: value))
    }

    fileprivate mutating func appendMalformed() {
        rows.append(Row(place: Place(0..<0, isDecoded: true, kind: 4), value: 0))
    }
}

extension JSONValue {
    /// Reads one JSON value that fills all of `bytes`, as `parse`, but gives some members as rows instead of a tree.
    ///
    /// - Parameter keys: the members of the object `object` of the top level that are rows.
    /// - Returns: the value without those members, and the rows by key, which are valid as long as `bytes`.
    public static func parse(
        _ bytes: UnsafeBufferPointer<UInt8>, file: String, rowsOf object: String, keys: Set<String>
    ) throws -> (value: JSONValue, rows: [String: JSONRows]) {
        guard bytes.count <= defaultMaximumBytes else {
            throw MeraserError.badInput(
                "\(file): \(bytes.count) bytes of JSON, expected at most \(defaultMaximumBytes)")
        }
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
        self.init(source: reader.bytes)
        isObject = open == UInt8(ascii: "{")
        // As many as there are likely to be: memory that is not used is not touched.
        rows.reserveCapacity((source.count - reader.position) / 16)
        while true {
            appendPlain(&reader)
            let start = decoded.count
            if isObject {
                guard try reader.nextKey(into: &decoded) else { return }
                let end = decoded.count
                append(start: start, end: end, try Self.second(&reader, &decoded))
            } else if reader.peekElement() == UInt8(ascii: "\"") {
                try reader.nextText(into: &decoded)
                append(start: start, end: decoded.count, nil)
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

    /// Reads rows as long as they need no decoding.
    private mutating func appendPlain(_ reader: inout JSONReader) {
        if isObject {
            reader.readPlainMembers { text, integer in
                rows.append(Row(place: Place(text, isDecoded: false, kind: 1), value: Int64(integer)))
            }
        } else {
            reader.readPlainElements { first, second in
                let value = second.map { Int64(bitPattern: Place($0, isDecoded: false).bits) }
                rows.append(Row(place: Place(first, isDecoded: false, kind: value == nil ? 0 : 3), value: value ?? 0))
            }
        }
    }

    /// The rest of an element that is an array.
    private mutating func pair(_ reader: inout JSONReader, _ start: Int) throws {
        var isGood = false
        var end = start
        var second: JSONValue?
        if reader.peekElement() == UInt8(ascii: "\"") {
            try reader.nextText(into: &decoded)
            end = decoded.count
            second = try Self.second(&reader, &decoded)
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
            decoded.removeLast(decoded.count - start)
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
