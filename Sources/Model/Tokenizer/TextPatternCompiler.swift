import Base

/// Parses and compiles the regular expressions of tokenizer.json: alternatives, groups, `(?i:…)`, look-ahead, classes,
/// escapes, `\p{category}`, anchors, look-behind and quantifiers. References, possessive groups and what else there is are
/// refused by name.
struct TextPatternCompiler {
    /// A pattern longer than that, as scalars or as instructions, is an attack.
    private static let maximumScalars = 8192
    private static let maximumInstructions = 4096
    private static let maximumRepeats = 1000
    static let maximumDepth = 64
    /// The most scalars that a look-behind may see.
    static let maximumLookBehind = 255

    private indirect enum Node {
        case set(ScalarSet)
        case sequence([Node])
        case choice([Node])
        case repetition(Node, min: Int, max: Int, greed: TextPattern.Greed)
        case look(Node, back: Int, isNegated: Bool)
        case place(TextPattern.Place)
    }

    let source: [Unicode.Scalar]
    private let component: String
    /// `\w` in brackets and outside of them.
    let word: ScalarSet
    let looseWord: ScalarSet
    private let file: String
    var next = 0
    var ignoresCase = false
    var depth = 0
    private var isInLook = false

    init(_ source: String, component: String, word: ScalarSet, file: String) {
        self.source = Array(source.unicodeScalars)
        (self.component, self.word, self.file) = (component, word, file)
        looseWord = word == .word ? .looseWord : word
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
        program.word = looseWord
        program.mayBeEmpty = Self.mayBeEmpty(root)
        return program
    }

    func malformed(_ what: String) -> MeraserError {
        .badInput("\(file): \(component) pattern, character \(next): \(what)")
    }

    func unsupported(_ what: String) -> MeraserError { malformed("\(what) is not supported yet") }
}

// MARK: - Parser

extension TextPatternCompiler {
    var peek: Unicode.Scalar? { next < source.count ? source[next] : nil }

    mutating func take(_ text: String) -> Bool {
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
        switch atom {
        case .set: break
        case .place: throw unsupported("a repeated anchor")
        default: guard greed != .possessive else { throw unsupported("a possessive group") }
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
            if let place = anchor() { return .place(place) }
            if take("w") { return .set(looseWord) }
            if take("W") { return .set(looseWord.inverted) }
            return .set(try escape())
        case ".":
            next += 1
            return .set(ScalarSet(ranges: [0x0A...0x0A], isNegated: true))
        case "^", "$":
            next += 1
            return .place(scalar == "^" ? .lineStart : .lineEnd)
        case "?", "*", "+":
            throw malformed("nothing to repeat")
        default:
            next += 1
            return .set(ScalarSet(scalar: scalar.value, ignoringCase: ignoresCase))
        }
    }

    /// The anchor that follows a backslash; nil, and nothing taken, if there is none.
    private mutating func anchor() -> TextPattern.Place? {
        let places: [(String, TextPattern.Place)] = [
            ("A", .textStart), ("z", .textEnd), ("Z", .textEndOrLine), ("b", .wordBorder), ("B", .noWordBorder),
        ]
        return places.first { take($0.0) }?.1
    }

    /// What follows `(`.
    private mutating func group() throws -> Node {
        let outer = ignoresCase
        defer { ignoresCase = outer }
        if take("?i)") {
            // Holds to the end of the group around it.
            ignoresCase = true
            let body = try alternatives()
            return body
        }
        var isNegated: Bool?
        var isBehind = false
        if take("?i:") {
            ignoresCase = true
        } else if take("?!") {
            isNegated = true
        } else if take("?=") {
            isNegated = false
        } else if take("?<!") {
            (isNegated, isBehind) = (true, true)
        } else if take("?<=") {
            (isNegated, isBehind) = (false, true)
        } else if !take("?:"), peek == "?" {
            throw unsupported("this kind of group")
        }
        let body = try alternatives()
        guard take(")") else { throw malformed("'(' without ')'") }
        guard let isNegated else { return body }
        return isBehind ? try lookBehind(body, isNegated) : .look(body, back: 0, isNegated: isNegated)
    }

    /// A look-behind of alternatives, each of a fixed length.
    private func lookBehind(_ body: Node, _ isNegated: Bool) throws -> Node {
        var choices = [body]
        if case .choice(let nodes) = body { choices = nodes }
        let looks = try choices.map { choice in
            guard let length = Self.length(choice), length <= Self.maximumLookBehind else {
                throw unsupported("a look-behind of no fixed length up to \(Self.maximumLookBehind)")
            }
            return Node.look(choice, back: length, isNegated: isNegated)
        }
        return isNegated ? .sequence(looks) : looks.count == 1 ? looks[0] : .choice(looks)
    }

    /// How many scalars a node always takes; nil if that is not fixed.
    private static func length(_ node: Node) -> Int? {
        switch node {
        case .set: return 1
        case .look, .place: return 0
        case .sequence(let nodes):
            return nodes.reduce(0) { sum, node in length(node).flatMap { length in sum.map { $0 + length } } }
        case .choice(let nodes):
            let lengths = Set(nodes.map(length))
            return lengths.count == 1 ? lengths.first ?? nil : nil
        case .repetition(let body, let min, let max, _):
            return min == max ? length(body).map { min * $0 } : nil
        }
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
        case .place(let place):
            program.instructions.append(.place(place))
        case .look(let body, let back, let isNegated):
            let look = program.instructions.count
            let outer = isInLook
            isInLook = true
            defer { isInLook = outer }
            program.instructions.append(.accept)
            try emit(body, into: &program)
            program.instructions.append(.accept)
            program.instructions[look] = .look(next: program.instructions.count, back: back, isNegated: isNegated)
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
        case .look, .place: true
        }
    }
}
