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
    private let source: [UInt8]
    /// The other texts, one after the other.
    fileprivate var decoded: [UInt8] = []
    /// By row, its text's place.
    private var places: [UInt64] = []
    private var kinds: [UInt8] = []
    /// An integer, a number's bits or a text's place.
    private var values: [Int64] = []

    /// The number of rows.
    public var count: Int { kinds.count }

    /// The texts of all rows, as long as ``JSONRows/withTexts(_:)`` runs.
    public struct Texts {
        @usableFromInline let source: UnsafeBufferPointer<UInt8>
        @usableFromInline let decoded: UnsafeBufferPointer<UInt8>
        @usableFromInline let places: UnsafeBufferPointer<UInt64>
        @usableFromInline let kinds: UnsafeBufferPointer<UInt8>
        @usableFromInline let values: UnsafeBufferPointer<Int64>

        @inlinable
        func bytes(_ place: UInt64) -> UnsafeBufferPointer<UInt8> {
            let start = Int(place >> 32 & 0x7FFF_FFFF)
            return UnsafeBufferPointer(
                rebasing: (place >> 63 == 0 ? source : decoded)[start..<start + Int(place & 0xFFFF_FFFF)])
        }

        /// The text of a row.
        @inlinable
        public subscript(row: Int) -> UnsafeBufferPointer<UInt8> { bytes(places[row]) }

        /// The second text of a row; nil if it has none.
        @inlinable
        public func second(_ row: Int) -> UnsafeBufferPointer<UInt8>? {
            kinds[row] == 3 ? bytes(UInt64(bitPattern: values[row])) : nil
        }

        /// The integer of a row; nil if it has none.
        @inlinable
        public func integer(_ row: Int) -> Int? { kinds[row] == 1 ? Int(values[row]) : nil }
    }

    /// Calls `body` with the texts of all rows.
    public func withTexts<Result>(_ body: (Texts) throws -> Result) rethrows -> Result {
        try source.withUnsafeBufferPointer { source in
            try decoded.withUnsafeBufferPointer { decoded in
                try places.withUnsafeBufferPointer { places in
                    try kinds.withUnsafeBufferPointer { kinds in
                        try values.withUnsafeBufferPointer { values in
                            try body(
                                Texts(source: source, decoded: decoded, places: places, kinds: kinds, values: values))
                        }
                    }
                }
            }
        }
    }

    /// What a row has beside its text.
    public func second(_ row: Int) -> Second {
        switch kinds[row] {
        case 0: .none
        case 1: .integer(Int(values[row]))
        case 2: .number(Double(bitPattern: UInt64(bitPattern: values[row])))
        case 3: .text
        case 4: .malformed
        default: .other(Self.kinds[Int(kinds[row]) - 5])
        }
    }

    /// Kinds of other values, as `JSONValue.kind` has them.
    private static let kinds = ["null", "a boolean", "an array", "an object"]

    private init(source: [UInt8]) { self.source = source }

    /// A place: in the file, or with the highest bit among the decoded texts; below it 31 bits where, 32 how many bytes.
    private static func place(_ range: Range<Int>) -> UInt64 { UInt64(range.lowerBound) << 32 | UInt64(range.count) }
    private static func place(decoded range: Range<Int>) -> UInt64 { 1 << 63 | place(range) }

    /// Adds a row whose text lies among the decoded ones, where the second begins at its end.
    fileprivate mutating func append(start: Int, end: Int, _ second: JSONValue?) {
        let place = Self.place(decoded: start..<end)
        switch second {
        case nil: append(place, 0, 0)
        case .integer(let value): append(place, 1, Int64(value))
        case .number(let value): append(place, 2, Int64(bitPattern: value.bitPattern))
        case .string: append(place, 3, Int64(bitPattern: Self.place(decoded: end..<decoded.count)))
        case let value?: append(place, UInt8(5 + (Self.kinds.firstIndex(of: value.kind) ?? 0)), 0)
        }
    }

    fileprivate mutating func appendMalformed() { append(0, 4, 0) }

    /// Adds a row that lies in the file.
    fileprivate mutating func append(_ row: JSONReader.PlainRow) {
        let second = row.second.map { Int64(bitPattern: Self.place($0)) }
        append(Self.place(row.first), isObject ? 1 : second == nil ? 0 : 3, second ?? Int64(row.integer))
    }

    @inline(__always)
    private mutating func append(_ place: UInt64, _ kind: UInt8, _ value: Int64) {
        places.append(place)
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
        return try bytes.withUnsafeBufferPointer { buffer in
            var reader = JSONReader(buffer, file: file)
            var rows: [String: JSONRows] = [:]
            let value = try build(&reader, path: []) { path, reader in
                guard path.count == 2, path[0] == object, keys.contains(path[1]) else { return false }
                guard let found = try JSONRows(&reader, source: bytes) else { return false }
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
    /// Reads the value that comes next; nil, and nothing read, if it is neither an array nor an object. `source` is what the
    /// reader reads.
    fileprivate init?(_ reader: inout JSONReader, source: [UInt8]) throws {
        guard let open = reader.peekValue(), open == UInt8(ascii: "{") || open == UInt8(ascii: "[") else { return nil }
        _ = try reader.next()
        self.init(source: source)
        isObject = open == UInt8(ascii: "{")
        // As many as there are likely to be: memory that is not used is not touched.
        let likely = (source.count - reader.position) / 16
        places.reserveCapacity(likely)
        kinds.reserveCapacity(likely)
        values.reserveCapacity(likely)
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
            while let row = reader.plainMember() { append(row) }
        } else {
            while let row = reader.plainElement() { append(row) }
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
