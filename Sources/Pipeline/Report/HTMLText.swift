extension String {
    /// This text with every character that shows nothing, or that changes the order of others, made visible as `\u{…}`:
    /// controls, bidirectional marks, zero-width and other format characters, fillers and selectors, line and paragraph
    /// separators. Line feeds and tabs stay. A trigger may be made of such characters, so a report must show them.
    var showingInvisibles: String {
        var result = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            if scalar.isInvisible {
                result.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
            } else {
                result.append(scalar)
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

extension Unicode.Scalar {
    /// True for what a reader cannot see, line feeds and tabs aside.
    fileprivate var isInvisible: Bool {
        switch properties.generalCategory {
        case .control: self != "\n" && self != "\t"
        case .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: true
        default: properties.isDefaultIgnorableCodePoint
        }
    }
}
