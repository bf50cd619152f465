import Base
import Foundation
import Model
import Quant
import TestSupport
import Testing

/// Token ids and texts of Transformers' fast tokenizers (tools/make_encoder_fixture.py).
@Suite("Tokenizers of classifiers")
struct WordPieceTests {
    private static let fixtures = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/encoder")

    private static func bytes(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: fixtures.appendingPathComponent(path)))
    }

    private static func check(_ tokenizer: Tokenizer, _ rows: [JSONValue], _ name: String) throws {
        #expect(rows.count > 60)
        for row in rows {
            let text = try row.string("text", in: name)
            let ids = try row.array("ids", in: name).map { Int32(try #require($0.int)) }
            #expect(
                tokenizer.encode(text) == ids, "\(name): \(text.unicodeScalars.map { String($0.value, radix: 16) })")
            let decoded = try row.string("decoded", in: name)
            #expect(
                Array(tokenizer.decode(ids, skipSpecialTokens: true).utf8) == Array(decoded.utf8), "\(name): \(text)")
            var stream = tokenizer.streamingDecoder(skipSpecialTokens: true)
            let streamed = ids.map { stream.append($0) }.joined() + stream.finish()
            #expect(Array(streamed.utf8) == Array(decoded.utf8))
        }
    }

    private static func golden(_ name: String) throws -> JSONValue {
        try JSONValue.parse(try bytes("\(name)/golden.json"), file: "golden.json")
    }

    @Test(
        "BERT: ids and texts for every setting of the normalizer",
        arguments: ["uncased", "cased", "accents", "ideographs"])
    func bert(name: String) throws {
        let variant = try #require(try Self.golden("bert")["tokens"]?[name])
        var config = try #require(try JSONValue.parse(try Self.bytes("bert/tokenizer_config.json"), file: "c").object)
        for (key, value) in try #require(variant["options"]?.object).members {
            config = JSONObject(
                config.members.filter { $0.key != key }.map { ($0.key.string, $0.value) } + [(key.string, value)])
        }
        let tokenizer = try Tokenizer(
            json: try Self.bytes("bert/tokenizer.json"), config: Array(JSONValue.object(config).serialized().utf8))
        try Self.check(tokenizer, try variant.array("rows", in: name), name)
    }

    @Test("RoBERTa: ids and texts")
    func roberta() throws {
        let tokenizer = try Tokenizer(
            json: try Self.bytes("roberta/tokenizer.json"), config: try Self.bytes("roberta/tokenizer_config.json"))
        let rows = try #require(try Self.golden("roberta")["tokens"]?["plain"]).array("rows", in: "plain")
        try Self.check(tokenizer, rows, "roberta")
    }

    @Test("Without tokenizer.json the vocabulary files give the same tokens", arguments: ["bert", "roberta"])
    func vocabularyFiles(name: String) throws {
        try withTemporaryFolder { folder in
            let copy = folder.appendingPathComponent("m")
            try FileManager.default.copyItem(at: Self.fixtures.appendingPathComponent(name), to: copy)
            try FileManager.default.removeItem(at: copy.appendingPathComponent("tokenizer.json"))
            let variant = name == "bert" ? "uncased" : "plain"
            let rows = try #require(try Self.golden(name)["tokens"]?[variant]).array("rows", in: name)
            try Self.check(try Tokenizer(store: try openWeightStore(path: copy.path)), rows, name)
            let out = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .f32
            #expect(try convert(source: copy.path, destination: out, options: options).warnings.isEmpty)
            try Self.check(try Tokenizer(store: try openWeightStore(path: out)), rows, "\(name) in MQF")

            let file = name == "bert" ? "vocab.txt" : "merges.txt"
            for damage in [Data(), Data([0xFF, 0x0A]), Data("a b c\na\na\n".utf8)] {
                try damage.write(to: copy.appendingPathComponent(file))
                let error = #expect(throws: MeraserError.self) {
                    _ = try Tokenizer(store: try openWeightStore(path: copy.path))
                }
                #expect(error?.kind == .badInput && error?.message.contains(file) == true)
            }
        }
    }

    private static let small = """
        {"normalizer": {"type": "BertNormalizer", "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
         "post_processor": null, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}, "added_tokens": [],
         "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
          "max_input_chars_per_word": 5,
          "vocab": {"[UNK]": 0, "a": 1, "##a": 2, "ab": 3, "##b": 4, "##é": 5, "中": 6, ".": 7, "##": 8}}}
        """

    @Test("Longest first, by bytes; what cannot be spelled or is too long is unknown as a whole")
    func wordPieces() throws {
        let tokenizer = try Tokenizer(json: Array(Self.small.utf8), config: nil)
        let cases: [(String, [Int32])] = [
            ("ab", [3]), ("aba", [3, 2]), ("AbB", [3, 4]), ("aac", [0]), ("aaaaa", [1, 2, 2, 2, 2]), ("aaaaaa", [0]),
            ("a中b", [1, 6, 0]), ("a.a", [1, 7, 1]), ("aé", [1, 2]), ("", []), (" \u{0} ", []), ("ab ab", [3, 3]),
        ]
        // The accent goes with the case: é becomes e, which has no token.
        for (text, ids) in cases where text != "aé" { #expect(tokenizer.encode(text) == ids, "\(text)") }
        #expect(tokenizer.encode("aé") == [0])
        let accents = Self.small.replacingOccurrences(of: #""lowercase": true"#, with: #""strip_accents": false"#)
        #expect(try Tokenizer(json: Array(accents.utf8), config: nil).encode("aé") == [1, 5])
        #expect(tokenizer.decode([3, 2, 7, 1]) == "aba. a")
    }

    @Test("A text is cut to a length with its special tokens kept")
    func truncation() throws {
        let store = try openWeightStore(path: Self.fixtures.appendingPathComponent("bert").path)
        let tokenizer = try Tokenizer(store: store)
        let config = try EncoderSpec(json: try Self.bytes("bert/config.json"), file: "config.json")
        let whole = tokenizer.encode("the film is good")
        func cut(_ length: Int) -> ClassifierInput {
            config.input("the film is good", tokenizer: tokenizer, maxLength: length)
        }
        #expect(cut(whole.count) == ClassifierInput(tokens: whole))
        #expect(cut(3).isTruncated && cut(3).tokens == [whole[0], whole[1], whole[whole.count - 1]])
    }

    @Test(
        "One change, one clear error",
        arguments: [
            (#""[UNK]": 0"#, #""[unk]": 0"#, "[UNK]"), (#""unk_token": "[UNK]""#, #""unk_token": 3"#, "unk_token"),
            (#""ab": 3"#, #""ab": 1"#, "id 1"), (#""ab": 3"#, #""ab": -1"#, "-1"),
            (#""max_input_chars_per_word": 5"#, #""max_input_chars_per_word": 0"#, "max_input_chars_per_word"),
            (
                ###""continuing_subword_prefix": "##""###, #""continuing_subword_prefix": []"#,
                "continuing_subword_prefix"
            ),
            (#""BertNormalizer""#, #""BertNormaliser""#, "BertNormaliser"),
            (#""lowercase": true"#, #""lowercase": 1"#, "lowercase"), (#""vocab": {"#, #""vocab": 1, "x": {"#, "vocab"),
            (#""type": "WordPiece", "unk"#, #""type": "WordPieces", "unk"#, "WordPieces"),
        ])
    func hostile(old: String, new: String, named: String) throws {
        let changed = Self.small.replacingOccurrences(of: old, with: new)
        try #require(changed != Self.small)
        let error = #expect(throws: MeraserError.self) { _ = try Tokenizer(json: Array(changed.utf8), config: nil) }
        #expect(error?.kind == .badInput && error?.message.contains(named) == true, "\(String(describing: error))")
    }
}
