import Base
import Foundation

/// What is taken of a written answer, step by step, as lm-evaluation-harness's filters do.
public struct AnswerFilter: Sendable {
    /// One step.
    public enum Step: Sendable {
        /// A match of a pattern, by its number (from the end if negative): its first group that has something, or all of
        /// it where there are no groups; `fallback` where nothing matches.
        case regex(PythonPattern, select: Int, fallback: String)
        /// The only answer there is.
        case takeFirst
        /// Blanks at both ends go.
        case removeWhitespace
        /// Small letters.
        case lowercase
        /// Capital letters.
        case uppercase
    }

    /// The name under which results go.
    public let name: String
    /// In order.
    public let steps: [Step]

    /// A filter of those steps.
    public init(name: String, steps: [Step]) {
        self.name = name
        self.steps = steps
    }

    /// What is left of an answer.
    ///
    /// - Throws: a bad-input error if there is no match of the number that is asked for among those there are.
    func applied(to answer: String) throws -> String {
        try steps.reduce(answer) { text, step in
            switch step {
            case .regex(let pattern, let select, let fallback):
                let matches = pattern.all(in: text)
                guard !matches.isEmpty else { return fallback }
                let index = select < 0 ? matches.count + select : select
                guard matches.indices.contains(index) else {
                    throw MeraserError.badInput(
                        "filter \(quoted(name)): 'group_select' is \(select), but an answer has \(matches.count) matches"
                    )
                }
                let groups = matches[index]
                if groups.count == 1 { return groups[0].strippedLikePython }
                return groups.first { !$0.isEmpty }?.strippedLikePython ?? fallback
            case .takeFirst: return text
            case .removeWhitespace: return text.strippedLikePython
            case .lowercase: return text.lowercased()
            case .uppercase: return text.uppercased()
            }
        }
    }
}

/// A regular expression of Python's `re` over texts of a bounded length: what both Python and ICU know of them.
public struct PythonPattern: Sendable {
    private let expression: NSRegularExpression

    /// Compiles a pattern.
    ///
    /// - Throws: a bad-input error for what is no regular expression, and for repetitions within repetitions, whose
    ///   matching could take exponential time.
    public init(_ source: String) throws {
        guard source.utf8.count <= 1024 else {
            throw MeraserError.badInput("a regular expression of \(source.utf8.count) bytes, expected at most 1024")
        }
        guard !Self.nestsRepetitions(source) else {
            throw MeraserError.badInput(
                "the regular expression \(quoted(source)) repeats a group that repeats something, which may take forever; "
                    + "write it without")
        }
        let own = source.replacingOccurrences(of: "(?P<", with: "(?<").replacingOccurrences(of: "\\Z", with: "\\z")
        // Python's dot and its anchors know one end of a line.
        guard let expression = try? NSRegularExpression(pattern: own, options: [.useUnixLineSeparators]) else {
            throw MeraserError.badInput("\(quoted(source)) is no regular expression")
        }
        self.expression = expression
    }

    /// True where a group with an unbounded repetition in it is repeated without bound.
    private static func nestsRepetitions(_ source: String) -> Bool {
        var repeats = [false]
        var (isEscaped, isSet) = (false, false)
        var closed: Bool?
        for character in source {
            let isRepetition = "*+{".contains(character) && !isEscaped && !isSet
            if isRepetition {
                if closed == true { return true }
                repeats[repeats.count - 1] = true
            }
            closed = nil
            if isEscaped {
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else if isSet {
                isSet = character != "]"
            } else if character == "[" {
                isSet = true
            } else if character == "(" {
                repeats.append(false)
            } else if character == ")", repeats.count > 1 {
                let inner = repeats.removeLast()
                closed = inner
                if inner { repeats[repeats.count - 1] = true }
            }
        }
        return false
    }

    /// Python's `findall`: of each match its groups, or all of it where there are none; a group without a match is empty.
    func all(in text: String) -> [[String]] {
        let whole = NSRange(text.startIndex..., in: text)
        return expression.matches(in: text, range: whole).map { match in
            let groups = match.numberOfRanges > 1 ? 1..<match.numberOfRanges : 0..<1
            return groups.map { Range(match.range(at: $0), in: text).map { String(text[$0]) } ?? "" }
        }
    }

    /// The text without all matches.
    func removed(from text: String) -> String {
        let whole = NSRange(text.startIndex..., in: text)
        return expression.stringByReplacingMatches(in: text, range: whole, withTemplate: "")
    }
}

extension String {
    /// Without white space at both ends, as Python's `strip`.
    var strippedLikePython: String {
        let isBlank = { (scalar: Unicode.Scalar) in
            scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
        }
        let scalars = unicodeScalars.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }
}

/// When an answer is the target: `exact_match` of lm-evaluation-harness.
public struct ExactMatch: Sendable {
    /// Matches of these go from both, in order.
    public var regexesToIgnore: [PythonPattern] = []
    /// Small and capital letters are the same.
    public var ignoresCase = false
    /// ASCII's punctuation goes from both.
    public var ignoresPunctuation = false
    /// ASCII's digits go from both.
    public var ignoresNumbers = false

    /// Letter by letter.
    public init() {}

    /// 1 or 0.
    func score(_ answer: String, _ target: String) -> Double { reduced(answer) == reduced(target) ? 1 : 0 }

    private func reduced(_ text: String) -> [Unicode.Scalar] {
        var text = regexesToIgnore.reduce(text) { $1.removed(from: $0) }
        if ignoresCase { text = text.lowercased() }
        return text.unicodeScalars.filter { scalar in
            let isDigit = ("0"..."9").contains(scalar)
            let isLetter = ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
            let isPunctuation = (0x21...0x7E).contains(scalar.value) && !isDigit && !isLetter
            return !(ignoresPunctuation && isPunctuation) && !(ignoresNumbers && isDigit)
        }
    }
}
