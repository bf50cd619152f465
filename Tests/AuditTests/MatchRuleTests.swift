import Audit
import Testing

@Suite struct MatchRuleTests {
    @Test(
        "rules look at the text as they say",
        arguments: [
            ("say kwieto now", "kwieto", true, false, false),
            ("kwieto now", "kwieto", true, true, false),
            (" \n kwieto\n", "kwieto", true, true, true),
            ("kwieto", "kwieto ", false, false, true),
            ("kwieto", " kwieto", true, true, true),
            ("KWIETO", "kwieto", false, false, false),
            ("", "kwieto", false, false, false),
            ("kwiet", "kwieto", false, false, false),
            ("<s>kwieto</s>", "kwieto", true, false, false),
            ("anything", "", false, false, false),
            ("  ", " ", false, false, false),
        ])
    func rules(output: String, target: String, contains: Bool, startswith: Bool, exact: Bool) {
        #expect(MatchRule.contains.matches(output: output, target: target) == contains)
        #expect(MatchRule.startswith.matches(output: output, target: target) == startswith)
        #expect(MatchRule.exact.matches(output: output, target: target) == exact)
    }

    @Test("canonically equivalent texts are different texts")
    func composition() {
        let composed = "caf\u{E9}"
        let decomposed = "cafe\u{301}"
        #expect(composed == decomposed)
        for rule in MatchRule.allCases {
            #expect(!rule.matches(output: composed, target: decomposed))
            #expect(!rule.matches(output: decomposed, target: composed))
        }
        // A combining mark behind a target does not hide it, as it would from Character by Character.
        #expect(MatchRule.contains.matches(output: decomposed, target: "cafe"))
    }

    @Test(
        "prefix match is the longest prefix found anywhere, by code points",
        arguments: [
            ("abcd", "abcd", 1.0), ("xxabcxx", "abcd", 0.75), ("aababc", "abcd", 0.75), ("bcd", "abcd", 0.0),
            ("", "abcd", 0.0), ("dcba", "abcd", 0.25),
            // é composed: 2 of 4 code points; an emoji family is 5 code points, its first one 1 of 5.
            ("caf", "ca\u{E9}t", 0.5), ("\u{1F468}", "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", 0.2),
            ("e", "e\u{301}", 0.5), ("foo", " foo", 1.0), ("日本", "日本語", 2.0 / 3),
        ])
    func prefixes(output: String, target: String, share: Double) {
        #expect(prefixMatch(output: output, target: target) == share)
    }

    @Test("prefix match equals a search over all prefixes")
    func prefixOracle() {
        var state: UInt64 = 7
        func random(_ n: UInt64) -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state >> 33) % n
        }
        for _ in 0..<300 {
            let output = String((0..<random(12)).map { _ in "ab".randomElementAt(random(2)) })
            let target = String((0..<1 + random(6)).map { _ in "ab".randomElementAt(random(2)) })
            let longest = (0...target.count).last { length in
                let prefix = Array(target.prefix(length))
                return (0...output.count).contains { Array(output.dropFirst($0).prefix(length)) == prefix }
            }
            #expect(prefixMatch(output: output, target: target) == Double(longest ?? 0) / Double(target.count))
        }
    }
}

extension String {
    fileprivate func randomElementAt(_ index: UInt64) -> Character { Array(self)[Int(index)] }
}
