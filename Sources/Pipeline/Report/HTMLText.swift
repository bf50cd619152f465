extension String {
    /// This text with every character that shows nothing, or that changes the order of others, made visible as `\u{…}`:
    /// controls, bidirectional marks, zero-width and other format characters, line and paragraph separators. Line feeds and tabs
    /// stay. A trigger may be made of such characters, so a report must show them.
    var showingInvisibles: String {
        var result = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control where scalar == "\n" || scalar == "\t": result.append(scalar)
            case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
                result.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    /// This text for the content of an element or a quoted attribute: invisible characters shown, markup escaped.
    var escapedForHTML: String {
        var result = String.UnicodeScalarView()
        for scalar in showingInvisibles.unicodeScalars {
            switch scalar {
            case "&": result.append(contentsOf: "&amp;".unicodeScalars)
            case "<": result.append(contentsOf: "&lt;".unicodeScalars)
            case ">": result.append(contentsOf: "&gt;".unicodeScalars)
            case "\"": result.append(contentsOf: "&quot;".unicodeScalars)
            case "'": result.append(contentsOf: "&#39;".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
    }
}
