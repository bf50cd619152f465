import Base
import Foundation
import Model
import TestSupport
import Testing

private func fixture(_ name: String) throws -> JSONValue {
    let url = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/\(name)")
    return try JSONValue.parse([UInt8](Data(contentsOf: url)), file: name)
}

private func tinychat() throws -> Tokenizer {
    func file(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: tinychatFolder().appendingPathComponent(name)))
    }
    return try Tokenizer(json: try file("tokenizer.json"), config: try file("tokenizer_config.json"))
}

extension JSONValue {
    fileprivate var ids: [Int32]? { array?.compactMap { $0.int.map(Int32.init) } }
}

/// The streamed pieces of those ids, joined.
private func streamed(_ tokenizer: Tokenizer, _ ids: [Int32], skip: Bool = false) -> String {
    var decoder = tokenizer.streamingDecoder(skipSpecialTokens: skip)
    var text = ""
    for id in ids { text += decoder.append(id) }
    return text + decoder.finish()
}

/// Compares by bytes: `String` holds canonically equivalent texts equal.
private func same(_ a: String, _ b: String) -> Bool { Array(a.utf8) == Array(b.utf8) }

@Suite("Tokenizer")
struct TokenizerTests {
    @Test("Ids and texts equal Transformers' on every golden vector of the bundled model")
    func goldens() throws {
        let tokenizer = try tinychat()
        let vectors = try #require(try fixture("tinychat_tokenizer_vectors.json").array)
        #expect(vectors.count == 40)
        for vector in vectors {
            let text = try #require(vector["text"]?.string)
            let bare = try #require(vector["ids_no_special"]?.ids)
            let decoded = try #require(vector["decoded"]?.string)
            #expect(tokenizer.encode(text) == vector["ids"]?.ids, "\(text)")
            #expect(tokenizer.encode(text, addSpecialTokens: false) == bare, "\(text)")
            #expect(tokenizer.encode(utf8: Array(text.utf8), addSpecialTokens: false) == bare)
            #expect(same(tokenizer.decode(bare), decoded))
            #expect(same(streamed(tokenizer, bare), decoded))
        }
    }

    @Test("The bundled tokenizer's special tokens and sizes")
    func properties() throws {
        let tokenizer = try tinychat()
        #expect(tokenizer.vocabularySize == 4096)
        #expect(tokenizer.bosID == 1)
        #expect(tokenizer.eosID == 2)
        #expect(tokenizer.unkID == 0)
        #expect(tokenizer.padID == nil)
        #expect((0..<4).map { tokenizer.isSpecial(Int32($0)) } == [true, true, true, false])
        #expect(tokenizer.tokenBytes(3) == Array("<0x00>".utf8))
        #expect(tokenizer.tokenBytes(4096) == [])
        #expect(tokenizer.tokenBytes(-1) == [])
        #expect(tokenizer.id(ofToken: "</s>") == 2)
        #expect(tokenizer.id(ofToken: "nope nope") == nil)
        #expect(tokenizer.decode([1, 3834, 2, -7, 99_999], skipSpecialTokens: true) == "Hello")
        #expect(tokenizer.decode([1, 3834, 2]) == "<s> Hello</s>")
    }

    @Test("Components that the bundled tokenizer lacks: ids and texts equal those of Hugging Face's library")
    func variants() throws {
        let variants = try #require(try fixture("tokenizer_variants.json").array)
        #expect(variants.count == 23)
        for variant in variants {
            let name = try #require(variant["name"]?.string)
            let tokenizer = try Tokenizer(json: try #require(variant["tokenizer"]?.utf8), config: nil)
            for entry in try #require(variant["cases"]?.array) {
                let row = try #require(entry.array)
                let text = try #require(row[0].string)
                #expect(tokenizer.encode(text) == row[1].ids, "\(name): \(text.debugDescription)")
                #expect(tokenizer.encode(text, addSpecialTokens: false) == row[2].ids, "\(name)")
                let ids = try #require(row[1].ids)
                try expectTexts(tokenizer, ids, row[3], row[4], name)
                #expect(same(streamed(tokenizer, ids), try #require(row[3].string)), "\(name)")
                #expect(same(streamed(tokenizer, ids, skip: true), try #require(row[4].string)), "\(name)")
            }
            for entry in try #require(variant["decodes"]?.array) {
                let row = try #require(entry.array)
                try expectTexts(tokenizer, try #require(row[0].ids), row[1], row[2], name)
            }
        }
    }

    private func expectTexts(
        _ tokenizer: Tokenizer, _ ids: [Int32], _ kept: JSONValue, _ skipped: JSONValue, _ name: String
    ) throws {
        #expect(same(tokenizer.decode(ids), try #require(kept.string)), "\(name): \(ids)")
        #expect(same(tokenizer.decode(ids, skipSpecialTokens: true), try #require(skipped.string)), "\(name): \(ids)")
    }

    @Test("decode(encode(s)) is s for random Unicode, streamed or not; its ids are tokens")
    func roundTrip() throws {
        let tokenizer = try tinychat()
        var random = SeededRandom(seed: 11)
        for _ in 0..<200 {
            var text = ""
            for _ in 0..<Int.random(in: 0...24, using: &random) {
                let limit: UInt32 = [0x80, 0x80, 0x800, 0x10000, 0x110000].randomElement(using: &random) ?? 0x80
                // The mark is what a space becomes, so it comes back as one.
                guard let scalar = Unicode.Scalar(UInt32.random(in: 0..<limit, using: &random)), scalar != "\u{2581}"
                else { continue }
                text.unicodeScalars.append(scalar)
            }
            let ids = tokenizer.encode(text, addSpecialTokens: false)
            #expect(ids.allSatisfy { (0..<4096).contains($0) })
            #expect(same(tokenizer.decode(ids), text), "\(text.debugDescription)")
            #expect(same(streamed(tokenizer, ids), text), "\(text.debugDescription)")
        }
    }

    @Test("Every token decodes on its own to its text, bytes beyond ASCII to U+FFFD")
    func everyToken() throws {
        let tokenizer = try tinychat()
        for id in Int32(3)..<4096 {
            let token = String(decoding: tokenizer.tokenBytes(id), as: UTF8.self)
            var want = token.replacing("\u{2581}", with: " ")
            if id < 259 {
                let byte = UInt8(id - 3)
                want = byte < 0x80 ? String(Unicode.Scalar(byte)) : "\u{FFFD}"
            }
            if want.unicodeScalars.first == " " { want.unicodeScalars.removeFirst() }
            #expect(same(tokenizer.decode([id]), want), "\(id)")
        }
    }

    @Test("Streaming holds back unfinished characters and gives U+FFFD for what cannot become one")
    func streaming() throws {
        let tokenizer = try tinychat()
        func byte(_ value: Int32) -> Int32 { value + 3 }
        var decoder = tokenizer.streamingDecoder()
        #expect(decoder.append(byte(0xF0)) == "")
        #expect(decoder.append(byte(0x9F)) == "")
        #expect(decoder.append(byte(0x99)) == "")
        #expect(decoder.append(byte(0x82)) == "🙂")
        #expect(decoder.append(byte(0xE2)) == "")
        #expect(decoder.append(byte(0x41)) == "\u{FFFD}A")
        #expect(decoder.append(byte(0xFF)) == "\u{FFFD}")
        #expect(decoder.append(byte(0xC3)) == "")
        #expect(decoder.append(3834) == "\u{FFFD} Hello")
        #expect(decoder.append(byte(0xC3)) == "")
        #expect(decoder.finish() == "\u{FFFD}")
        // A run that is no UTF-8 as a whole is replaced byte by byte, its good characters too, as the library does.
        #expect(tokenizer.decode([byte(0xC3), byte(0xA9), byte(0xFF)]) == "\u{FFFD}\u{FFFD}\u{FFFD}")
        #expect(tokenizer.decode([byte(0xC3), byte(0xA9)]) == "é")
    }

    @Test("Ill-formed UTF-8 is repaired before it is tokenized")
    func illFormed() throws {
        let tokenizer = try tinychat()
        #expect(tokenizer.encode(utf8: [0x61, 0xFF, 0x62]) == tokenizer.encode("a\u{FFFD}b"))
    }

    @Test("A long text without spaces takes n log n, not n squared")
    func longText() throws {
        let tokenizer = try tinychat()
        let text = String(repeating: "abcdefghij", count: 2000)
        let ids = tokenizer.encode(text, addSpecialTokens: false)
        #expect(tokenizer.decode(ids) == text)
    }
}
