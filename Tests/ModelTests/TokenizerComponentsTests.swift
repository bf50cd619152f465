import Base
import Foundation
import Model
import TestSupport
import Testing

/// Every part of tokenizer.json that is served, as `tokenizers` 0.22 does it: tools/check_tokenizers.py --fixture writes
/// the vectors, and compares thousands of texts without it.
@Suite("Components of tokenizer.json")
struct TokenizerComponentsTests {
    /// `object` with those members in the place of its own.
    private func replacing(_ object: JSONValue, _ parts: JSONValue?) throws -> JSONValue {
        let members = try #require(object.object).members
        let changes = parts?.object
        var result = members.map { (key: $0.key.string, value: changes?[$0.key] ?? $0.value) }
        for (key, value) in changes?.members ?? [] where object[key.string] == nil {
            result.append((key.string, value))
        }
        return .object(JSONObject(result))
    }

    @Test("Ids and texts are those of Hugging Face's library for each part, switch and order of decoders")
    func components() throws {
        let url = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/tokenizer_components.json")
        let root = try JSONValue.parse([UInt8](try Data(contentsOf: url)), file: "tokenizer_components.json")
        let bases = try #require(root["bases"]?.array)
        let vectors = try #require(root["vectors"]?.array)
        #expect(vectors.count > 150)
        var refused: [String] = []
        for vector in vectors {
            let name = try #require(vector["name"]?.string)
            var json = try replacing(bases[try #require(vector["base"]?.int)], vector["parts"])
            let model = try replacing(try #require(json["model"]), vector["model"])
            json = try replacing(json, ["model": model])
            let tokenizer: Tokenizer
            do {
                tokenizer = try Tokenizer(json: Array(json.serialized().utf8), config: nil)
            } catch let error as MeraserError {
                refused.append("\(name): \(error.message)")
                continue
            }
            for entry in try #require(vector["cases"]?.array) {
                let values = try #require(entry.array)
                let text = try #require(values[0].utf8)
                let want = try #require(values[1].array).compactMap(\.int).map { Int32($0) }
                let shown = String(decoding: text, as: UTF8.self).debugDescription
                #expect(tokenizer.encode(utf8: text) == want, "\(name): \(shown)")
                #expect(Array(tokenizer.decode(want).utf8) == values[2].utf8, "\(name): \(shown)")
                #expect(
                    Array(tokenizer.decode(want, skipSpecialTokens: true).utf8) == values[3].utf8, "\(name): \(shown)")
                try expectStream(tokenizer, want, name)
            }
        }
        #expect(
            refused == ["pre UnicodeScripts: tokenizer.json: pre_tokenizer type 'UnicodeScripts' is not supported yet"])
    }

    @Test(
        "Characters that Unicode has moved to another category are what the tables of `tokenizers` have",
        arguments: [
            (#""normalizer": {"type": "StripAccents"}"#, "\u{1CF2}a\u{111C9}", [3] as [Int32]),
            (#""normalizer": {"type": "BertNormalizer", "strip_accents": true}"#, "\u{1CF2}a\u{111C9}", [2, 3]),
            (#""normalizer": {"type": "BertNormalizer", "strip_accents": true}"#, "a\u{1734}\u{1171E}\u{111C9}", [3]),
            (#""pre_tokenizer": {"type": "BertPreTokenizer"}"#, "\u{1CF2}a\u{111C9}", [2, 0, 1]),
        ])
    func movedCharacters(part: String, text: String, want: [Int32]) throws {
        let vocabulary = "{\"a\": 0, \"\u{111C9}\": 1, \"\u{1CF2}\": 2, \"a\u{111C9}\": 3}"
        let json = "{\(part), \"model\": {\"type\": \"BPE\", \"vocab\": \(vocabulary), \"merges\": [\"a \u{111C9}\"]}}"
        #expect(try Tokenizer(json: Array(json.utf8), config: nil).encode(text) == want)
    }

    /// The pieces of a stream are the text, but for U+FFFD: a stream cannot know that a run of bytes ends ill-formed.
    private func expectStream(_ tokenizer: Tokenizer, _ ids: [Int32], _ name: String) throws {
        var decoder = tokenizer.streamingDecoder()
        let text = ids.map { decoder.append($0) }.joined() + decoder.finish()
        let want = tokenizer.decode(ids)
        guard !want.unicodeScalars.contains("\u{FFFD}") else { return }
        #expect(Array(text.utf8) == Array(want.utf8), "\(name): streamed")
    }

    @Test("A long text is cut as short ones are: words found again, words without end, many kinds of characters")
    func longTexts() throws {
        let folder = tinychatFolder()
        let json = [UInt8](try Data(contentsOf: folder.appendingPathComponent("tokenizer.json")))
        let tokenizer = try Tokenizer(json: json, config: nil)
        let words = ["The", " cat", " sat.", "\n", "  ", " é", " 漢字", "x", " <b>", " 12"]
        var random = SeededRandom(seed: 5)
        for _ in 0..<20 {
            let text = (0..<40).map { _ in words[Int(random.next() % UInt64(words.count))] }.joined()
            // The same word ahead of it: what is behind a new line begins anew.
            let alone = tokenizer.encode(text, addSpecialTokens: false)
            let twice = tokenizer.encode(text + "\n" + text, addSpecialTokens: false)
            #expect(tokenizer.decode(twice) == text + "\n" + text)
            #expect(twice.starts(with: alone.dropLast(4)))
        }
        let run = String(repeating: "ab", count: 20_000)
        #expect(tokenizer.decode(tokenizer.encode(run, addSpecialTokens: false)) == run)
    }
}
