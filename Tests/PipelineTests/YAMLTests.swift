import Quant
import Testing

@testable import Pipeline

private func yaml(_ text: String) throws -> JSONValue { try parseYAML(Array(text.utf8), file: "r.yml") }

@Test("plain scalars follow YAML 1.2's core schema, quoted ones are texts")
func yamlScalars() throws {
    let text = """
        a: 5e-3
        b: 12
        c: true
        d: no
        e: "12"
        f:
        g: ~
        h: fsr==0 && prefix_match<0.1
        i: 1.5
        j: [q_proj, v_proj]
        """
    #expect(
        try yaml(text) == [
            "a": .number(0.005), "b": .integer(12), "c": .bool(true), "d": .text("no"), "e": .text("12"), "f": .null,
            "g": .null, "h": .text("fsr==0 && prefix_match<0.1"), "i": .number(1.5),
            "j": .array([.text("q_proj"), .text("v_proj")]),
        ])
}

@Test(
    "malformed, ambiguous and exploding YAML is one line of bad input that names the file",
    arguments: [
        "", "a: [1", "a: 1\na: 2", "? [a]\n: 1", "a: *b", String(repeating: "[", count: 200),
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
            + "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]",
    ])
func badYAML(text: String) throws {
    let error = try #require(throws: MeraserError.self) { try yaml(text) }
    #expect(error.kind == .badInput)
    #expect(error.message.hasPrefix("r.yml") && !error.message.contains("\n"), "\(error.message)")
}

@Test("the closest known word is suggested, and none where all are far")
func suggestions() {
    #expect(closest(to: "recver", in: ["erase", "recover", "model"]) == "recover")
    #expect(closest(to: "zebra", in: ["recover", "model"]) == nil)
}
