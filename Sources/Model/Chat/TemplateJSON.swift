import Quant

/// Values as JSON the way Python's `json.dumps(…, ensure_ascii=False)` writes them, which Transformers' `tojson` is.
enum TemplateJSON {
    /// The JSON text; with `indent`, one member a line. `charge` is told of bytes before they are made; `fail` makes
    /// the error for values that have no JSON.
    static func text(_ value: TemplateValue, indent: Int?, fail: (String) -> MeraserError, charge: (Int) throws -> Void)
        throws -> String
    {
        try text(value, indent, "\n", fail, charge)
    }

    private static func text(
        _ value: TemplateValue, _ indent: Int?, _ lineBreak: String, _ fail: (String) -> MeraserError,
        _ charge: (Int) throws -> Void
    ) throws -> String {
        // Every element is written once on each level above it, with its indentation.
        try charge(16 + lineBreak.utf8.count)
        switch value {
        case .undefined, .namespace: throw fail("tojson of \(value.kind)")
        case .none: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .number(let value): return String(value)
        case .string(let text):
            try charge(value.size)
            return JSONString.quoted(text)
        case .list(let elements):
            guard !elements.isEmpty else { return "[]" }
            let inner = lineBreak + String(repeating: " ", count: indent ?? 0)
            let parts = try elements.map { try text($0, indent, inner, fail, charge) }
            return indent == nil
                ? "[" + parts.joined(separator: ", ") + "]"
                : "[" + inner + parts.joined(separator: "," + inner) + lineBreak + "]"
        case .dictionary(let members):
            guard !members.isEmpty else { return "{}" }
            let inner = lineBreak + String(repeating: " ", count: indent ?? 0)
            let parts = try members.map {
                JSONString.quoted($0.key) + ": " + (try text($0.value, indent, inner, fail, charge))
            }
            return indent == nil
                ? "{" + parts.joined(separator: ", ") + "}"
                : "{" + inner + parts.joined(separator: "," + inner) + lineBreak + "}"
        }
    }
}
