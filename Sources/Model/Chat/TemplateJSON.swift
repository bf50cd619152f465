import Base

/// Values as JSON the way Python's `json.dumps` writes them, which Transformers' `tojson` is.
struct TemplateJSON {
    /// Characters beyond ASCII as `\u….`.
    var escapesNonASCII = false
    /// Members in the order of their keys.
    var sortsKeys = false
    /// What each level is indented by, one member a line; nil: all on one line.
    var indent: String?
    /// Between members.
    var itemSeparator = ", "
    /// Between a key and its value.
    var keySeparator = ": "

    /// The JSON text. `charge` is told of bytes before they are made; `fail` makes the error for values that have no
    /// JSON.
    func text(_ value: TemplateValue, fail: (String) -> MeraserError, charge: (Int) throws -> Void) throws -> String {
        var result = ""
        try write(value, "\n", to: &result, fail, charge)
        return result
    }

    private func write(
        _ value: TemplateValue, _ lineBreak: String, to result: inout String, _ fail: (String) -> MeraserError,
        _ charge: (Int) throws -> Void
    ) throws {
        try charge(16 + lineBreak.utf8.count + itemSeparator.utf8.count + keySeparator.utf8.count)
        switch value {
        case .undefined, .namespace, .function: throw fail("tojson of \(value.kind)")
        case .none: result += "null"
        case .bool(let value): result += value ? "true" : "false"
        case .integer(let value): result += String(value)
        case .number(let value): result += String(value)
        case .string(let text): result += try quoted(text, charge)
        case .list(let elements), .tuple(let elements):
            try writeMembers("[", elements, "]", lineBreak, to: &result) { element, inner, result in
                try write(element, inner, to: &result, fail, charge)
            }
        case .dictionary(let members):
            try charge(value.size)
            let members =
                sortsKeys
                ? members.sorted { Array($0.key.utf8).lexicographicallyPrecedes(Array($1.key.utf8)) } : members
            try writeMembers("{", members, "}", lineBreak, to: &result) { member, inner, result in
                result += try quoted(member.key, charge) + keySeparator
                try write(member.value, inner, to: &result, fail, charge)
            }
        }
    }

    private func writeMembers<T>(
        _ begin: String, _ members: [T], _ end: String, _ lineBreak: String, to result: inout String,
        _ body: (T, String, inout String) throws -> Void
    ) rethrows {
        let inner = indent.map { lineBreak + $0 }
        result += begin
        for (index, member) in members.enumerated() {
            if index > 0 { result += itemSeparator }
            result += inner ?? ""
            try body(member, inner ?? lineBreak, &result)
        }
        if !members.isEmpty, indent != nil { result += lineBreak }
        result += end
    }

    private func quoted(_ text: String, _ charge: (Int) throws -> Void) throws -> String {
        try charge(text.utf8.count)
        let quoted = JSONString.quoted(text)
        guard escapesNonASCII, quoted.utf8.contains(where: { $0 >= 0x7F }) else { return quoted }
        try charge(6 * text.utf8.count)
        var result = ""
        for unit in quoted.utf16 {
            if unit < 0x80 {
                result.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
            } else {
                let digits = String(unit, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        }
        return result
    }
}
