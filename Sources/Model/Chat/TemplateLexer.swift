import Base

/// A token of a chat template, with its line.
struct TemplateToken: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        case text(String)
        /// `{{` and `}}`.
        case outputBegin
        case outputEnd
        /// `{%` and `%}`.
        case blockBegin
        case blockEnd
        case name(String)
        case string(String)
        case integer(Int)
        case number(Double)
        case symbol(String)
    }

    let kind: Kind
    let line: Int
}

/// Cuts a template into tokens: the `-` and `+` signs and, if `trims`, the whitespace rules that Transformers sets for
/// chat templates: `trim_blocks` and `lstrip_blocks`, one newline at the end dropped.
struct TemplateLexer {
    private let source: [Unicode.Scalar]
    private let file: String
    private let trims: Bool
    private var position = 0
    private var line = 1
    private var tokens: [TemplateToken] = []
    /// The last tag took the rest of its line with it, or the template begins.
    private var isLineStart = true

    private static let symbols = [
        "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}",
        ",",
        ".", ":", "|",
    ].map { (text: $0, scalars: Array($0.unicodeScalars)) }

    /// The tokens of a template. Throws `badInput` with the line.
    static func tokens(_ source: String, file: String, trims: Bool) throws -> [TemplateToken] {
        var lexer = TemplateLexer(source, file: file, trims: trims)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ text: String, file: String, trims: Bool) {
        var scalars: [Unicode.Scalar] = []
        for scalar in text.unicodeScalars {
            if scalar == "\n", scalars.last == "\r" { scalars.removeLast() }
            scalars.append(scalar)
        }
        if trims, scalars.last == "\n" { scalars.removeLast() }
        source = scalars
        self.file = file
        self.trims = trims
    }

    private mutating func run() throws {
        while position < source.count {
            let start = position
            while position < source.count, !atTag() { position += 1 }
            var text = source[start..<position]
            guard position < source.count else {
                add(text)
                return
            }
            let opener = source[position + 1]
            let sign = position + 2 < source.count ? source[position + 2] : " "
            if sign == "-" {
                while let last = text.last, last.properties.isWhitespace { text.removeLast() }
            } else if trims, sign != "+", opener != "{" {
                stripLineStart(&text)
            }
            add(text)
            line += source[(start + text.count)..<position].count { $0 == "\n" }
            position += sign == "-" || (sign == "+" && opener != "{") ? 3 : 2
            if opener == "#" { try comment() } else { try tag(isOutput: opener == "{") }
        }
    }

    private func atTag() -> Bool {
        guard source[position] == "{", position + 1 < source.count else { return false }
        return source[position + 1] == "{" || source[position + 1] == "%" || source[position + 1] == "#"
    }

    /// `lstrip_blocks`: blanks between the line's start and a block or comment go.
    private func stripLineStart(_ text: inout ArraySlice<Unicode.Scalar>) {
        var end = text.endIndex
        while end > text.startIndex, text[end - 1] != "\n", text[end - 1].properties.isWhitespace { end -= 1 }
        if end > text.startIndex ? text[end - 1] == "\n" : isLineStart { text = text[..<end] }
    }

    private mutating func add(_ text: ArraySlice<Unicode.Scalar>) {
        guard !text.isEmpty else { return }
        var string = String.UnicodeScalarView()
        string.append(contentsOf: text)
        tokens.append(TemplateToken(kind: .text(String(string)), line: line))
        line += text.count { $0 == "\n" }
    }

    private mutating func comment() throws {
        let start = line
        while position + 1 < source.count {
            if source[position] == "#", source[position + 1] == "}" {
                let sign = source[position - 1]
                position += 2
                endTag(stripsAll: sign == "-", stripsNewline: sign != "+")
                return
            }
            if source[position] == "\n" { line += 1 }
            position += 1
        }
        throw MeraserError.badInput("\(file):\(start): a comment without '#}'")
    }

    /// What follows a tag's end: `-` takes all whitespace, blocks take one newline.
    private mutating func endTag(stripsAll: Bool, stripsNewline: Bool) {
        isLineStart = false
        if stripsAll {
            while position < source.count, source[position].properties.isWhitespace {
                isLineStart = source[position] == "\n"
                if isLineStart { line += 1 }
                position += 1
            }
        } else if trims, stripsNewline, position < source.count, source[position] == "\n" {
            position += 1
            line += 1
            isLineStart = true
        }
    }

    private mutating func tag(isOutput: Bool) throws {
        let start = line
        tokens.append(TemplateToken(kind: isOutput ? .outputBegin : .blockBegin, line: line))
        let end: [Unicode.Scalar] = isOutput ? ["}", "}"] : ["%", "}"]
        var brackets = 0
        while position < source.count {
            if brackets == 0 {
                let sign = source[position]
                if starts(end) {
                    position += 2
                    tokens.append(TemplateToken(kind: isOutput ? .outputEnd : .blockEnd, line: line))
                    endTag(stripsAll: false, stripsNewline: !isOutput)
                    return
                }
                if sign == "-" || (sign == "+" && !isOutput), starts(end, at: position + 1) {
                    position += 3
                    tokens.append(TemplateToken(kind: isOutput ? .outputEnd : .blockEnd, line: line))
                    endTag(stripsAll: sign == "-", stripsNewline: false)
                    return
                }
            }
            try token(&brackets)
        }
        throw MeraserError.badInput("\(file):\(start): a tag without '\(isOutput ? "}}" : "%}")'")
    }

    private func starts(_ pattern: [Unicode.Scalar], at start: Int? = nil) -> Bool {
        let start = start ?? position
        return start + pattern.count <= source.count && source[start..<start + pattern.count].elementsEqual(pattern)
    }

    private mutating func token(_ brackets: inout Int) throws {
        let scalar = source[position]
        if scalar.properties.isWhitespace {
            if scalar == "\n" { line += 1 }
            position += 1
        } else if scalar == "'" || scalar == "\"" {
            try string(quote: scalar)
        } else if ("0"..."9").contains(scalar) {
            try number()
        } else if scalar == "_" || scalar.properties.isAlphabetic {
            var name = ""
            while position < source.count, source[position] == "_" || ScalarSet.rustWord.contains(source[position]) {
                name.unicodeScalars.append(source[position])
                position += 1
            }
            tokens.append(TemplateToken(kind: .name(name), line: line))
        } else if let symbol = Self.symbols.first(where: { starts($0.scalars) }) {
            if "([{".contains(symbol.text) { brackets += 1 }
            if ")]}".contains(symbol.text) { brackets -= 1 }
            tokens.append(TemplateToken(kind: .symbol(symbol.text), line: line))
            position += symbol.scalars.count
        } else {
            throw MeraserError.badInput("\(file):\(line): unexpected character '\(scalar)' in a tag")
        }
    }

    private mutating func number() throws {
        var text = ""
        while position < source.count {
            let scalar = source[position]
            let isPoint =
                scalar == "." && !text.contains(".") && position + 1 < source.count
                && ("0"..."9").contains(source[position + 1])
            guard ("0"..."9").contains(scalar) || isPoint else { break }
            text.unicodeScalars.append(scalar)
            position += 1
        }
        if let value = Int(text) {
            tokens.append(TemplateToken(kind: .integer(value), line: line))
        } else if let value = Double(text), value.isFinite, text.contains(".") {
            tokens.append(TemplateToken(kind: .number(value), line: line))
        } else {
            throw MeraserError.badInput("\(file):\(line): the number \(text.prefix(40)) is too large")
        }
    }

    private mutating func string(quote: Unicode.Scalar) throws {
        let start = line
        position += 1
        var text = String.UnicodeScalarView()
        while position < source.count {
            let scalar = source[position]
            position += 1
            if scalar == quote {
                tokens.append(TemplateToken(kind: .string(String(text)), line: start))
                return
            }
            if scalar == "\n" { line += 1 }
            guard scalar == "\\", position < source.count else {
                text.append(scalar)
                continue
            }
            let escaped = source[position]
            position += 1
            switch escaped {
            case "n": text.append("\n")
            case "t": text.append("\t")
            case "r": text.append("\r")
            case "\\", "'", "\"": text.append(escaped)
            case "x": text.append(try hexadecimal(2))
            case "u": text.append(try hexadecimal(4))
            case "U": text.append(try hexadecimal(8))
            case "\n": line += 1
            case "0"..."7", "a", "b", "f", "v", "N":
                throw MeraserError.badInput("\(file):\(line): the escape '\\\(escaped)' is not supported yet")
            default:
                text.append("\\")
                text.append(escaped)
            }
        }
        throw MeraserError.badInput("\(file):\(start): a string without its closing quote")
    }

    private mutating func hexadecimal(_ count: Int) throws -> Unicode.Scalar {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: source[position..<min(position + count, source.count)])
        position = min(position + count, source.count)
        guard text.count == count, let code = UInt32(String(text), radix: 16), let scalar = Unicode.Scalar(code) else {
            throw MeraserError.badInput("\(file):\(line): '\\\(String(text))' is no escaped character")
        }
        return scalar
    }
}
