// Building JSON values and writing them as text: what configuration files, logs and `--json` results are made with.

extension JSONObject {
    /// An object of those members, in that order. A key given twice is the caller's error.
    public init(_ members: [(key: String, value: JSONValue)]) {
        self.init()
        for (key, value) in members {
            let isNew = append(JSONString(key), value)
            precondition(isNew, "JSON key '\(key)' is given twice")
        }
    }
}

extension JSONValue: ExpressibleByDictionaryLiteral {
    /// An object with members in the order written.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements.map { (key: $0.0, value: $0.1) }))
    }

    /// A string value.
    public static func text(_ text: String) -> JSONValue { .string(JSONString(text)) }

    /// A number; whole numbers below 2⁵³ become integers, and `null` stands for NaN and infinities, which JSON lacks.
    public static func real(_ value: Double) -> JSONValue {
        guard value.isFinite else { return .null }
        if value == value.rounded(), abs(value) < 9_007_199_254_740_992 { return .integer(Int(value)) }
        return .number(value)
    }

    /// This value as JSON text that `parse` reads back to an equal value.
    ///
    /// - Parameters:
    ///   - indent: spaces per level, one member a line; nil writes everything on one line.
    ///   - sortedKeys: members in the order of their keys' bytes instead of their own.
    public func serialized(indent: Int? = nil, sortedKeys: Bool = false) -> String {
        var text = ""
        write(to: &text, indent: indent, sortedKeys: sortedKeys, depth: 0)
        return text
    }

    private func write(to text: inout String, indent: Int?, sortedKeys: Bool, depth: Int) {
        func newLine(_ depth: Int) {
            guard let indent else { return }
            text += "\n" + String(repeating: " ", count: indent * depth)
        }
        let separator = indent == nil ? ", " : ","
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.isFinite ? value.description : "null"
        case .string(let value): text += JSONString.quoted(value.string)
        case .array(let elements):
            text += "["
            for (i, element) in elements.enumerated() {
                if i > 0 { text += separator }
                newLine(depth + 1)
                element.write(to: &text, indent: indent, sortedKeys: sortedKeys, depth: depth + 1)
            }
            if !elements.isEmpty { newLine(depth) }
            text += "]"
        case .object(let object):
            let members =
                sortedKeys
                ? object.members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : object.members
            text += "{"
            for (i, member) in members.enumerated() {
                if i > 0 { text += separator }
                newLine(depth + 1)
                text += JSONString.quoted(member.key.string) + ": "
                member.value.write(to: &text, indent: indent, sortedKeys: sortedKeys, depth: depth + 1)
            }
            if !members.isEmpty { newLine(depth) }
            text += "}"
        }
    }
}

extension JSONString {
    /// `text` as a JSON string, quotes included, with the least escapes, as RFC 8785 has it.
    public static func quoted(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C }) else { return "\"\(text)\"" }
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{8}": result += "\\b"
            case "\t": result += "\\t"
            case "\n": result += "\\n"
            case "\u{C}": result += "\\f"
            case "\r": result += "\\r"
            case _ where scalar.value < 0x20:
                result += (scalar.value < 0x10 ? "\\u000" : "\\u00") + String(scalar.value, radix: 16)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
