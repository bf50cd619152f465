import Base

// Expressions with Jinja's precedences: conditional, or, and, not, comparison, + -, ~, * / // %, **, unary minus,
// then attributes, items and calls, then filters and tests. Every link of a chain (`a + b + …`, `a.b.c…`) counts as a
// level until its expression ends: the tree leans to the left, and running it recurses as deep as it is.
extension TemplateParser {
    /// An expression, `a if b else c` included.
    mutating func expression() throws -> TemplateExpression {
        let outer = depth
        try deeper()
        defer { depth = outer }
        var value = try alternatives()
        while take(name: "if") {
            try deeper()
            let test = try alternatives()
            let otherwise = take(name: "else") ? try expression() : nil
            value = .conditional(value, test, otherwise)
        }
        return value
    }

    /// An expression without a conditional at its top.
    mutating func alternatives() throws -> TemplateExpression {
        var left = try conjunction()
        while take(name: "or") {
            try deeper()
            left = .or(left, try conjunction())
        }
        return left
    }

    private mutating func conjunction() throws -> TemplateExpression {
        var left = try negation()
        while take(name: "and") {
            try deeper()
            left = .and(left, try negation())
        }
        return left
    }

    private mutating func negation() throws -> TemplateExpression {
        guard take(name: "not") else { return try comparison() }
        let outer = depth
        try deeper()
        defer { depth = outer }
        return .not(try negation())
    }

    private mutating func comparison() throws -> TemplateExpression {
        let first = try sum()
        var rest: [(String, TemplateExpression)] = []
        while let operation = try comparisonOperator() { rest.append((operation, try sum())) }
        return rest.isEmpty ? first : .compare(first, rest)
    }

    private mutating func comparisonOperator() throws -> String? {
        switch peek()?.kind {
        case .symbol(let symbol) where ["==", "!=", "<", ">", "<=", ">="].contains(symbol):
            advance()
            return symbol
        case .name("in"):
            advance()
            return "in"
        case .name("not"):
            advance()
            guard take(name: "in") else { throw unexpected("'in' after 'not'", peek()) }
            return "not in"
        default:
            return nil
        }
    }

    private mutating func sum() throws -> TemplateExpression {
        try binary(["+", "-"]) { try $0.concatenation() }
    }

    private mutating func concatenation() throws -> TemplateExpression {
        try binary(["~"]) { try $0.product() }
    }

    private mutating func product() throws -> TemplateExpression {
        try binary(["*", "/", "//", "%"]) { try $0.power() }
    }

    private mutating func power() throws -> TemplateExpression {
        try binary(["**"]) { try $0.unary(withFilters: true) }
    }

    private mutating func binary(
        _ symbols: [String], _ operand: (inout TemplateParser) throws -> TemplateExpression
    ) throws -> TemplateExpression {
        var left = try operand(&self)
        while case .symbol(let symbol)? = peek()?.kind, symbols.contains(symbol) {
            advance()
            try deeper()
            left = .binary(symbol, left, try operand(&self))
        }
        return left
    }

    private mutating func unary(withFilters: Bool) throws -> TemplateExpression {
        let outer = depth
        try deeper()
        defer { depth = outer }
        var value: TemplateExpression
        if take(symbol: "-") {
            value = .negate(try unary(withFilters: false))
        } else if take(symbol: "+") {
            value = try unary(withFilters: false)
        } else {
            value = try primary()
        }
        value = try postfix(value)
        return withFilters ? try filters(value) : value
    }

    private mutating func primary() throws -> TemplateExpression {
        guard let token = peek() else { throw unexpected("an expression", nil) }
        advance()
        switch token.kind {
        case .name("true"), .name("True"): return .literal(.bool(true))
        case .name("false"), .name("False"): return .literal(.bool(false))
        case .name("none"), .name("None"): return .literal(.none)
        case .name(let name): return .name(name)
        case .integer(let value): return .literal(.integer(value))
        case .number(let value): return .literal(.number(value))
        case .string(var text):
            // Neighbouring strings are one.
            while case .string(let more)? = peek()?.kind {
                advance()
                text += more
            }
            return .literal(.string(text))
        case .symbol("("):
            if take(symbol: ")") { return .tuple([]) }
            let value = try expression()
            guard take(symbol: ",") else {
                try expect(.symbol(")"), "',' or ')'")
                return value
            }
            return .tuple([value] + (try elements(until: ")") { try $0.expression() }))
        case .symbol("["): return .list(try elements(until: "]") { try $0.expression() })
        case .symbol("{"):
            return .dictionary(
                try elements(until: "}") { parser in
                    let key = try parser.expression()
                    try parser.expect(.symbol(":"), "':'")
                    return (key, try parser.expression())
                })
        default: throw unexpected("an expression", token)
        }
    }

    private mutating func elements<T>(
        until end: String, _ element: (inout TemplateParser) throws -> T
    ) throws -> [T] {
        var result: [T] = []
        while !take(symbol: end) {
            if !result.isEmpty {
                try expect(.symbol(","), "',' or '\(end)'")
                if take(symbol: end) { break }
            }
            result.append(try element(&self))
        }
        return result
    }

    private mutating func postfix(_ base: TemplateExpression) throws -> TemplateExpression {
        var value = base
        while true {
            try deeper()
            if take(symbol: ".") {
                if case .integer(let index)? = peek()?.kind {
                    advance()
                    value = .item(value, .literal(.integer(index)))
                } else {
                    value = .attribute(value, try identifier())
                }
            } else if take(symbol: "[") {
                value = try subscripted(value)
            } else if take(symbol: "(") {
                value = .call(value, try arguments())
            } else {
                return value
            }
        }
    }

    private mutating func subscripted(_ base: TemplateExpression) throws -> TemplateExpression {
        var parts: [TemplateExpression?] = [nil]
        while !take(symbol: "]") {
            if take(symbol: ":") {
                parts.append(nil)
            } else {
                guard parts[parts.count - 1] == nil else { throw unexpected("']'", peek()) }
                parts[parts.count - 1] = try expression()
            }
        }
        switch (parts.count, parts[0]) {
        case (1, let index?): return .item(base, index)
        case (2, let start): return .slice(base, start, parts[1], nil)
        case (3, let start): return .slice(base, start, parts[1], parts[2])
        default: throw error("expected an index or a slice with up to three parts")
        }
    }

    /// Arguments behind `(`.
    private mutating func arguments() throws -> TemplateArguments {
        var result = TemplateArguments()
        let all = try elements(until: ")") { parser -> (String?, TemplateExpression) in
            let value = try parser.expression()
            if case .name(let name) = value, parser.take(symbol: "=") { return (name, try parser.expression()) }
            return (nil, value)
        }
        for (name, value) in all {
            if let name {
                result.named.append((name, value))
            } else if result.named.isEmpty {
                result.positional.append(value)
            } else {
                throw error("a positional argument behind a named one")
            }
        }
        return result
    }

    private mutating func filters(_ base: TemplateExpression) throws -> TemplateExpression {
        var value = base
        while true {
            try deeper()
            if take(symbol: "|") {
                let name = try identifier()
                guard TemplateLibrary.filters[name] != nil || TemplateLibrary.selectors.contains(name) else {
                    throw error("the filter '\(name)' is not supported yet", back: 1)
                }
                value = .filter(value, name, take(symbol: "(") ? try arguments() : TemplateArguments())
            } else if take(name: "is") {
                let isNegated = take(name: "not")
                let name = try identifier()
                guard TemplateLibrary.tests[name] != nil else {
                    throw error("the test 'is \(name)' is not supported yet", back: 1)
                }
                let test = TemplateExpression.test(value, name, try testArguments())
                value = isNegated ? .not(test) : test
            } else if take(symbol: "(") {
                value = .call(value, try arguments())
            } else {
                return value
            }
        }
    }

    /// A test takes arguments in parentheses or one operand right behind its name.
    private mutating func testArguments() throws -> TemplateArguments {
        if take(symbol: "(") { return try arguments() }
        switch peek()?.kind {
        case .name(let name) where !["else", "or", "and", "is", "if", "in", "not", "recursive"].contains(name): break
        case .string, .integer, .number, .symbol("["), .symbol("{"): break
        default: return TemplateArguments()
        }
        return TemplateArguments(positional: [try postfix(try primary())])
    }
}
