import Base
import Foundation
import Model
import TestSupport
import Testing

/// A small tokenizer.json with one line per component, to be changed by the tests.
private let valid = """
    {"added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false}],
     "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]},
     "pre_tokenizer": null,
     "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
     "decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Strip", "content": "_", "start": 1, "stop": 0}]},
     "model": {"type": "BPE", "unk_token": "<s>", "byte_fallback": true,
      "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "_": 4, "é": 5, "e\u{301}": 6},
      "merges": [["a", "b"]]}}
    """

private func message(_ json: [UInt8], config: String? = nil) -> String? {
    do {
        let tokenizer = try Tokenizer(json: json, config: config.map { Array($0.utf8) }, file: "t.json")
        // What loads must also work.
        let ids = tokenizer.encode("a b<s>ab \u{E9}\u{1F600}")
        _ = tokenizer.decode(ids)
        return nil
    } catch let error as MeraserError {
        return error.kind == .badInput ? error.message : "kind \(error.kind)"
    } catch {
        return "other error: \(error)"
    }
}

@Suite("Hostile tokenizer.json")
struct TokenizerHostileTests {
    @Test("The file that the other tests damage is a good one, and keys apart by bytes stay apart")
    func good() throws {
        let tokenizer = try Tokenizer(json: Array(valid.utf8), config: nil, file: "t.json")
        #expect(tokenizer.encode("ab é") == [0, 4, 3, 4, 5])
        #expect(tokenizer.id(ofToken: "\u{E9}") == 5)
        #expect(tokenizer.id(ofToken: "e\u{301}") == 6)
        #expect(tokenizer.decode([4, 3, 4, 5]) == "ab_é")
    }

    @Test(
        "One change, one clear error",
        arguments: [
            (#"[["a", "b"]]"#, #"[["a", "c"]]"#, "t.json: merge 0 names 'c', which is not in the vocabulary"),
            (#"[["a", "b"]]"#, #"[["b", "a"]]"#, "t.json: merge 0 names 'ba', which is not in the vocabulary"),
            (#"[["a", "b"]]"#, #"["ab"]"#, "t.json: merge 0 is not a pair of tokens"),
            (#"[["a", "b"]]"#, #"[["a", "b", "a"]]"#, "t.json: merge 0 is not a pair of tokens"),
            (#"[["a", "b"]]"#, #"[[1, 2]]"#, "t.json: merge 0 is not a pair of tokens"),
            (#""b": 2"#, #""b": 1"#, "t.json: id 1 is given to both 'a' and 'b'"),
            (#""b": 2"#, #""b": -1"#, "t.json: token 'b' has id -1, expected 0 to 65549"),
            (#""b": 2"#, #""b": 4000000000"#, "t.json: token 'b' has id 4000000000, expected 0 to 65549"),
            (#""b": 2"#, #""b": 1e99"#, "t.json: token 'b' has a number as its id, expected an integer"),
            (#""b": 2"#, #""b": "2""#, "t.json: token 'b' has a string as its id, expected an integer"),
            (#""b": 2"#, #""a": 2"#, "t.json: token 'a' occurs twice"),
            (#""unk_token": "<s>""#, #""unk_token": "?""#, "t.json: model.unk_token '?' is not in the vocabulary"),
            (
                #""unk_token": "<s>""#, #""dropout": 0.1"#,
                "t.json: model.dropout is set; expected none, tokens must not be random"
            ),
            (
                #""unk_token": "<s>""#, #""continuing_subword_prefix": "@@""#, "t.json: merge 0 is not a pair of tokens"
            ),
            (#""BPE""#, #""Rubber""#, "t.json: model type 'Rubber' is not supported yet"),
            (#""BPE""#, #""Unigram""#, "t.json: 'model.vocab' is an object, expected an array"),
            (#""Prepend""#, #""Rubber""#, "t.json: normalizer type 'Rubber' is not supported yet"),
            (
                #""Prepend""#, #""Precompiled", "precompiled_charsmap": "?""#,
                "t.json: precompiled_charsmap is no Base64"
            ),
            (
                #""Prepend""#, #""Precompiled", "precompiled_charsmap": "////AA==""#,
                "t.json: precompiled_charsmap says that its array has 16777215 bytes, of 4"
            ),
            (
                #"{"String": " "}"#, #"{"Regex": " *"}"#,
                "t.json: normalizer Replace: the pattern ' *' may match no character; `tokenizers` ends in errors then"
            ),
            (#"{"String": " "}"#, #"{"Regex": "("}"#, "t.json: normalizer pattern, character 1: '(' without ')'"),
            (
                #"{"String": " "}"#, #"{"String": ""}"#,
                "t.json: normalizer: 'pattern.String' is empty, expected some text"
            ),
            (
                #""pre_tokenizer": null"#, #""pre_tokenizer": {"type": "UnicodeScripts"}"#,
                "t.json: pre_tokenizer type 'UnicodeScripts' is not supported yet"
            ),
            (
                #""pre_tokenizer": null"#,
                #""pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a("}, "behavior": "Isolated"}"#,
                "t.json: pre_tokenizer pattern, character 2: '(' without ')'"
            ),
            (
                #""pre_tokenizer": null"#,
                #""pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Dropped"}"#,
                "t.json: pre_tokenizer Split has behavior 'Dropped', expected Removed, Isolated, MergedWithPrevious, "
                    + "MergedWithNext or Contiguous"
            ),
            (
                #"{"type": "TemplateProcessing""#, #"{"type": "BertProcessing", "cls": ["x", 99]"#,
                "t.json: post_processor.cls is not a token with its id"
            ),
            (
                #""pre_tokenizer": null"#, #""pre_tokenizer": 7"#,
                "t.json: the top level is an integer, expected an object with 'type'"
            ),
            (
                #""pre_tokenizer": null"#, #""pre_tokenizer": {"type": "Metaspace", "replacement": "__"}"#,
                "t.json: 'replacement' is '__', expected one character"
            ),
            (
                #""pre_tokenizer": null"#,
                #""pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "often"}"#,
                "t.json: prepend_scheme 'often' is not one of always, first, never"
            ),
            (
                #""TemplateProcessing""#, #""RubberProcessing""#,
                "t.json: post_processor type 'RubberProcessing' is not supported yet"
            ),
            (#""ids": [0]"#, #""ids": [7]"#, "t.json: post_processor names '<s>' with id 7, which is no token"),
            (
                #""ids": [0]"#, #""ids": [99999999999]"#,
                "t.json: post_processor names '<s>' with id 99999999999, which is no token"
            ),
            (#""id": "A""#, #""id": "B""#, "t.json: post_processor.single has a sequence other than one A"),
            (#""type": "Fuse""#, #""type": "Rubber""#, "t.json: decoder type 'Rubber' is not supported yet"),
            (
                #""type": "Fuse""#, #""type": "BPEDecoder", "suffix": """#,
                "t.json: decoder BPEDecoder has an empty suffix, expected some text"
            ),
            (#""start": 1"#, #""start": -1"#, "t.json: decoder Strip has start -1, stop 0, expected 0 or more"),
            (#"[{"id": 0"#, #"[{"id": 1"#, "t.json: added token '<s>' has id 1, but 0 in the vocabulary"),
            (
                #""content": "<s>""#, #""content": "<t>""#,
                "t.json: added token '<t>' has id 0, which is '<s>' in the vocabulary"
            ),
            (
                #"[{"id": 0, "content": "<s>""#, #"[{"id": 2000000000, "content": "<t>""#,
                "t.json: added token '<t>' has id 2000000000, expected 0 to 65551"
            ),
            (#"[{"id": 0"#, #"[{"id": -5"#, "t.json: added token '<s>' has id -5, expected 0 or more"),
            (
                #"[{"id": 0"#, #"[{"id": 9, "content": "x"}, {"id": 9, "content": "y"}, {"id": 0"#,
                "t.json: id 9 is given to both 'x' and 'y'"
            ),
            (
                #"[{"id": 0"#, #"[{"id": 9, "content": "x"}, {"id": 9, "content": "x"}, {"id": 0"#,
                "t.json: added token 'x' occurs twice"
            ),
            (#""vocab""#, #""vokab""#, "t.json: 'model.vocab' is missing, expected an object"),
        ])
    func changed(from: String, to: String, want: String) throws {
        #expect(valid.contains(from))
        #expect(message(Array(valid.replacing(from, with: to, maxReplacements: 1).utf8)) == want)
    }

    @Test("tokenizer_config.json changes flags, names special tokens and drives Llama's post-processor")
    func config() throws {
        func tokenizer(_ config: String) throws -> Tokenizer {
            try Tokenizer(json: Array(valid.utf8), config: Array(config.utf8), file: "t.json")
        }
        let named = try tokenizer(#"{"bos_token": {"content": "<s>"}, "eos_token": "b", "pad_token": "none"}"#)
        #expect(named.bosID == 0)
        #expect(named.eosID == 2)
        // What the vocabulary lacks is added behind it.
        #expect(
            named.padID == Int32(named.vocabularySize - 1) && named.encode("none", addSpecialTokens: false).count == 1)
        #expect(named.isSpecial(2))
        let llama = try tokenizer(
            #"{"bos_token": "<s>", "eos_token": "b", "tokenizer_class": "LlamaTokenizer", "add_bos_token": false, "add_eos_token": true}"#
        )
        #expect(llama.encode("a") == [4, 1, 2])
        let stripping = try tokenizer(
            #"{"added_tokens_decoder": {"0": {"content": "<s>", "rstrip": true, "special": true}}}"#)
        #expect(stripping.encode("<s> a", addSpecialTokens: false) == [0, 4, 1])
        #expect(
            message(Array(valid.utf8), config: #"{"tokenizer_class": "LlamaTokenizerFast", "bos_token": null}"#)
                == "tokenizer_config.json: add_bos_token is true but bos_token is no known token")
        #expect(
            message(Array(valid.utf8), config: #"{"added_tokens_decoder": {"x": {"content": "<s>"}}}"#)
                == "tokenizer_config.json: 'added_tokens_decoder.x' is not an id")
        #expect(
            message(Array(valid.utf8), config: #"{"bos_token": 1}"#)
                == "tokenizer_config.json: 'bos_token' is an integer, expected a token")
    }

    private func steps(_ key: String, _ list: String, _ step: String, _ count: Int) -> String {
        let all = Array(repeating: step, count: count).joined(separator: ",")
        return #""\#(key)": {"type": "Sequence", "\#(list)": [\#(all)]}, "model""#
    }

    @Test(
        "Steps that make gigabytes out of a word, or that are too many, are refused",
        arguments: [
            ("normalizer", "normalizers", #"{"type": "Replace", "pattern": {"String": "_"}, "content": "______"}"#, 30),
            ("normalizer", "normalizers", #"{"type": "Prepend", "prepend": "____________________"}"#, 60),
            ("normalizer", "normalizers", #"{"type": "NFKD"}"#, 10),
            ("normalizer", "normalizers", #"{"type": "StripAccents"}"#, 100_000),
            ("pre_tokenizer", "pretokenizers", #"{"type": "ByteLevel", "use_regex": false}"#, 40),
            ("pre_tokenizer", "pretokenizers", #"{"type": "Metaspace", "replacement": "_"}"#, 2000),
            ("pre_tokenizer", "pretokenizers", #"{"type": "Digits"}"#, 100_000),
            ("decoder", "decoders", #"{"type": "Replace", "pattern": {"String": "_"}, "content": "__"}"#, 33),
            ("decoder", "decoders", #"{"type": "ByteFallback"}"#, 100_000),
            (
                "post_processor", "processors", #"{"type": "BertProcessing", "cls": ["a", 1], "sep": ["b", 2]}"#,
                100_000
            ),
        ])
    func growth(key: String, list: String, step: String, count: Int) throws {
        let bare = #"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "_": 3}, "merges": []}}"#
        let refusal = message(Array(bare.replacing("\"model\"", with: steps(key, list, step, count)).utf8))
        #expect(refusal?.hasPrefix("t.json: \(key) ") == true, "\(refusal ?? "accepted")")
        #expect(message(Array(bare.replacing("\"model\"", with: steps(key, list, step, 1)).utf8)) == nil)
    }

    @Test("A value of 100 KB is quoted by its beginning and its end")
    func longValues() throws {
        let long = String(repeating: "x", count: 100_000)
        for (from, to) in [
            (#""Prepend""#, "\"\(long)\""), (#"[["a", "b"]]"#, "[[\"\(long)\", \"b\"]]"),
            (#""unk_token": "<s>""#, "\"unk_token\": \"\(long)\""),
            (#""id": "<s>", "type_id""#, "\"id\": \"\(long)\", \"type_id\""),
            (#""b": 2"#, "\"\(long)\": 1"),
        ] {
            let text = message(Array(valid.replacing(from, with: to, maxReplacements: 1).utf8))
            #expect(text?.count ?? .max < 2100, "\(from): \(text?.prefix(300) ?? "accepted")")
        }
    }

    @Test("A file cut anywhere or with any bit flipped loads or gives one error that names it, never a trap")
    func damaged() {
        let bytes = Array(valid.utf8)
        for cut in bytes.indices {
            #expect(message(Array(bytes[..<cut]))?.hasPrefix("t.json:") == true)
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << UInt8(bit)
                let error = message(damaged)
                #expect(error == nil || error?.hasPrefix("t.json:") == true, "\(error ?? "")")
            }
        }
    }
}
