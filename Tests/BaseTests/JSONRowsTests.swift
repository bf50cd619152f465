import Base
import TestSupport
import Testing

@Suite("Rows of a JSON file")
struct JSONRowsTests {
    /// Calls `body` with the rows of `m.r` of a text.
    private static func withRows<Result>(_ text: String, _ body: (JSONRows) throws -> Result) throws -> Result {
        try Array(text.utf8).withUnsafeBufferPointer { bytes in
            let (_, rows) = try JSONValue.parse(bytes, file: "f", rowsOf: "m", keys: ["r"])
            return try body(try #require(rows["r"]))
        }
    }

    /// The rows as a tree would have them: of an object keys and values, of an array elements.
    private static func tree(_ rows: JSONRows) -> [[JSONValue]] {
        rows.withTexts { texts in
            (0..<rows.count).map { row in
                func text(_ bytes: UnsafeBufferPointer<UInt8>) -> JSONValue {
                    .text(String(decoding: bytes, as: UTF8.self))
                }
                let first = text(texts[row])
                if let second = texts.second(row) { return [first, text(second)] }
                if let integer = texts.integer(row) { return [first, .integer(integer)] }
                if case .number(let number) = rows.second(row) { return [first, .number(number)] }
                return [first]
            }
        }
    }

    @Test("they are what a tree holds, however they are written")
    func property() throws {
        var random = SeededRandom(seed: 3)
        let texts = [
            "", "a", "Ġthe", "longer than eight bytes", "\u{1F600}", "quote\"", "back\\slash", "tab\t", "é\u{0}", "/",
        ]
        func pick<T>(_ values: [T]) -> T { values[Int(random.next() % UInt64(values.count))] }
        for round in 0..<200 {
            let space = round % 2 == 0 ? "" : pick(["", " ", "\n  ", "\t\r\n"])
            func quote(_ text: String) -> String {
                guard pick([true, false]) else { return JSONValue.text(text).serialized() }
                return "\""
                    + text.utf16.map { unit in
                        let digits = String(unit, radix: 16)
                        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                    }.joined() + "\""
            }
            let isObject = round % 3 == 0
            var rows: [[JSONValue]] = []
            var written: [String] = []
            for _ in 0..<pick([0, 1, 2, 9]) {
                let (first, second) = (pick(texts), pick(texts))
                if isObject {
                    let value: JSONValue = pick([
                        .integer(0), .integer(7), .integer(123_456_789), .integer(-5), .number(1.5),
                    ])
                    rows.append([.text(first), value])
                    written.append("\(quote(first))\(space):\(space)\(value.serialized())")
                } else if pick([true, false]) {
                    rows.append([.text(first)])
                    written.append(quote(first))
                } else {
                    rows.append([.text(first), .text(second)])
                    written.append("[\(space)\(quote(first))\(space),\(space)\(quote(second))\(space)]")
                }
            }
            let list = written.joined(separator: "\(space),\(space)")
            let text =
                "{\"m\":\(space){\"r\":" + (isObject ? "{\(space)\(list)\(space)}" : "[\(space)\(list)\(space)]") + "}}"
            try Self.withRows(text) { found in
                #expect(found.isObject == isObject)
                #expect(Self.tree(found) == rows, "\(text)")
            }
        }
    }

    @Test(
        "what a tree refuses they refuse, at the same place",
        arguments: [
            #"{"a": 1,}"#, #"{"a" 1}"#, #"{"a": 01}"#, #"{"a": 1 "b": 2}"#, #"{"a": 12x}"#, #"["a",]"#, #"["a" "b"]"#,
            #"["a", "b"#, #"[["a", "b"], ["c", "d"]"#, #"[["a", "b", ]]"#, "[\"a\nb\"]", #"["\x"]"#, #"[["a" "b"]]"#,
            #"{"a": 1"#, #"[,"a"]"#, #"{,"a": 1}"#,
        ])
    func refusals(rows: String) {
        func message(_ body: (String) throws -> Void) -> String { errorText { try body("{\"m\": {\"r\": \(rows)}}") } }
        let expected = message { _ = try JSONValue.parse(Array($0.utf8), file: "f") }
        func place(_ message: String) -> Substring { message.prefix { $0 != " " } }
        #expect(place(message { try Self.withRows($0) { _ in } }) == place(expected), "\(expected)")
    }

    @Test("elements that are no rows are told")
    func malformed() throws {
        let kinds = try Self.withRows(#"{"m": {"r": ["a", 1, ["b"], ["c", "d", "e"], [], {"f": 1}, ["g", null]]}}"#) {
            rows in
            (0..<rows.count).map { rows.second($0) }
        }
        #expect(kinds == [.none, .malformed, .malformed, .malformed, .malformed, .malformed, .other("null")])
    }
}
