extension JSONValue {
    /// The largest file that is parsed unless a caller says otherwise: a tree takes up to 20 times the file's bytes.
    public static let defaultMaximumBytes = 256 << 20

    /// Reads one JSON value that fills all of `bytes`.
    ///
    /// Strict RFC 8259 for hostile files: duplicate keys (compared by their bytes), more than 64 levels, anything
    /// behind the value, NaN and infinities, invalid UTF-8, unpaired surrogates and a byte order mark are refused.
    /// - Parameter file: the name that errors show.
    /// - Throws: ``MeraserError`` of kind `badInput` as `file:line:column: invalid JSON: …`, columns in bytes.
    public static func parse(
        _ bytes: UnsafeBufferPointer<UInt8>, file: String, maximumBytes: Int = defaultMaximumBytes
    ) throws -> JSONValue {
        try parse(bytes, file: file, firstLine: 1, maximumBytes: maximumBytes)
    }

    /// Reads one JSON value that fills all of `bytes`, with the same rules.
    public static func parse(
        _ bytes: UnsafeRawBufferPointer, file: String, maximumBytes: Int = defaultMaximumBytes
    ) throws -> JSONValue {
        try bytes.withMemoryRebound(to: UInt8.self) { try parse($0, file: file, maximumBytes: maximumBytes) }
    }

    /// Reads one JSON value that fills all of `bytes`, with the same rules.
    public static func parse(
        _ bytes: [UInt8], file: String, maximumBytes: Int = defaultMaximumBytes
    ) throws -> JSONValue {
        try bytes.withUnsafeBufferPointer { try parse($0, file: file, maximumBytes: maximumBytes) }
    }

    static func parse(
        _ bytes: UnsafeBufferPointer<UInt8>, file: String, firstLine: Int, maximumBytes: Int
    ) throws -> JSONValue {
        guard bytes.count <= maximumBytes else {
            throw MeraserError.badInput("\(file): \(bytes.count) bytes of JSON, expected at most \(maximumBytes)")
        }
        var reader = JSONReader(bytes, file: file, firstLine: firstLine)
        let value = try build(&reader)
        // The reader returns nil, or throws on anything but whitespace.
        _ = try reader.next()
        return value
    }

    /// Recursion is bounded by the reader's depth limit. Inside a value the reader throws rather than returning nil.
    private static func build(_ reader: inout JSONReader) throws -> JSONValue {
        guard let event = try reader.next() else { return .null }
        return try build(&reader, event)
    }

    static func build(_ reader: inout JSONReader, _ event: JSONEvent) throws -> JSONValue {
        switch event {
        case .scalar(let value):
            return value
        case .beginArray:
            var elements: [JSONValue] = []
            while let event = try reader.next() {
                if case .endArray = event { break }
                elements.append(try build(&reader, event))
            }
            return .array(elements)
        case .beginObject:
            var object = JSONObject()
            while case .key(let key)? = try reader.next() {
                let keyStart = reader.keyStart
                let value = try build(&reader)
                guard object.append(key, value) else {
                    throw reader.error("duplicate key \(quoted(key.string))", at: keyStart)
                }
            }
            return .object(object)
        case .key, .endObject, .endArray:
            preconditionFailure("the reader gave \(event) in place of a value")
        }
    }
}
