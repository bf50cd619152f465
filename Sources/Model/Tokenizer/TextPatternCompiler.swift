import Base

/// Parses and compiles the regular expressions of tokenizer.json: alternatives, groups, `(?i:…)`, look-ahead, classes,
/// escapes, `\p{category}` and quantifiers. Anchors, look-behind, references and scripts are refused by name.
struct TextPatternCompiler {
    /// A pattern longer than that, as scalars or as instructions, is an attack.
    private static let maximumScalars = 8192
    private static let maximumInstructions = 4096
    private static let maximumRepeats = 1000
    private static let maximumDepth = 64

    private indirect enum Node {
        case set(ScalarSet)
        case sequence([Node])
        case choice([Node])
        case repetition(Node, min: Int, max: Int, greed: TextPattern.Greed)
        case look(Node, isNegated: Bool)
    }

    private let source: [Unicode.Scalar]
    private let file: String
    private var next = 0
    private var ignoresCase = false
    private var depth = 0
    private var isInLook = false

    init(_ source: String, file: String) {
        self.source = Array(source.unicodeScalars)
        self.file = file
    }

    /// The program of the whole pattern.
    consuming func compile() throws -> TextPattern.Program {
        guard source.count <= Self.maximumScalars else {
            throw malformed("\(source.count) characters, expected at most \(Self.maximumScalars)")
        }
        let root = try alternatives()
        guard next == source.count else { throw malformed("')' without '('") }
        var program = TextPattern.Program()
        try emit(root, into: &program)
        program.instructions.append(.accept)
        return program
    }

    private func malformed(_ what: String) -> MeraserError {
        .badInput("\(file): pre_tokenizer pattern, character \(next): \(what)")
    }

    private func unsupported(_ what: String) -> MeraserError { malformed("\(what) is not supported yet") }
}

// MARK: - Parser

extension TextPatternCompiler {
    private var peek: Unicode.Scalar? { next < source.count ? source[next] : nil }

    private mutating func take(_ text: String) -> Bool {
        let scalars = Array(text.unicodeScalars)
        guard next + scalars.count <= source.count, Array(source[next..<next + scalars.count]) == scalars else {
            return false
        }
        next += scalars.count
        return true
    }

    private mutating func alternatives() throws -> Node {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { throw malformed("groups nested deeper than \(Self.maximumDepth)") }
        var choices = [try sequence()]
        while take("|") { choices.append(try sequence()) }
        return choices.count == 1 ? choices[0] : .choice(choices)
    }

    private mutating func sequence() throws -> Node {
        var nodes: [Node] = []
        while let scalar = peek, scalar != "|", scalar != ")" { nodes.append(try quantified()) }
        return nodes.count == 1 ? nodes[0] : .sequence(nodes)
    }

    private mutating func quantified() throws -> Node {
        let atom = try atom()
        var min: Int
        var max: Int
        if take("?") {
            (min, max) = (0, 1)
        } else if take("*") {
            (min, max) = (0, .max)
        } else if take("+") {
            (min, max) = (1, .max)
        } else if let bounds = try bounds() {
            (min, max) = bounds
        } else {
            return atom
        }
        let greed: TextPattern.Greed = take("?") ? .lazy : take("+") ? .possessive : .greedy
        if let scalar = peek, "?*+".unicodeScalars.contains(scalar) { throw malformed("two quantifiers in a row") }
        if case .set = atom {
        } else if greed == .possessive {
            throw unsupported("a possessive group")
        }
        return .repetition(atom, min: min, max: max, greed: greed)
    }

    /// `{n}`, `{n,}`, `{,m}` or `{n,m}`; nil, and nothing taken, for a brace that is plain text.
    private mutating func bounds() throws -> (Int, Int)? {
        let start = next
        guard take("{") else { return nil }
        let low = number()
        let hasComma = take(",")
        let high = hasComma ? number() : low
        guard take("}"), low != nil || high != nil else {
            next = start
            return nil
        }
        let min = low ?? 0
        let max = hasComma ? high ?? .max : min
        guard min <= max, min <= Self.maximumRepeats, max == .max || max <= Self.maximumRepeats else {
            throw malformed("a repetition of \(min) to \(max), expected at most \(Self.maximumRepeats)")
        }
        return (min, max)
    }

    private mutating func number() -> Int? {
        var digits = ""
        while let scalar = peek, ("0"..."9").contains(scalar), digits.count < 6 {
            digits.unicodeScalars.append(scalar)
            next += 1
        }
        return Int(digits)
    }

    private mutating func atom() throws -> Node {
        guard let scalar = peek else { throw malformed("the pattern ends too early") }
        switch scalar {
        case "(":
            next += 1
            return try group()
        case "[":
            next += 1
            return .set(try characterClass())
        case "\\":
            next += 1
            return .set(try escape())
        case ".":
            next += 1
            return .set(ScalarSet(ranges: [0x0A...0x0A], isNegated: true))
        case "^", "$":
            throw unsupported("the anchor '\(scalar)'")
        case "?", "*", "+":
            throw malformed("nothing to repeat")
        default:
            next += 1
            return .set(ScalarSet(scalar: scalar.value, ignoringCase: ignoresCase))
        }
    }

    /// What follows `(`.
    private mutating func group() throws -> Node {
        let outer = ignoresCase
        defer { ignoresCase = outer }
        var look: Bool?
        if take("?i:") {
            ignoresCase = true
        } else if take("?!") {
            look = true
        } else if take("?=") {
            look = false
        } else if !take("?:"), peek == "?" {
            throw unsupported("this kind of group")
        }
        let body = try alternatives()
        guard take(")") else { throw malformed("'(' without ')'") }
        return look.map { .look(body, isNegated: $0) } ?? body
    }

    /// What follows `[`.
    private mutating func characterClass() throws -> ScalarSet {
        let isNegated = take("^")
        var ranges: [ClosedRange<UInt32>] = []
        var parts: [ScalarSet] = []
        var isFirst = true
        while isFirst || peek != "]" {
            isFirst = false
            guard let scalar = peek else { throw malformed("'[' without ']'") }
            next += 1
            if scalar == "[" {
                throw unsupported("a class within a class")
            } else if scalar == "&", peek == "&" {
                throw unsupported("an intersection of classes")
            }
            var low = scalar.value
            if scalar == "\\" {
                if let code = try escapedScalar() {
                    low = code
                } else {
                    parts.append(try escapedSet())
                    continue
                }
            }
            var high = low
            if peek == "-", next + 1 < source.count, source[next + 1] != "]" {
                next += 1
                guard let end = peek else { throw malformed("'[' without ']'") }
                next += 1
                high = end.value
                if end == "\\" {
                    guard let code = try escapedScalar() else { throw malformed("a range that ends in a class") }
                    high = code
                }
                guard low <= high else { throw malformed("a range that runs backwards") }
            }
            ranges.append(low...high)
            if ignoresCase, low == high { parts.append(ScalarSet(scalar: low, ignoringCase: true)) }
        }
        next += 1
        return ScalarSet(ranges: ranges, parts: parts, isNegated: isNegated)
    }

    /// What follows a backslash outside a class.
    private mutating func escape() throws -> ScalarSet {
        if let code = try escapedScalar() { return ScalarSet(scalar: code, ignoringCase: ignoresCase) }
        return try escapedSet()
    }

    /// The one scalar that an escape stands for; nil, and nothing taken, if it stands for a set.
    private mutating func escapedScalar() throws -> UInt32? {
        guard let scalar = peek else { throw malformed("a backslash at the end") }
        next += 1
        switch scalar {
        case "n": return 0x0A
        case "r": return 0x0D
        case "t": return 0x09
        case "f": return 0x0C
        case "v": return 0x0B
        case "x":
            if take("{") {
                let code = try hexadecimal(1...6)
                guard take("}") else { throw malformed("'\\x{' without '}'") }
                return code
            }
            return try hexadecimal(1...2)
        case "u": return try hexadecimal(4...4)
        case "s", "S", "d", "D", "w", "W", "p", "P":
            next -= 1
            return nil
        default:
            guard !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) else {
                throw unsupported("'\\\(scalar)'")
            }
            return scalar.value
        }
    }

    private mutating func hexadecimal(_ digits: ClosedRange<Int>) throws -> UInt32 {
        var code: UInt32 = 0
        var count = 0
        while count < digits.upperBound, let digit = peek.flatMap({ Character($0).hexDigitValue }) {
            code = code << 4 | UInt32(digit)
            count += 1
            next += 1
        }
        guard digits.contains(count), code <= 0x10FFFF else { throw malformed("a hexadecimal escape that is none") }
        return code
    }

    private mutating func escapedSet() throws -> ScalarSet {
        guard let scalar = peek else { throw malformed("a backslash at the end") }
        next += 1
        switch scalar {
        case "s": return .whitespace
        case "S": return ScalarSet.whitespace.inverted
        case "d": return .digit
        case "D": return ScalarSet.digit.inverted
        case "w": return .word
        case "W": return ScalarSet.word.inverted
        default: return try property(isNegated: scalar == "P")
        }
    }

    /// What follows `\p`.
    private mutating func property(isNegated: Bool) throws -> ScalarSet {
        var name = ""
        var isNegated = isNegated
        if take("{") {
            if take("^") { isNegated.toggle() }
            while let scalar = peek, scalar != "}" {
                name.unicodeScalars.append(scalar)
                next += 1
            }
            guard take("}") else { throw malformed("'\\p{' without '}'") }
        } else if let scalar = peek {
            name = String(scalar)
            next += 1
        }
        guard let set = ScalarSet(property: name) else { throw unsupported("the property \(quoted(name))") }
        return isNegated ? set.inverted : set
    }
}

// MARK: - Code

extension TextPatternCompiler {
    private mutating func emit(_ node: Node, into program: inout TextPattern.Program) throws {
        guard program.instructions.count < Self.maximumInstructions else {
            throw malformed("the pattern needs more than \(Self.maximumInstructions) instructions")
        }
        switch node {
        case .set(let set):
            program.instructions.append(.scalar(program.place(of: set)))
        case .sequence(let nodes):
            for node in nodes { try emit(node, into: &program) }
        case .choice(let nodes):
            var ends: [Int] = []
            for (index, node) in nodes.enumerated() {
                let isLast = index == nodes.count - 1
                let split = program.instructions.count
                if !isLast { program.instructions.append(.accept) }
                try emit(node, into: &program)
                if !isLast {
                    ends.append(program.instructions.count)
                    program.instructions.append(.accept)
                    program.instructions[split] = .split(split + 1, program.instructions.count)
                }
            }
            for end in ends { program.instructions[end] = .jump(program.instructions.count) }
        case .look(let body, let isNegated):
            let look = program.instructions.count
            let outer = isInLook
            isInLook = true
            defer { isInLook = outer }
            program.instructions.append(.accept)
            try emit(body, into: &program)
            program.instructions.append(.accept)
            program.instructions[look] = .look(next: program.instructions.count, isNegated: isNegated)
        case .repetition(let body, let min, let max, let greed):
            for _ in 0..<min { try emit(body, into: &program) }
            try emitRest(of: body, count: max == .max ? nil : max - min, greed, into: &program)
        }
    }

    /// The part of a repetition that may be left out: `count` times at most, or without end.
    private mutating func emitRest(
        of body: Node, count: Int?, _ greed: TextPattern.Greed, into program: inout TextPattern.Program
    ) throws {
        if case .set(let set) = body, greed == .greedy, count == nil {
            program.instructions.append(.star(program.place(of: set)))
            return
        }
        // What succeeds without a scalar would come back to where it was; looks remember what succeeded.
        guard count != nil || !isInLook || !Self.mayBeEmpty(body) else {
            throw unsupported("within a look-ahead, a repetition of what may be empty")
        }
        var choices: [Int] = []
        for _ in 0..<(count ?? 1) {
            choices.append(program.instructions.count)
            if case .set(let set) = body, greed == .possessive {
                program.instructions.append(.takeIf(program.place(of: set), orElse: 0))
            } else {
                program.instructions.append(.accept)
                try emit(body, into: &program)
            }
        }
        if count == nil { program.instructions.append(.jump(choices[0])) }
        let end = program.instructions.count
        for address in choices {
            switch (program.instructions[address], greed) {
            case (.takeIf(let set, _), _): program.instructions[address] = .takeIf(set, orElse: end)
            case (_, .lazy): program.instructions[address] = .split(end, address + 1)
            default: program.instructions[address] = .split(address + 1, end)
            }
        }
    }

    private static func mayBeEmpty(_ node: Node) -> Bool {
        switch node {
        case .set: false
        case .sequence(let nodes): nodes.allSatisfy(mayBeEmpty)
        case .choice(let nodes): nodes.contains(where: mayBeEmpty)
        case .repetition(let body, let min, _, _): min == 0 || mayBeEmpty(body)
        case .look: true
        }
    }
}
