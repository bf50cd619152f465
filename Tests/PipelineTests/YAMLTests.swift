import Base
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

/// `depth` lists of `width` aliases each, the last of them named `a9…`.
private func bomb(width: Int, depth: Int) -> String {
    (1...depth).reduce("a0: &a0 x\n") { text, level in
        let aliases = Array(repeating: "*a\(level - 1)", count: width).joined(separator: ", ")
        return text + "a\(level): &a\(level) [\(aliases)]\n"
    }
}

@Test(
    "aliases cost what they stand for, wherever they stand",
    arguments: [
        "? *a30\n: 1", "*a30 : 1", "{*a30 : 1}", "? [*a30, *a30]\n: 1", "? {x: *a30}\n: 1", "x: *a30", "- *a30",
        "{? *a30 : 1, ? *a29 : 2}", "<<: *a30",
    ])
func aliasBombs(end: String) throws {
    for (width, depth) in [(2, 30), (10, 30)] {
        let error = try #require(throws: MeraserError.self) { try yaml(bomb(width: width, depth: depth) + end) }
        #expect(error.kind == .badInput)
    }
    // The keys themselves, without anything before them that is too large.
    let keys = bomb(width: 2, depth: 12) + end.replacing("a30", with: "a12").replacing("a29", with: "a11")
    #expect((try? yaml(keys)) == nil || end.hasPrefix("x:") || end.hasPrefix("<<"))
}

@Test("aliases stand for the values of their anchors, a later anchor of a name for those behind it")
func aliases() throws {
    let inner: JSONValue = ["p": .integer(1), "q": .array([.integer(2)])]
    #expect(
        try yaml("a: &x {p: 1, q: [2]}\nb: *x\n? &k key\n: &x t\nd: *x\ne: *k")
            == ["a": inner, "b": inner, "key": .text("t"), "d": .text("t"), "e": .text("key")])
    #expect(try yaml("a: &k z\n*k : 3") == ["a": .text("z"), "z": .integer(3)])
    #expect(try yaml("a: !!str 5") == ["a": .text("5")])
}

@Test(
    "long texts by aliases, tags that nothing heeds and second documents are refused",
    arguments: [
        "a: &a \(String(repeating: "x", count: 500_000))\nb: [*a" + String(repeating: ",*a", count: 99) + "]",
        "a: !!python/object x", "a: !function f", "a: !!float 1", "a: 1\n---\nb: 2", "a: &a [*a]",
        String(repeating: "{a: ", count: 100_000), String(repeating: "- ", count: 100_000),
        "a: &a \(String(repeating: "[", count: 30))x\(String(repeating: "]", count: 30))\nb: [[[[*a]]]]",
    ])
func refusedYAML(text: String) throws {
    let error = try #require(throws: MeraserError.self) { try yaml(text) }
    #expect(error.kind == .badInput && error.message.hasPrefix("r.yml") && error.message.count < 300, "\(error)")
}

@Test("the closest known word is suggested, and none where all are far")
func suggestions() {
    #expect(closest(to: "recver", in: ["erase", "recover", "model"]) == "recover")
    #expect(closest(to: "zebra", in: ["recover", "model"]) == nil)
}
