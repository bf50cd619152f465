import Base
import Testing

@Suite("Writing JSON")
struct JSONWritingTests {
    private let value: JSONValue = [
        "b": .array([.integer(-3), .number(1e-8), .real(16), .null]), "a": .text("é \"\\\n\u{1}"), "e": [:],
        "c": .array([]), "d": .bool(true),
    ]

    @Test("what is written reads back equal, on one line and indented")
    func roundTrip() throws {
        for indent in [nil, 2] {
            let text = value.serialized(indent: indent)
            #expect(try JSONValue.parse(Array(text.utf8), file: "t") == value)
            #expect(text.contains("\n") == (indent != nil))
        }
    }

    @Test("indented text with sorted keys looks as Python's json.dumps(indent=2, sort_keys=True)")
    func indented() {
        let small: JSONValue = ["b": .array([.integer(1), .real(0.5)]), "a": [:]]
        #expect(small.serialized(indent: 2, sortedKeys: true) == "{\n  \"a\": {},\n  \"b\": [\n    1,\n    0.5\n  ]\n}")
        #expect(small.serialized() == #"{"b": [1, 0.5], "a": {}}"#)
    }

    @Test("numbers that JSON lacks become null")
    func nonFinite() {
        #expect(JSONValue.real(.nan) == .null)
        #expect(JSONValue.number(.infinity).serialized() == "null")
    }
}
