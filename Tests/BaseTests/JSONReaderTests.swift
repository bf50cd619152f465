import Base
import TestSupport
import Testing

private func parse(_ text: String) throws -> JSONValue { try JSONValue.parse(Array(text.utf8), file: "f.json") }

/// The message of the error that `body` throws, or nil.
private func message(_ body: () throws -> some Any) -> String? {
    do {
        _ = try body()
        return nil
    } catch let error as MeraserError {
        return error.kind == .badInput ? error.message : "kind \(error.kind)"
    } catch {
        return "other error: \(error)"
    }
}

private func bytesOfError(_ bytes: [UInt8]) -> String? { message { try JSONValue.parse(bytes, file: "f.json") } }

@Suite("JSON reader")
struct JSONReaderTests {
    @Test("Values of every kind")
    func values() throws {
        let value = try parse(
            #" { "a" : [ 1 , -2.5e1 , true , false , null ] , "" : { } , "t" : "x\"\\\/\b\f\n\r\tA" , "e":[]}"#)
        let object = try #require(value.object)
        #expect(object.count == 4)
        #expect(object.members.map(\.key.string) == ["a", "", "t", "e"])
        #expect(object["a"] == .array([.integer(1), .number(-25), .bool(true), .bool(false), .null]))
        #expect(object[""]?.object?.count == 0)
        #expect(value["t"]?.string == "x\"\\/\u{8}\u{c}\n\r\tA")
        #expect(object["e"] == .array([]))
        #expect(object["b"] == nil)
    }

    @Test(
        "Numbers: integers that fit stay integers, everything else is a finite double",
        arguments: [
            ("0", JSONValue.integer(0)), ("-0", .integer(0)), ("9223372036854775807", .integer(.max)),
            ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("-9223372036854775808", .integer(.min)),
            ("1.0", .number(1)), ("1E+2", .number(100)), ("1e-2", .number(0.01)), ("0.1", .number(0.1)),
            ("1000000000000000019884624838656", .number(1e30)), ("1e-400", .number(0)),
        ])
    func numbers(text: String, want: JSONValue) throws {
        #expect(try parse(text) == want)
    }

    @Test(
        "What RFC 8259 does not allow is refused with line, column and what was expected",
        arguments: [
            ("", "f.json:1:1: invalid JSON: expected a value, found the end of the file"),
            ("{\n \"a\": 1,\n}", "f.json:3:1: invalid JSON: expected a key in double quotes, found '}'"),
            ("[1,]", "f.json:1:4: invalid JSON: expected a value, found ']'"),
            ("[1 2]", "f.json:1:4: invalid JSON: expected ',' or ']', found '2'"),
            ("{\"a\" 1}", "f.json:1:6: invalid JSON: expected ':' after a key, found '1'"),
            ("{\"a\":1 \"b\":2}", "f.json:1:8: invalid JSON: expected ',' or '}', found '\"'"),
            ("{a:1}", "f.json:1:2: invalid JSON: expected a key in double quotes or '}', found 'a'"),
            ("1 x", "f.json:1:3: invalid JSON: expected the end of the file, found 'x'"),
            ("[1]]", "f.json:1:4: invalid JSON: expected the end of the file, found ']'"),
            ("NaN", "f.json:1:1: invalid JSON: expected a value, found 'N'"),
            ("-Infinity", "f.json:1:2: invalid JSON: expected a digit, found 'I'"),
            ("01", "f.json:1:2: invalid JSON: expected the end of a number, found '1'"),
            ("1.", "f.json:1:3: invalid JSON: expected a digit, found the end of the file"),
            (".5", "f.json:1:1: invalid JSON: expected a value, found '.'"),
            ("+1", "f.json:1:1: invalid JSON: expected a value, found '+'"),
            ("1e", "f.json:1:3: invalid JSON: expected a digit, found the end of the file"),
            ("0x10", "f.json:1:2: invalid JSON: expected the end of a number, found 'x'"),
            ("1e999", "f.json:1:1: invalid JSON: the number 1e999 is too large"),
            ("tru", "f.json:1:1: invalid JSON: expected 'true', found 't'"),
            ("\"abc", "f.json:1:5: invalid JSON: expected '\"' at the end of a string, found the end of the file"),
            (
                "\"a\nb\"",
                "f.json:1:3: invalid JSON: expected an escape in place of a control character in a string, "
                    + "found byte 0xA"
            ),
            (
                #""\x""#,
                "f.json:1:3: invalid JSON: expected one of \" \\ / b f n r t u after a backslash, found 'x'"
            ),
            (#""\u12g4""#, "f.json:1:6: invalid JSON: expected four hexadecimal digits, found 'g'"),
            (#""\ud800""#, "f.json:1:2: invalid JSON: an unpaired surrogate"),
            (#""\udc00""#, "f.json:1:2: invalid JSON: an unpaired surrogate"),
            (#""\ud800\u0041""#, "f.json:1:2: invalid JSON: an unpaired surrogate"),
            (
                "\u{FEFF}1",
                "f.json:1:1: invalid JSON: expected a value, found a byte order mark (save the file without it)"
            ),
            ("'a'", "f.json:1:1: invalid JSON: expected a value, found '''"),
            ("[1, // no\n2]", "f.json:1:5: invalid JSON: expected a value, found '/'"),
        ])
    func refused(text: String, want: String) {
        #expect(message { try parse(text) } == want)
    }

    @Test("Escaped characters, surrogate pairs included, equal the same characters written plainly")
    func escapes() throws {
        #expect(try parse(#""\ud83d\ude00\u00e9\u0000z""#).utf8 == [0xF0, 0x9F, 0x98, 0x80, 0xC3, 0xA9, 0, 0x7A])
        #expect(try parse("\"😀é\"") == parse(#""\uD83D\uDE00\u00E9""#))
    }

    @Test("Keys differ when their bytes do, and duplicates by bytes are refused")
    func keys() throws {
        let object = try #require(try parse("{\"\u{E9}\": 1, \"e\u{301}\": 2}").object)
        #expect(object["\u{E9}"] == .integer(1))
        #expect(object["e\u{301}"] == .integer(2))
        #expect(object.count == 2)
        let error = message { try parse("{\"a\": 1,\n \"\\u0061\": 2}") }
        #expect(error == "f.json:2:2: invalid JSON: duplicate key 'a'")
    }

    @Test("Objects of every size around the growth of the table find their keys and refuse duplicates")
    func tables() throws {
        for count in [1, 7, 8, 9, 15, 16, 17, 31, 64, 65, 1000] {
            let members = (0..<count).map { "\"key \($0)\": \($0)" }
            let object = try #require(try parse("{" + members.joined(separator: ",") + "}").object)
            #expect(object.count == count)
            #expect((0..<count).allSatisfy { object["key \($0)"] == .integer($0) })
            #expect(object["key \(count)"] == nil)
            let twice = members + ["\"key \(count / 2)\": 0"]
            #expect(message { try parse("{" + twice.joined(separator: ",") + "}") }?.contains("duplicate key") == true)
        }
    }

    @Test("64 levels are read, 65 refused")
    func depth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(throws: Never.self) { try parse(nested(64)) }
        #expect(message { try parse(nested(65)) } == "f.json:1:65: invalid JSON: nested deeper than 64 levels")
        #expect(message { try parse(String(repeating: "[", count: 1_000_000)) }?.contains("64 levels") == true)
    }

    @Test(
        "Ill-formed UTF-8 in a string is refused at its byte",
        arguments: [
            [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE0, 0x80, 0x80], [0xE2, 0x82],
            [0xED, 0xA0, 0x80],
            [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF],
        ] as [[UInt8]])
    func illFormed(bytes: [UInt8]) {
        let error = bytesOfError(Array("[\"padpadpadpad".utf8) + bytes + Array("\"]".utf8))
        #expect(error == "f.json:1:15: invalid JSON: a string is not valid UTF-8")
    }

    @Test("Every scalar at every offset to a word survives, plain and escaped")
    func scalars() throws {
        var random = SeededRandom(seed: 7)
        for round in 0..<300 {
            var plain = String(repeating: "x", count: round % 17)
            var escaped = plain
            for _ in 0..<Int.random(in: 0...12, using: &random) {
                let limit: UInt32 = [0x80, 0x800, 0x10000, 0x110000].randomElement(using: &random) ?? 0x80
                guard let scalar = Unicode.Scalar(UInt32.random(in: 0..<limit, using: &random)) else { continue }
                plain.unicodeScalars.append(scalar)
                for unit in String(scalar).utf16 {
                    let hex = String(unit, radix: 16)
                    escaped += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                }
                if scalar.value >= 0x20, scalar != "\"", scalar != "\\" {
                    #expect(
                        try parse("\"\(plain.filter { $0 >= " " && $0 != "\"" && $0 != "\\" })\"").kind == "a string")
                }
            }
            #expect(try parse("\"\(escaped)\"").utf8 == Array(plain.utf8))
        }
    }

    @Test("A cut or bit-flipped file gives a value or one badInput error, never a trap")
    func damaged() throws {
        let text = Array(
            #"{"a": [1, -2.5e+1, true, null], "é": {"b": "\u00e9\ud83d\ude00", "c": "é😀"}, "d": [[], {}]}"#.utf8)
        for cut in text.indices {
            let error = try #require(bytesOfError(Array(text[..<cut])))
            #expect(error.hasPrefix("f.json:1:"))
        }
        for index in text.indices {
            for bit in 0..<8 {
                var damaged = text
                damaged[index] ^= 1 << UInt8(bit)
                let error = bytesOfError(damaged)
                #expect(error == nil || error?.hasPrefix("f.json:") == true)
            }
        }
    }

    @Test("A file above the limit is refused before it is read")
    func limit() {
        let error = message { try JSONValue.parse(Array("[1, 2]".utf8), file: "f.json", maximumBytes: 5) }
        #expect(error == "f.json: 6 bytes of JSON, expected at most 5")
    }
}

@Suite("JSON requirements and lines")
struct JSONAccessTests {
    @Test("Required members name the file, the path and the type")
    func requirements() throws {
        let value = try parse(#"{"n": 3, "x": 1.5, "s": "t", "o": {"k": [1], "z": null}, "b": false}"#)
        #expect(try value.int("n", in: "c.json") == 3)
        #expect(try value.double("n", in: "c.json") == 3)
        #expect(try value.double("x", in: "c.json") == 1.5)
        #expect(try value.string("s", in: "c.json") == "t")
        #expect(try value.utf8("s", in: "c.json") == [0x74])
        #expect(try value.bool("b", in: "c.json") == false)
        #expect(try value.array("o", "k", in: "c.json") == [.integer(1)])
        #expect(try value.object("o", in: "c.json").count == 2)
        #expect(try value.intIfPresent("o", "z", in: "c.json") == nil)
        #expect(try value.intIfPresent("none", "deeper", in: "c.json") == nil)
        #expect(
            message { try value.int("o", "none", in: "c.json") } == "c.json: 'o.none' is missing, expected an integer")
        #expect(message { try value.int("x", in: "c.json") } == "c.json: 'x' is a number, expected an integer")
        #expect(
            message { try value.intIfPresent("s", in: "c.json") } == "c.json: 's' is a string, expected an integer")
        #expect(
            message { try value.int("n", "m", in: "c.json") }
                == "c.json: 'n' is an integer, expected an object with 'm'")
        #expect(
            message { try JSONValue.null.int("n", in: "c.json") }
                == "c.json: the top level is null, expected an object with 'n'")
    }

    @Test("A .jsonl file gives its values with line numbers and skips blank lines")
    func lines() throws {
        var lines = JSONLines(Array("{\"a\": 1}\r\n\n  \n[2]\n\"x\"".utf8), file: "d.jsonl")
        let all = try lines.all()
        #expect(all.map(\.line) == [1, 4, 5])
        #expect(all.map(\.value.kind) == ["an object", "an array", "a string"])
        var bad = JSONLines(Array("1\n\n[2,\n3]".utf8), file: "d.jsonl")
        #expect(message { try bad.all() } == "d.jsonl:3:4: invalid JSON: expected a value, found the end of the file")
        var empty = JSONLines([], file: "d.jsonl")
        #expect(try empty.all().isEmpty)
    }
}
