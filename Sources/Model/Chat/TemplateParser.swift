import Base

/// Parses the statements of a chat template; expressions are in an extension.
struct TemplateParser {
    /// Bytes of a template at most; real ones have up to some tens of thousands.
    static let maximumBytes = 1 << 20
    /// The deepest nesting of statements and expressions.
    static let maximumDepth = 250

    let file: String
    private let tokens: [TemplateToken]
    private(set) var position = 0
    var depth = 0

    /// The statements of a template. Throws `badInput` with the line and what is not supported.
    ///
    /// - Parameter trims: the whitespace rules of chat templates; else Jinja's own.
    static func parse(_ source: String, file: String, trims: Bool = true) throws -> [TemplateStatement] {
        guard source.utf8.count <= maximumBytes else {
            throw MeraserError.badInput(
                "\(file): \(source.utf8.count) bytes, expected a template of at most \(maximumBytes)")
        }
        var parser = TemplateParser(
            file: file, tokens: try TemplateLexer.tokens(source, file: file, trims: trims))
        let (body, end) = try parser.statements(until: [])
        precondition(end.isEmpty)
        return body
    }

    private init(file: String, tokens: [TemplateToken]) {
        self.file = file
        self.tokens = tokens
    }

    /// The statements up to one of those tags, whose name has been read.
    private mutating func statements(until ends: [String]) throws -> ([TemplateStatement], String) {
        var body: [TemplateStatement] = []
        let outer = depth
        try deeper()
        defer { depth = outer }
        while let token = peek() {
            position += 1
            switch token.kind {
            case .text(let text):
                body.append(TemplateStatement(line: token.line, kind: .text(text)))
            case .outputBegin:
                body.append(TemplateStatement(line: token.line, kind: .output(try expression())))
                try expect(.outputEnd, "'}}'")
            case .blockBegin:
                let name = try identifier()
                if ends.contains(name) { return (body, name) }
                body.append(TemplateStatement(line: token.line, kind: try statement(name)))
            default:
                throw unexpected("text or a tag", token)
            }
        }
        guard ends.isEmpty else { throw error("the template ends without '{% \(ends[ends.count - 1]) %}'") }
        return (body, "")
    }

    private mutating func statement(_ name: String) throws -> TemplateStatement.Kind {
        switch name {
        case "if": return try condition()
        case "for": return try loop()
        case "set": return try assignment()
        case "generation":
            try expect(.blockEnd, "'%}'")
            let body = try statements(until: ["endgeneration"]).0
            try expect(.blockEnd, "'%}'")
            return .generation(body)
        case "break", "continue":
            try expect(.blockEnd, "'%}'")
            return name == "break" ? .breakLoop : .continueLoop
        default:
            throw error("the tag '{% \(name) %}' is not supported yet", back: 1)
        }
    }

    private mutating func condition() throws -> TemplateStatement.Kind {
        var branches: [(test: TemplateExpression, body: [TemplateStatement])] = []
        while true {
            let test = try expression()
            try expect(.blockEnd, "'%}'")
            let (body, end) = try statements(until: ["elif", "else", "endif"])
            branches.append((test, body))
            if end == "elif" { continue }
            try expect(.blockEnd, "'%}'")
            guard end == "else" else { return .condition(branches, otherwise: []) }
            let otherwise = try statements(until: ["endif"]).0
            try expect(.blockEnd, "'%}'")
            return .condition(branches, otherwise: otherwise)
        }
    }

    private mutating func loop() throws -> TemplateStatement.Kind {
        var targets = [try identifier()]
        while take(symbol: ",") { targets.append(try identifier()) }
        guard take(name: "in") else { throw unexpected("'in'", peek()) }
        // The `if` of a loop is its filter, not a conditional expression.
        let outer = depth
        let over = try alternatives()
        depth = outer
        let filter = take(name: "if") ? try expression() : nil
        if peek()?.kind == .name("recursive") { throw error("recursive loops are not supported yet") }
        try expect(.blockEnd, "'%}'")
        let (body, end) = try statements(until: ["else", "endfor"])
        try expect(.blockEnd, "'%}'")
        var otherwise: [TemplateStatement] = []
        if end == "else" {
            otherwise = try statements(until: ["endfor"]).0
            try expect(.blockEnd, "'%}'")
        }
        return .loop(targets: targets, over: over, filter: filter, body: body, otherwise: otherwise)
    }

    private mutating func assignment() throws -> TemplateStatement.Kind {
        let name = try identifier()
        let target = take(symbol: ".") ? TemplateTarget.attribute(name, try identifier()) : .name(name)
        if take(symbol: "=") {
            let value = try expression()
            try expect(.blockEnd, "'%}'")
            return .set(target, value)
        }
        try expect(.blockEnd, "'=' or '%}'")
        let body = try statements(until: ["endset"]).0
        try expect(.blockEnd, "'%}'")
        return .capture(target, body)
    }

    // MARK: Tokens

    func peek() -> TemplateToken? { position < tokens.count ? tokens[position] : nil }

    mutating func advance() { position += 1 }

    mutating func take(symbol: String) -> Bool {
        guard peek()?.kind == .symbol(symbol) else { return false }
        position += 1
        return true
    }

    mutating func take(name: String) -> Bool {
        guard peek()?.kind == .name(name) else { return false }
        position += 1
        return true
    }

    mutating func identifier() throws -> String {
        guard case .name(let name)? = peek()?.kind else { throw unexpected("a name", peek()) }
        position += 1
        return name
    }

    mutating func expect(_ kind: TemplateToken.Kind, _ words: String) throws {
        guard peek()?.kind == kind else { throw unexpected(words, peek()) }
        position += 1
    }

    mutating func deeper() throws {
        depth += 1
        guard depth <= Self.maximumDepth else { throw error("nested deeper than \(Self.maximumDepth) levels") }
    }

    func error(_ what: String, back: Int = 0) -> MeraserError {
        let line = position - back < tokens.count ? tokens[max(0, position - back)].line : tokens.last?.line ?? 1
        return .badInput("\(file):\(line): \(what)")
    }

    func unexpected(_ expected: String, _ token: TemplateToken?) -> MeraserError {
        let found =
            switch token?.kind {
            case nil: "the end of the template"
            case .name(let text), .symbol(let text): "'\(text)'"
            case .string: "a string"
            case .integer, .number: "a number"
            case .outputEnd: "'}}'"
            case .blockEnd: "'%}'"
            default: "text"
            }
        return .badInput("\(file):\(token?.line ?? tokens.last?.line ?? 1): expected \(expected), found \(found)")
    }
}
