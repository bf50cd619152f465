import Audit
import Base
import Testing

@Suite struct ConditionTests {
    static let known = ["fsr", "hits", "prefix_match", "ppl"]
    static let values: [String: Double?] = ["fsr": 0.25, "hits": 8, "prefix_match": 0.05, "ppl": nil]

    @Test(
        "conditions hold as written",
        arguments: [
            ("fsr>0", true), ("fsr == 0.25", true), ("fsr!=0.25", false), ("hits>=8&&hits<=8", true),
            ("fsr==0 && prefix_match<0.1", false), ("fsr==0 || prefix_match<0.1", true), ("!(fsr<0.2)", true),
            ("!fsr<0.2", true), ("0.1>prefix_match", true), ("hits == 8e0", true), ("fsr > -1", true),
            // && binds tighter than ||.
            ("hits==8 || fsr==1 && fsr==0", true), ("(hits==8 || fsr==1) && fsr==0", false),
            ("!!(((hits == 8)))", true), ("\tfsr\n>\r.2 ", true),
        ])
    func holds(text: String, expected: Bool) throws {
        #expect(try Condition(text, known: Self.known).holds(Self.values) == expected)
    }

    @Test(
        "what cannot be read is a usage error that says where",
        arguments: [
            ("", "character 1: expected a number or a name"), ("fsr", "character 4: expected one of"),
            ("fsr>", "character 5: expected a number"), ("fsr>0 &&", "character 9"), ("(fsr>0", "expected ')'"),
            ("fsr>0)", "expected '&&', '||' or the end"), ("fsr=0", "expected one of =="),
            ("fsr>1e999", "not a number"),
            ("fsr>0x", "'0x' is not a number"), ("fsr>nan", "unknown name 'nan'"), ("fsr>1.2.3", "not a number"),
            ("fsr>0 fsr>0", "character 7"), ("fsr>0 & hits>1", "character 7"), ("'fsr'>0", "character 1"),
        ])
    func malformed(text: String, message: String) {
        let error = #expect(throws: MeraserError.self) { try Condition(text, known: Self.known) }
        #expect(error?.kind == .usage)
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "no error")")
    }

    @Test("an unknown name is answered with the known ones")
    func unknownName() {
        let error = #expect(throws: MeraserError.self) { try Condition("frs>0", known: Self.known) }
        #expect(error?.message == "'frs>0': unknown name 'frs'; known are fsr, hits, prefix_match, ppl")
    }

    @Test("a value that was not measured is an error, even where the rest decides")
    func missing() throws {
        let condition = try Condition("hits==8 || ppl<10", known: Self.known)
        #expect(condition.names == ["hits", "ppl"])
        let error = #expect(throws: MeraserError.self) { try condition.holds(Self.values) }
        #expect(error?.kind == .usage)
        #expect(error?.message.contains("ppl was not measured") == true)
    }

    @Test("a word is compared with its choices; others, and other comparisons, are refused with what is expected")
    func words() throws {
        let words = ["verdict": ["marked", "gone"]]
        func holds(_ text: String, _ verdict: String) throws -> Bool {
            try Condition(text, known: Self.known, words: words).holds(Self.values, words: ["verdict": verdict])
        }
        #expect(try holds(#"verdict!="gone""#, "marked") && !holds(#"verdict != "gone""#, "gone"))
        #expect(try holds(#"fsr>0 && (verdict=="gone" || hits<1)"#, "gone") && !holds(#"!verdict=="gone""#, "gone"))
        for (text, message) in [
            (#"verdict!="gnoe""#, "'gnoe' is no verdict; expected one of marked, gone"),
            ("verdict!=gone", #"expected one of "marked", "gone""#), (#"verdict>"gone""#, "expected == or !="),
            (#"verdict=="gone"#, #"expected '"'"#), (#""gone"==verdict"#, "expected a number or a name"),
            ("verdict", "expected == or !="), ("verdict==1", "expected one of"),
        ] {
            let error = #expect(throws: MeraserError.self) { try holds(text, "gone") }
            #expect(error?.kind == .usage && error?.message.contains(message) == true, "\(error?.message ?? text)")
        }
        let condition = try Condition(#"verdict!="gone""#, known: Self.known, words: words)
        let error = #expect(throws: MeraserError.self) { try condition.holds(Self.values) }
        #expect(condition.names == ["verdict"] && error?.message.contains("verdict was not measured") == true)
    }

    @Test("deep nesting is refused, not a stack overflow")
    func depth() {
        for symbol in ["(", "!"] {
            let text = String(repeating: symbol, count: 100_000) + "fsr>0"
            let error = #expect(throws: MeraserError.self) { try Condition(text, known: Self.known) }
            #expect(error?.message.count ?? .max < 300)
        }
        for joint in ["||", "&&"] {
            // What is joined is evaluated one within the other.
            let text = Array(repeating: "fsr>0", count: 100_000).joined(separator: joint)
            #expect(throws: MeraserError.self) { try Condition(text, known: Self.known) }
            let most = Array(repeating: "fsr>0", count: 500).joined(separator: joint)
            #expect(throws: Never.self) { try Condition(most, known: Self.known).holds(Self.values) }
        }
        let name = String(repeating: "x", count: 4000)
        let error = #expect(throws: MeraserError.self) { try Condition(name + ">0", known: Self.known) }
        #expect(error?.message.count ?? .max < 600)
    }
}
