import Base

/// Reads one YAML document as a JSON value.
///
/// Plain scalars follow YAML 1.2's core schema (`5e-3` is a number, `no` is a text); quoted ones are texts. Keys must be
/// texts and are distinct. An alias stands for the value of its anchor and costs what that value costs.
/// - Parameter file: the name that errors show.
/// - Throws: a bad-input error that names file and line.
public func parseYAML(_ bytes: [UInt8], file: String) throws -> JSONValue {
    guard bytes.count <= YAMLReader.maximumBytes else {
        throw MeraserError.badInput(
            "\(file): \(bytes.count) bytes of YAML, expected at most \(YAMLReader.maximumBytes)")
    }
    guard String(validating: bytes, as: UTF8.self) != nil else {
        throw MeraserError.badInput("\(file): not valid UTF-8, expected YAML")
    }
    return try bytes.withUnsafeBufferPointer { buffer in
        let events = try YAMLEvents(buffer, file: file)
        var reader = YAMLReader(events: events)
        return try reader.document()
    }
}

/// Builds a value from events. It works on events and not on Yams's nodes, which are hashed and compared with all aliases
/// expanded as soon as they are keys: a few hundred bytes would take for ever.
private struct YAMLReader {
    /// The largest file that is read, and the most bytes of text in it with its aliases expanded, by a factor.
    static let maximumBytes = 1 << 20
    private static let maximumTextBytes = 16 << 20
    /// The most values that a file may hold, aliases expanded.
    private static let maximumValues = 100_000
    /// The deepest nesting that is read.
    private static let maximumDepth = 32

    /// A value with what it costs.
    private struct Priced {
        let value: JSONValue
        /// Values in it, itself included.
        let count: Int
        /// Bytes of its texts.
        let textBytes: Int
        /// Levels below it.
        let height: Int
    }

    private let events: YAMLEvents
    private var anchors: [String: Priced] = [:]
    private var count = 0
    private var textBytes = 0

    init(events: YAMLEvents) { self.events = events }

    mutating func document() throws -> JSONValue {
        _ = try events.next()  // The stream's start.
        guard case .documentStart = try events.next() else { throw events.empty() }
        let value = try node(try events.next(), depth: 0).value
        _ = try events.next()  // The document's end.
        guard case .streamEnd = try events.next() else {
            throw events.error("another document begins, expected one")
        }
        return value
    }

    private mutating func node(_ event: YAMLEvents.Event, depth: Int) throws -> Priced {
        switch event {
        case .alias(let name):
            guard let target = anchors[name] else { throw events.error("an alias without an anchor: \(quoted(name))") }
            try charge(target.count, target.textBytes, depth: depth + target.height)
            return target
        case .scalar(let text, let isPlain, let anchor):
            try charge(1, text.utf8.count, depth: depth)
            let value = isPlain ? plainValue(text) : .text(text)
            return keep(Priced(value: value, count: 1, textBytes: text.utf8.count, height: 0), anchor)
        case .sequenceStart(let anchor):
            try charge(1, 0, depth: depth)
            let before = (count, textBytes)
            var elements: [JSONValue] = []
            var height = 0
            while case let event = try events.next(), !event.isEnd {
                let element = try node(event, depth: depth + 1)
                elements.append(element.value)
                height = max(height, element.height + 1)
            }
            return keep(priced(.array(elements), since: before, height: height), anchor)
        case .mappingStart(let anchor):
            try charge(1, 0, depth: depth)
            let before = (count, textBytes)
            var members: [(key: String, value: JSONValue)] = []
            var keys: Set<JSONString> = []
            var height = 0
            while case let event = try events.next(), !event.isEnd {
                let key = try key(event)
                guard keys.insert(JSONString(key)).inserted else {
                    throw events.error("duplicate key \(quoted(key))")
                }
                let value = try node(try events.next(), depth: depth + 1)
                members.append((key: key, value: value.value))
                height = max(height, value.height + 1)
            }
            return keep(priced(.object(JSONObject(members)), since: before, height: height), anchor)
        case .documentStart, .streamEnd, .other:
            throw events.error("a value is missing")
        }
    }

    /// The text of a key: a scalar, or an alias of one.
    private mutating func key(_ event: YAMLEvents.Event) throws -> String {
        switch event {
        case .scalar(let text, _, let anchor):
            try charge(0, text.utf8.count, depth: 0)
            _ = keep(Priced(value: .text(text), count: 1, textBytes: text.utf8.count, height: 0), anchor)
            return text
        case .alias(let name):
            guard case .string(let text)? = anchors[name]?.value else { throw events.error("a key that is no text") }
            try charge(0, text.utf8.count, depth: 0)
            return text.string
        default:
            throw events.error("a key that is no text")
        }
    }

    private func priced(_ value: JSONValue, since before: (count: Int, textBytes: Int), height: Int) -> Priced {
        Priced(
            value: value, count: count - before.count + 1, textBytes: textBytes - before.textBytes, height: height)
    }

    private mutating func keep(_ priced: Priced, _ anchor: String?) -> Priced {
        if let anchor { anchors[anchor] = priced }
        return priced
    }

    /// Pays for values and bytes before anything is made of them.
    private mutating func charge(_ values: Int, _ bytes: Int, depth: Int) throws {
        count += values
        textBytes += bytes
        guard count <= Self.maximumValues, depth <= Self.maximumDepth else {
            throw events.error("more than \(Self.maximumValues) values or \(Self.maximumDepth) levels")
        }
        guard textBytes <= Self.maximumTextBytes else {
            throw events.error("more than \(Self.maximumTextBytes) bytes of text, aliases expanded")
        }
    }

    private func plainValue(_ text: String) -> JSONValue {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .bool(true)
        case "false", "False", "FALSE": return .bool(false)
        default:
            guard text.utf8.allSatisfy({ "+-.0123456789eE".utf8.contains($0) }) else { return .text(text) }
            if let whole = Int(text) { return .integer(whole) }
            if let number = Double(text), number.isFinite { return .number(number) }
            return .text(text)
        }
    }
}
