import Base

/// A condition on measured values, as the settings `fail_if` (`fsr>0`) and `until` (`fsr==0 && prefix_match<0.1`) have it.
///
/// Grammar, loosest binding first:
///
///     condition  = conjunction *("||" conjunction)
///     conjunction = negation *("&&" negation)
///     negation   = "!" negation / "(" condition ")" / comparison
///     comparison = value ("==" / "!=" / "<" / "<=" / ">" / ">=") value / word ("==" / "!=") '"' choice '"'
///     value      = name / number
///
/// A word is a name whose value is one of a few choices, such as `verdict`.
public struct Condition: Sendable, Equatable, CustomStringConvertible {
    /// The text that it was made from.
    public let description: String
    /// The names that it uses, sorted.
    public let names: [String]
    private let root: ConditionNode

    /// The longest text: what is evaluated is as deep as its comparisons are many.
    private static let maximumBytes = 4096

    /// Parses `text`; names other than `known` and those of `words`, and choices other than theirs, are refused.
    ///
    /// - Throws: a usage error that says where the text went wrong, or that lists the known names.
    public init(_ text: String, known: [String], words: [String: [String]] = [:]) throws {
        guard text.utf8.count <= Self.maximumBytes else {
            throw MeraserError.usage(
                "\(quoted(text)): expected a condition of at most \(Self.maximumBytes) bytes")
        }
        var parser = ConditionParser(text: text, known: known, words: words)
        root = try parser.parse()
        names = parser.names.sorted()
        description = text
    }

    /// True if the condition holds. A value that was not measured (nil) is an error rather than false: a check must not
    /// pass because nothing was looked at.
    ///
    /// - Throws: a usage error that names the missing value.
    public func holds(_ values: [String: Double?], words: [String: String] = [:]) throws -> Bool {
        for name in names where words[name] == nil {
            guard let value = values[name], value != nil else {
                throw MeraserError.usage(
                    "\(quoted(description)): \(name) was not measured in this run\(Self.advice(for: name))")
            }
        }
        return root.evaluate(values.compactMapValues { $0 }, words)
    }

    private static func advice(for name: String) -> String {
        switch name {
        case "false_activations": "; name clean prompts with `clean`"
        case "verdict": "; draw `decoys`"
        case "ppl": "; name a text with `data`"
        case let kl where kl.hasPrefix("kl"): "; name a model to compare with by `kl`"
        default: ""
        }
    }
}

private indirect enum ConditionNode: Sendable, Equatable {
    case or(ConditionNode, ConditionNode)
    case and(ConditionNode, ConditionNode)
    case not(ConditionNode)
    case comparison(ConditionValue, Comparison, ConditionValue)
    case choice(word: String, isEqual: Bool, String)

    func evaluate(_ values: [String: Double], _ words: [String: String]) -> Bool {
        switch self {
        case .or(let a, let b): a.evaluate(values, words) || b.evaluate(values, words)
        case .and(let a, let b): a.evaluate(values, words) && b.evaluate(values, words)
        case .not(let a): !a.evaluate(values, words)
        case .comparison(let a, let comparison, let b): comparison.holds(a.number(values), b.number(values))
        case .choice(let word, let isEqual, let choice): (words[word] == choice) == isEqual
        }
    }
}

private enum ConditionValue: Sendable, Equatable {
    case number(Double)
    case name(String)

    /// NaN for a name without a value, which no comparison but `!=` holds for.
    func number(_ values: [String: Double]) -> Double {
        switch self {
        case .number(let number): number
        case .name(let name): values[name] ?? .nan
        }
    }
}

private enum Comparison: String, Sendable, CaseIterable {
    // Longer ones first: the parser takes the first that fits.
    case equal = "=="
    case different = "!="
    case atMost = "<="
    case atLeast = ">="
    case below = "<"
    case above = ">"

    func holds(_ a: Double, _ b: Double) -> Bool {
        switch self {
        case .equal: a == b
        case .different: a != b
        case .atMost: a <= b
        case .atLeast: a >= b
        case .below: a < b
        case .above: a > b
        }
    }
}

private struct ConditionParser {
    let text: String
    let known: [String]
    let words: [String: [String]]
    let bytes: [UInt8]
    var position = 0
    var depth = 0
    var names: Set<String> = []

    init(text: String, known: [String], words: [String: [String]]) {
        self.text = text
        self.known = known
        self.words = words
        bytes = Array(text.utf8)
    }

    mutating func parse() throws -> ConditionNode {
        let node = try condition()
        skipSpace()
        guard position == bytes.count else { throw error("expected '&&', '||' or the end") }
        return node
    }

    private mutating func condition() throws -> ConditionNode {
        var node = try conjunction()
        while take("||") { node = .or(node, try conjunction()) }
        return node
    }

    private mutating func conjunction() throws -> ConditionNode {
        var node = try negation()
        while take("&&") { node = .and(node, try negation()) }
        return node
    }

    private mutating func negation() throws -> ConditionNode {
        depth += 1
        defer { depth -= 1 }
        guard depth <= 32 else { throw error("nested more than 32 levels deep") }
        if take("!") { return .not(try negation()) }
        if take("(") {
            let node = try condition()
            guard take(")") else { throw error("expected ')'") }
            return node
        }
        if let choice = try choice() { return choice }
        let left = try value()
        guard let comparison = Comparison.allCases.first(where: { take($0.rawValue) }) else {
            throw error("expected one of == != < <= > >=")
        }
        return .comparison(left, comparison, try value())
    }

    /// A word and one of its choices in quotation marks; nil if no word comes next.
    private mutating func choice() throws -> ConditionNode? {
        skipSpace()
        let word = String(decoding: bytes[position...].prefix(while: Self.isWord), as: UTF8.self)
        guard let choices = words[word] else { return nil }
        position += word.utf8.count
        names.insert(word)
        guard let comparison = [Comparison.equal, .different].first(where: { take($0.rawValue) }) else {
            throw error("expected == or != behind \(word)")
        }
        guard take("\"") else { throw error("expected one of \(choices.map { "\"\($0)\"" }.joined(separator: ", "))") }
        let text = String(decoding: bytes[position...].prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
        guard choices.contains(text) else {
            throw error("\(quoted(text)) is no \(word); expected one of \(choices.joined(separator: ", "))")
        }
        position += text.utf8.count
        guard take("\"") else { throw error("expected '\"'") }
        return .choice(word: word, isEqual: comparison == .equal, text)
    }

    private mutating func value() throws -> ConditionValue {
        skipSpace()
        let word = bytes[position...].prefix(while: Self.isWord)
        let content = String(decoding: word, as: UTF8.self)
        guard let first = word.first else { throw error("expected a number or a name") }
        if Self.isLetter(first) {
            guard known.contains(content) else {
                throw MeraserError.usage(
                    "\(quoted(text)): unknown name \(quoted(content)); known are \((known + words.keys.sorted()).joined(separator: ", "))"
                )
            }
            position += word.count
            names.insert(content)
            return .name(content)
        }
        guard let number = Double(content), number.isFinite else { throw error("\(quoted(content)) is not a number") }
        position += word.count
        return .number(number)
    }

    private mutating func take(_ symbol: String) -> Bool {
        skipSpace()
        guard bytes[position...].starts(with: symbol.utf8) else { return false }
        position += symbol.utf8.count
        return true
    }

    private mutating func skipSpace() {
        while position < bytes.count && bytes[position].isWhitespace { position += 1 }
    }

    private func error(_ message: String) -> MeraserError {
        .usage("\(quoted(text)), character \(position + 1): \(message)")
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    /// Letters, digits, `_`, `.`, and a sign (there is no arithmetic): what names and numbers are made of.
    private static func isWord(_ byte: UInt8) -> Bool {
        isLetter(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "+")
    }
}
