import Quant

/// Values as JSON the way Python's `json.dumps(…, ensure_ascii=False)` writes them, which Transformers' `tojson` is.
enum TemplateJSON {
    /// The JSON text; with `indent`, one member a line.
    static func text(_ value: TemplateValue, indent: Int?, error: (String) -> MeraserError) throws -> String {
        try text(value, indent, "\n", error)
    }

    private static func text(
        _ value: TemplateValue, _ indent: Int?, _ lineBreak: String, _ error: (String) -> MeraserError
    ) throws -> String {
        switch value {
        case .none: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .number(let value): return String(value)
        case .string(let text): return quoted(text)
        case .undefined, .namespace: throw error("tojson of \(value.kind)")
        case .list(let elements):
            guard !elements.isEmpty else { return "[]" }
            let inner = lineBreak + String(repeating: " ", count: indent ?? 0)
            let parts = try elements.map { try text($0, indent, inner, error) }
            return indent == nil
                ? "[" + parts.joined(separator: ", ") + "]"
                : "[" + inner + parts.joined(separator: "," + inner) + lineBreak + "]"
        case .dictionary(let members):
            guard !members.isEmpty else { return "{}" }
            let inner = lineBreak + String(repeating: " ", count: indent ?? 0)
            let parts = try members.map { quoted($0.key) + ": " + (try text($0.value, indent, inner, error)) }
            return indent == nil
                ? "{" + parts.joined(separator: ", ") + "}"
                : "{" + inner + parts.joined(separator: "," + inner) + lineBreak + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{C}": result += "\\f"
            case let control where control.value < 0x20:
                let hex = String(control.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
