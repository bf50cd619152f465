import Base
import Foundation
import Testing

@testable import Model

@Suite("Patterns of tokenizer.json")
struct TextPatternTests {
    private func pieces(_ pattern: String, _ text: String) throws -> [String] {
        let bytes = Array(text.utf8)
        return try TextPattern(pattern, file: "t.json").matches(in: bytes).map {
            String(decoding: bytes[$0], as: UTF8.self)
        }
    }

    @Test(
        "Alternatives, groups, classes, repetitions and look-ahead match as they do in Oniguruma",
        arguments: [
            ("a|ab", "ab", ["a"]),
            ("(?:ab|a)c", "ac abc", ["ac", "abc"]),
            ("a{2,3}", "aaaaaa a aa", ["aaa", "aaa", "aa"]),
            ("a{2}b{,1}c{1,}", "aac aabcc abc", ["aac", "aabcc"]),
            ("a{x}", "a{x}", ["a{x}"]),
            ("<.+?>", "<a><b>", ["<a>", "<b>"]),
            ("(ab)+", "ababab ab", ["ababab", "ab"]),
            ("(?:ab){1,2}?", "abab", ["ab", "ab"]),
            ("x*+x", "xxx", []),
            ("[^a-c]", "abcd-", ["d", "-"]),
            ("[]a-]+", "-]a", ["-]a"]),
            (#"[\p{Lu}\-]+"#, "A-B c", ["A-B"]),
            (#"\P{L}+"#, "ab12 c", ["12 "]),
            (#"\p{^L}\p{N}"#, "11 a1", ["11"]),
            (#"\s+(?!\S)|\S+"#, "a   b  ", ["a", "  ", "b", "  "]),
            (#"\w+(?=!)"#, "hi! ho", ["hi"]),
            ("(?i:'S|K)x", "'sx 'Sx \u{212A}x '\u{17F}x", ["'sx", "'Sx", "\u{212A}x", "'\u{17F}x"]),
            (#"\x41\x{1F642}\u00e9"#, "A\u{1F642}\u{e9}", ["A\u{1F642}\u{e9}"]),
            ("(?:a*)*b", "aab b", ["aab", "b"]),
            ("é+", "éé", ["éé"]),
            (".", "a\n", ["a"]),
            ("^a|b$", "ab\nab", ["a", "b", "a", "b"]),
            (#"\Aa|b\z|.\Z"#, "ab\nab\n", ["a", "b"]),
            (#"\bcat\b|\Bat"#, "cat bat cats", ["cat", "at", "at"]),
            (#"(?<=a|bc)x"#, "ax bcx cx", ["x", "x"]),
            (#"(?<!\p{L})\d(?!\d)"#, "a1 2 34 5", ["2", "4", "5"]),
            ("[a[b-c]]+", "abcd", ["abc"]),
            (#"[\p{L}&&[^a-c]]+"#, "abcdé", ["dé"]),
            ("[[:punct:][:^ascii:]]+", "a+é.b", ["+é."]),
            ("(?i)ÄB", "äb ÄB", ["äb", "ÄB"]),
            (#"\h+"#, "0aFg", ["0aF"]),
            ("b*", "abb", ["", "bb"]),
            (#"(?=\p{Lu})"#, "aBC", ["", ""]),
        ] as [(String, String, [String])])
    func matching(pattern: String, text: String, want: [String]) throws {
        #expect(try pieces(pattern, text) == want)
    }

    @Test(
        "A pattern that is malformed or beyond the subset gives one error that says where",
        arguments: [
            (")", "0: ')' without '('"), ("(a", "2: '(' without ')'"), ("[a", "2: '[' without ']'"),
            ("*", "0: nothing to repeat"), ("a**", "2: two quantifiers in a row"), ("\\", "1: a backslash at the end"),
            ("a{5,2}", "6: a repetition of 5 to 2, expected at most 1000"),
            ("a{99999}", "8: a repetition of 99999 to 99999, expected at most 1000"),
            ("[z-a]", "4: a range that runs backwards"), ("^*", "2: a repeated anchor is not supported yet"),
            ("(?<n>a)", "1: this kind of group is not supported yet"),
            ("(?<=a*)b", "7: a look-behind of no fixed length up to 255 is not supported yet"),
            ("\\p{Han}", "7: the property 'Han' is not supported yet"),
            ("[[:alpha:]]", "3: this class between '[:' and ':]' is not supported yet"),
            ("(?:ab)++", "8: a possessive group is not supported yet"),
        ])
    func refused(pattern: String, want: String) {
        #expect(throws: MeraserError.badInput("t.json: pre_tokenizer pattern, character \(want)")) {
            try TextPattern(pattern, file: "t.json")
        }
        let nested = String(repeating: "(", count: 100) + String(repeating: ")", count: 100)
        #expect(throws: MeraserError.self) { try TextPattern(nested, file: "t.json") }
        #expect(throws: MeraserError.self) { try TextPattern("(?:(?:(?:a{999}b){999}){999}){999}", file: "t.json") }
    }

    @Test("Patterns that backtrack without end elsewhere give up here after at most one look at every state")
    func catastrophe() throws {
        let text = String(repeating: "a", count: 2000)
        #expect(try pieces("(?:(?:a+)+)+b", String(text.prefix(60))) == [])
        #expect(try TextPattern("(?:a|a)*b", file: "t.json").match(Array(text.utf8), at: 0) == nil)
        #expect(try TextPattern("(?:a|a)*c|a", file: "t.json").match(Array(text.utf8), at: 0) == 1)
    }

    @Test("A cut or changed pattern compiles or is refused, never a trap")
    func damaged() {
        let source = Array(#"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\x{41}[a-z]"#.unicodeScalars)
        var refused = 0
        for index in source.indices {
            for scalar in "()[]{}\\?*+|^-,p1".unicodeScalars {
                var changed = source
                changed[index] = scalar
                for scalars in [changed[...], changed[..<index], changed[index...]] {
                    var text = ""
                    text.unicodeScalars.append(contentsOf: scalars)
                    if let pattern = try? TextPattern(text, file: "t.json") {
                        _ = pattern.matches(in: Array("Ab1 é\n 's  x".utf8))
                    } else {
                        refused += 1
                    }
                }
            }
        }
        #expect(refused > 100)
    }
}
