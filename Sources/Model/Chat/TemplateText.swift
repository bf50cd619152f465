import Base

/// How Python writes values: `str` of what a template prints, `repr` of what lies in lists and mappings.
enum TemplateText {
    /// Python's `str`; nil for values that no template should print. `charge` is told of bytes before they are made.
    static func str(_ value: TemplateValue, charge: (Int) throws -> Void) rethrows -> String? {
        if case .string(let text) = value { return text }
        if case .undefined = value { return "" }
        return try repr(value, charge)
    }

    private static func repr(_ value: TemplateValue, _ charge: (Int) throws -> Void) rethrows -> String? {
        try charge(8)
        switch value {
        case .undefined, .namespace, .function: return nil
        case .none: return "None"
        case .bool(let value): return value ? "True" : "False"
        case .integer(let value): return String(value)
        case .number(let value): return String(value)
        case .string(let text): return try quoted(text, charge)
        case .list(let elements):
            return try parts(elements, charge).map { "[" + $0.joined(separator: ", ") + "]" }
        case .tuple(let elements):
            return try parts(elements, charge).map {
                "(" + $0.joined(separator: ", ") + ($0.count == 1 ? ",)" : ")")
            }
        case .dictionary(let members):
            guard let values = try parts(members.map(\.value), charge) else { return nil }
            let keys = try members.map { try quoted($0.key, charge) }
            return "{" + zip(keys, values).map { "\($0): \($1)" }.joined(separator: ", ") + "}"
        }
    }

    private static func parts(_ elements: [TemplateValue], _ charge: (Int) throws -> Void) rethrows -> [String]? {
        let texts = try elements.map { try repr($0, charge) }
        // Every level writes what lies in it once more.
        try charge(texts.reduce(0) { $0 + ($1?.utf8.count ?? 0) })
        let known = texts.compactMap { $0 }
        return known.count == texts.count ? known : nil
    }

    /// In single quotes, or in double ones where the text has single quotes only; what does not print is escaped.
    private static func quoted(_ text: String, _ charge: (Int) throws -> Void) rethrows -> String {
        try charge(8 + 2 * text.utf8.count)
        let quote: Unicode.Scalar =
            text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"") ? "\"" : "'"
        var result = String.UnicodeScalarView([quote])
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            case "\r": result.append(contentsOf: "\\r".unicodeScalars)
            case "\t": result.append(contentsOf: "\\t".unicodeScalars)
            case "\\", quote: result.append(contentsOf: ["\\", scalar])
            default:
                if isPrintable(scalar) { result.append(scalar) } else { result.append(contentsOf: escape(scalar)) }
            }
        }
        result.append(quote)
        return String(result)
    }

    private static func escape(_ scalar: Unicode.Scalar) -> String.UnicodeScalarView {
        let (letter, width) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x1_0000 ? ("u", 4) : ("U", 8)
        let digits = String(scalar.value, radix: 16)
        return ("\\" + letter + String(repeating: "0", count: width - digits.count) + digits).unicodeScalars
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: scalar == " "
        default: true
        }
    }
}
