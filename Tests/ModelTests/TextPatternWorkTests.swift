import Base
import Foundation
import TestSupport
import Testing

@testable import Model

/// A pattern over `a` and `b` in which no endless repetition may be empty, with what ICU reads as the same.
private struct PatternMaker {
    var random: SeededRandom

    private mutating func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

    mutating func pattern(depth: Int) -> String {
        (0...below(3)).map { _ in sequence(depth: depth) }.joined(separator: "|")
    }

    private mutating func sequence(depth: Int) -> String {
        (0...below(3)).map { _ in part(depth: depth) }.joined()
    }

    private mutating func part(depth: Int) -> String {
        let sets = ["a", "b", "[ab]", "[^a]", "."]
        switch below(depth > 0 ? 10 : 6) {
        case 0...2: return sets[below(sets.count)]
        case 3...4: return sets[below(sets.count)] + ["*", "+", "?", "{1,3}", "{2}"][below(5)] + ["", "?"][below(2)]
        case 5: return sets[below(sets.count)] + ["*", "+", "?", "{1,2}"][below(4)] + "+"
        case 6: return "(?=\(pattern(depth: depth - 1)))"
        case 7: return "(?!\(pattern(depth: depth - 1)))"
        case 8: return "(?:\(pattern(depth: depth - 1)))" + ["?", "{1,2}", "{0,2}?"][below(3)]
        default: return "(?:\(sets[below(sets.count)])(?:\(pattern(depth: depth - 1))))" + ["*", "+", "+?"][below(3)]
        }
    }
}

@Suite("Work of patterns")
struct TextPatternWorkTests {
    /// Every match through the memory of states.
    private static let thorough = TextMatcher.Budget(freeSteps: 0, stepsPerByte: 0)

    /// The matches of ICU, one place after the other as `TextPattern.matches` finds them.
    private func oracle(_ expression: NSRegularExpression, _ text: String) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var i = 0
        while i <= text.utf16.count {
            let range = NSRange(location: i, length: text.utf16.count - i)
            let match = expression.firstMatch(in: text, options: .anchored, range: range)?.range.length
            // Of empty matches those count that do not stand where a match ended.
            if let match, match > 0 || found.last?.upperBound != i { found.append(i..<i + match) }
            i += max(1, match ?? 0)
        }
        return found
    }

    @Test("Backtracking and remembering states find what ICU finds, in random patterns and texts")
    func oracle() throws {
        var maker = PatternMaker(random: SeededRandom(seed: 11))
        var compared = 0
        for _ in 0..<400 {
            // ICU does not repeat a look-ahead alone; nothing here does.
            let source = maker.pattern(depth: 2)
            guard let pattern = try? TextPattern(source, file: "t.json") else { continue }
            let expression = try NSRegularExpression(pattern: source)
            for _ in 0..<4 {
                let text = String((0..<12).map { _ in maker.random.next() % 3 == 0 ? "b" : "a" })
                let want = oracle(expression, text)
                let bytes = Array(text.utf8)
                #expect(pattern.matches(in: bytes) == want, "\(source) in \(text)")
                #expect(pattern.matches(in: bytes, budget: Self.thorough) == want, "\(source) in \(text), thorough")
                compared += want.count
            }
        }
        #expect(compared > 2000)
    }

    @Test(
        "Patterns that take exponential or cubic time elsewhere take time linear in the text",
        arguments: [
            "(?:a+)+b", "(?:(?:a+)+)+b", "(?:a|a)*b", "(?:a|aa)+b", "(?:a*)*b", "a+b", "a*a*a*a*b", "(?:a+a+)+b",
            "(?:a{1,3})+b", "(?:a+?)+?b", "(?:(?=a+b)a)+", "(?=(?:a+)+b)a", "(?:(?=a+)a)*c", "(?:(?!a+b)a)*c",
            "[a-c]+[a-d]+[a-e]+x", "a++b", "(?i:a+)+b",
        ])
    func linear(source: String) throws {
        let text = [UInt8](repeating: UInt8(ascii: "a"), count: 10_000)
        let found = try TextPattern(source, file: "t.json").matches(in: text)
        #expect(found.isEmpty)
    }

    @Test("What a match took is not lost to those behind it: many matches that look far ahead")
    func farLooks() throws {
        let text = [UInt8](repeating: UInt8(ascii: "a"), count: 5000)
        #expect(try TextPattern("a+b|a", file: "t.json").matches(in: text).count == 5000)
        #expect(try TextPattern("(?=a+c?)a", file: "t.json").matches(in: text).count == 5000)
        #expect(try TextPattern(#"\s*[\r\n]+|\s+(?!\S)|\s+"#, file: "t.json").matches(in: text).isEmpty)
    }

    @Test("With memory for a stretch of the text only, the matches are those of all of it")
    func stretches() throws {
        let text = Array(String(repeating: "aab ab  aaab\n", count: 200).utf8)
        let small = TextMatcher.Budget(freeSteps: 0, stepsPerByte: 0, states: 2000)
        for source in [#"a+b|\s+(?!\S)|\s+"#, "(?:a|ab)+ ?", #"(?=a+b)a|b|\s+"#, ByteLevel.pattern] {
            let pattern = try TextPattern(source, file: "t.json")
            #expect(pattern.matches(in: text, budget: small) == pattern.matches(in: text), "\(source)")
        }
    }

    @Test("What remembering cannot do is refused by name")
    func refused() {
        #expect(
            throws: MeraserError.badInput(
                "t.json: pre_tokenizer pattern, character 9: within a look-ahead, a repetition of what may be empty is not "
                    + "supported yet")
        ) { try TextPattern("(?=(a*)*)", file: "t.json") }
        #expect(throws: MeraserError.self) { try TextPattern(String(repeating: "a", count: 9000), file: "t.json") }
    }
}
