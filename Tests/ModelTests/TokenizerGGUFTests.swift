import Base
import Foundation
import Model
import Quant
import TestSupport
import Testing

/// The tokenizer of a GGUF file with that metadata and no tensors.
private func tokenizer(_ metadata: Metadata) throws -> Tokenizer {
    try Tokenizer(store: try GGUFTextFiles(metadata: metadata, tensors: [], path: "v.gguf"))
}

@Suite("Tokenizer from GGUF")
struct TokenizerGGUFTests {
    /// llama.cpp's vectors of one vocabulary: a text and its ids without BOS.
    private static func vectors(_ path: String) throws -> [(text: Data, ids: [Int32])] {
        var rest = try Data(contentsOf: URL(fileURLWithPath: path + ".inp"))[...]
        var texts: [Data] = []
        while let range = rest.range(of: Data("\n__ggml_vocab_test__\n".utf8)) {
            texts.append(Data(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        texts.append(Data(rest))
        let output = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path + ".out")), as: UTF8.self)
        let lines = output.split(separator: "\n", omittingEmptySubsequences: false)
        return zip(texts, lines).map { text, line in (text, line.split(separator: " ").compactMap { Int32($0) }) }
    }

    @Test(
        "Every llama.cpp vector: the ids, and the text back",
        .enabled(if: sharedFolder() != nil, "the shared folder is not on this machine"),
        arguments: ["llama-spm", "phi-3", "llama-bpe", "gpt-2", "mpt", "qwen2"])
    func vectors(name: String) throws {
        let path = try #require(sharedFolder()).appendingPathComponent("vocab/ggml-vocab-\(name).gguf").path
        let tokenizer = try Tokenizer(store: try openTextFiles(path: path))
        let vectors = try Self.vectors(path)
        #expect(vectors.count == 47)
        for (text, want) in vectors {
            let got = tokenizer.encode(utf8: [UInt8](text), addSpecialTokens: false)
            #expect(got == want, "\(String(decoding: text, as: UTF8.self).debugDescription)")
            #expect(Data(tokenizer.decode(got).utf8) == text)
        }
        switch name {
        case "llama-spm":
            #expect(tokenizer.vocabularySize == 32_000)
            #expect((tokenizer.bosID, tokenizer.eosID, tokenizer.unkID) == (1, 2, 0))
            #expect(tokenizer.encode("<s>a</s>") == [1, 1, 263, 2])
        case "llama-bpe":
            #expect(tokenizer.vocabularySize == 128_256)
            // The file has no add_bos_token: llama.cpp adds BOS for this pre-tokenizer.
            #expect(tokenizer.encode("<|eot_id|>a") == [128_000, 128_009, 64])
            #expect(tokenizer.decode([128_000, 64], skipSpecialTokens: true) == "a")
        case "phi-3":
            // llama-tokenize's: Phi 3's control tokens take the white space behind them.
            #expect(
                tokenizer.encode("<|user|>\n hi<|end|>\n<|assistant|>\n<s> a", addSpecialTokens: false)
                    == [32_010, 7251, 32_007, 32_001, 1, 29_871, 263])
        case "qwen2":
            #expect(tokenizer.encode("e\u{301}") == tokenizer.encode("\u{E9}"))
        default:
            break
        }
    }

    /// A byte-level vocabulary: all bytes, then the tokens of the merges, then some more.
    private func byteLevel(_ pre: String, merges: [String], more: [(text: String, type: Int32)] = []) -> Metadata {
        // GPT-2's spelling: printable Latin-1 as it is, the 68 others from U+0100.
        var next: UInt32 = 0x100
        var tokens = (UInt32(0)..<256).map { byte in
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            defer { if !isPrintable { next += 1 } }
            return String(Unicode.Scalar(isPrintable ? byte : next) ?? " ")
        }
        tokens += merges.map { $0.replacing(" ", with: "") } + more.map(\.text)
        var metadata = Metadata()
        metadata["general.architecture"] = .string("llama")
        metadata["tokenizer.ggml.model"] = .string("gpt2")
        metadata["tokenizer.ggml.pre"] = .string(pre)
        metadata["tokenizer.ggml.tokens"] = .array(.string(tokens))
        metadata["tokenizer.ggml.token_type"] =
            .array(.int32([Int32](repeating: 1, count: tokens.count - more.count) + more.map(\.type)))
        metadata["tokenizer.ggml.merges"] = .array(.string(merges))
        return metadata
    }

    // Ids by hand: a byte is its own id, " a" (256), "12" (257), "ab" (258), "abab" (259, no merge makes it).
    @Test(
        "Each pre-tokenizer cuts words in its own way",
        arguments: [
            ("gpt-2", "ab 12 12", [258, 32, 257, 32, 257] as [Int32]),
            ("smollm", "ab 12 12", [258, 32, 49, 50, 32, 49, 50]),
            ("llama-bpe", "ab 12 12", [258, 32, 257, 32, 257]),
            ("qwen2", "ab 12 12", [258, 32, 49, 50, 32, 49, 50]),
            ("gpt-2", " a.a", [256, 46, 97]),
            ("llama-bpe", ".abab", [46, 258, 258]),
            ("llama-bpe", "abab", [259]),
            ("smaug-bpe", "abab", [258, 258]),
            ("qwen2", "abab", [258, 258]),
            ("tekken", "abab", [259]),
            ("tekken", "abAB12", [258, 65, 66, 49, 50]),
            ("deepseek-coder", "12 ab", [49, 50, 256, 98]),
            ("mpt", "e\u{301}", [0xC3, 0xA9]),
            ("gpt-2", "e\u{301}", [0x65, 0xCC, 0x81]),
        ])
    func words(pre: String, text: String, want: [Int32]) throws {
        let merges = ["Ġ a", "1 2", "a b"]
        var metadata = byteLevel(pre, merges: merges, more: [("abab", 1), ("<s>", 3)])
        metadata["tokenizer.ggml.bos_token_id"] = .uint32(260)
        let tokenizer = try tokenizer(metadata)
        #expect(tokenizer.encode(text, addSpecialTokens: false) == want)
        #expect(tokenizer.encode(text) == (["llama-bpe", "tekken"].contains(pre) ? [260] : []) + want)
    }

    @Test("A token's type says how it is found and whether it is shown")
    func tokenTypes() throws {
        let metadata = byteLevel(
            "gpt-2", merges: [], more: [("<c>", 3), ("<u>", 4), ("<n>", 1), ("<x>", 5), ("<?>", 2)])
        let tokenizer = try tokenizer(metadata)
        #expect(tokenizer.encode("<c><u><?>") == [256, 257, 260])
        #expect(tokenizer.encode("<n>") == [60, 110, 62])
        #expect(tokenizer.encode("<x>") == [60, 120, 62])
        #expect(tokenizer.decode([256, 257, 258, 260], skipSpecialTokens: true) == "<u><n>")
    }

    /// Unknown, BOS, EOS, all bytes, then those tokens with their scores.
    private func sentencePiece(_ tokens: [(text: String, score: Float)]) -> Metadata {
        let bytes = (0..<256).map { "<0x\($0 < 16 ? "0" : "")\(String($0, radix: 16).uppercased())>" }
        let texts = ["<unk>", "<s>", "</s>"] + bytes + tokens.map(\.text)
        var metadata = Metadata()
        metadata["general.architecture"] = .string("llama")
        metadata["tokenizer.ggml.model"] = .string("llama")
        metadata["tokenizer.ggml.tokens"] = .array(.string(texts))
        metadata["tokenizer.ggml.token_type"] =
            .array(
                .int32([2, 3, 3] + [Int32](repeating: 6, count: 256) + [Int32](repeating: 1, count: tokens.count)))
        metadata["tokenizer.ggml.scores"] =
            .array(.float32([Float](repeating: 0, count: 259) + tokens.map(\.score)))
        return metadata
    }

    @Test("SentencePiece's scores decide what merges, bytes stand for the rest")
    func scores() throws {
        // "abc" is "a" + "bc" since "bc" has the higher score, though "ab" is a token.
        var metadata = sentencePiece([
            ("\u{2581}", -9), ("a", -9), ("b", -9), ("c", -9), ("ab", -2), ("bc", -1), ("\u{2581}a", -3), ("abc", -4),
        ])
        let plain = try tokenizer(metadata)
        #expect(plain.encode("abc") == [1, 265, 264])
        #expect(plain.encode("ab", addSpecialTokens: false) == [259, 263])
        #expect(plain.encode("é", addSpecialTokens: false) == [259, 3 + 0xC3, 3 + 0xA9])
        #expect(plain.decode([265, 264]) == "abc")
        metadata["tokenizer.ggml.add_space_prefix"] = .bool(false)
        metadata["tokenizer.ggml.add_bos_token"] = .bool(false)
        metadata["tokenizer.ggml.add_eos_token"] = .bool(true)
        let bare = try tokenizer(metadata)
        #expect(bare.encode("abc") == [266, 2])
        #expect(bare.decode([259, 266]) == " abc")
    }

    @Test("Where all scores are equal, merges go in the order of the vocabulary, as they were learned")
    func equalScores() throws {
        let tokens = ["\u{2581}", "a", "b", "c", "bc", "ab"]
        let tokenizer = try tokenizer(sentencePiece(tokens.map { ($0, -1000) }))
        // The leftmost pair would be "ab".
        #expect(tokenizer.encode("abc", addSpecialTokens: false) == [259, 260, 263])
    }

    @Test("Metadata that does not fit gives one error that names the key")
    func badMetadata() throws {
        var metadata = Metadata()
        func message() -> String? {
            do {
                _ = try tokenizer(metadata)
                return nil
            } catch { return (error as? MeraserError)?.message }
        }
        #expect(
            message()
                == "v.gguf: tokenizer.json is missing; expected a Hugging Face tokenizer beside the weights")
        metadata["tokenizer.ggml.model"] = .string("bert")
        #expect(
            message()
                == "v.gguf: tokenizer.ggml.model is 'bert'; supported are 'llama' (SentencePiece's BPE) and 'gpt2' "
                + "(byte-level BPE)")
        metadata["tokenizer.ggml.model"] = .string("gpt2")
        #expect(message() == "v.gguf: tokenizer.ggml.tokens is missing or no array of strings")
        metadata["tokenizer.ggml.tokens"] = .array(.string(["a", "b", "a"]))
        #expect(
            message()?.hasPrefix("v.gguf: tokenizer.ggml.pre is missing; known are gpt-2, phi-2, jais, jina-es,")
                == true)
        metadata["tokenizer.ggml.pre"] = .string("nonsense")
        #expect(message()?.hasPrefix("v.gguf: tokenizer.ggml.pre is 'nonsense'; known are gpt-2,") == true)
        metadata["tokenizer.ggml.pre"] = .string("gpt-2")
        #expect(message() == "v.gguf: tokenizer.ggml.merges is missing or no array of strings")
        metadata["tokenizer.ggml.merges"] = .array(.string(["a b"]))
        #expect(message() == "v.gguf: token 'a' occurs twice")
        metadata["tokenizer.ggml.tokens"] = .array(.string(["a", "b", "ab"]))
        #expect(message() == nil)
        metadata["tokenizer.ggml.merges"] = .array(.string(["a b", "b c"]))
        #expect(message() == "v.gguf: tokenizer.json: merge 1 names 'c', which is not in the vocabulary")
        for line in ["ab", "a", " a", "a ", "a b ab"] {
            metadata["tokenizer.ggml.merges"] = .array(.string(["a b", line]))
            #expect(message() == "v.gguf: merge 1 is not a pair of tokens")
        }
        metadata["tokenizer.ggml.merges"] = .array(.string(["a b", "a b"]))
        #expect(message() == "v.gguf: merge 1 'a b' occurs twice")
        metadata["tokenizer.ggml.merges"] = .array(.string(["a b"]))
        metadata["tokenizer.ggml.token_type"] = .array(.int32([1, 1]))
        #expect(message() == "v.gguf: tokenizer.ggml.token_type is not an array of 3 integers, one for each token")
        metadata["tokenizer.ggml.token_type"] = .array(.int32([1, 1, 7]))
        #expect(message() == "v.gguf: tokenizer.ggml.token_type of token 2 is 7, expected 0 to 6")
        metadata["tokenizer.ggml.token_type"] = nil
        metadata["tokenizer.ggml.bos_token_id"] = .uint32(3)
        #expect(message()?.hasPrefix("v.gguf: tokenizer.ggml.bos_token_id is") == true)
        metadata["tokenizer.ggml.bos_token_id"] = nil
        metadata["tokenizer.ggml.add_bos_token"] = .uint8(1)
        #expect(message()?.hasPrefix("v.gguf: tokenizer.ggml.add_bos_token is") == true)
        metadata["tokenizer.ggml.add_bos_token"] = .bool(true)
        #expect(
            message()
                == "v.gguf: tokenizer.ggml.add_bos_token is true, but there is no tokenizer.ggml.bos_token_id")
        metadata["tokenizer.ggml.model"] = .string("llama")
        for scores: MetadataArray in [.float32([0, 1]), .float32([0, 1, .nan]), .string(["0", "1", "2"])] {
            metadata["tokenizer.ggml.scores"] = .array(scores)
            #expect(message() == "v.gguf: tokenizer.ggml.scores is not an array of 3 finite numbers")
        }
        metadata["tokenizer.ggml.scores"] = .array(.float32([0, 1, 2]))
        #expect(message() == nil)
    }

    @Test("Nested tokens of a hostile vocabulary end in an error, in time")
    func nestedTokens() throws {
        var metadata = Metadata()
        metadata["tokenizer.ggml.model"] = .string("llama")
        metadata["tokenizer.ggml.tokens"] =
            .array(.string((1...1000).map { String(repeating: "a", count: $0) }))
        metadata["tokenizer.ggml.scores"] = .array(.float32([Float](repeating: 0, count: 1000)))
        #expect {
            _ = try tokenizer(metadata)
        } throws: {
            ($0 as? MeraserError)?.message.contains("contain each other in too many ways") == true
        }
    }

    @Test("BOS, EOS, other ends and the chat template become Hugging Face's files")
    func otherFiles() throws {
        var metadata = byteLevel("smollm", merges: [], more: [("<b>", 3), ("<e>", 3), ("<t>", 3)])
        metadata["tokenizer.ggml.bos_token_id"] = .uint32(256)
        metadata["tokenizer.ggml.eos_token_id"] = .uint32(257)
        metadata["tokenizer.ggml.eot_token_id"] = .uint32(258)
        metadata["tokenizer.ggml.eom_token_id"] = .uint32(257)
        metadata["tokenizer.chat_template"] = .string("{{ messages[0]['content'] }}{{ eos_token }}")
        metadata["llama.context_length"] = .uint32(64)
        let files = try GGUFTextFiles(metadata: metadata, tensors: [], path: "v.gguf")
        func json(_ name: String) throws -> JSONValue {
            try JSONValue.parse(try #require(try files.textFile(name)), file: name)
        }
        #expect(try json("generation_config.json")["eos_token_id"]?.array == [.integer(257), .integer(258)])
        let config = try json("tokenizer_config.json")
        #expect(config["bos_token"]?.string == "<b>")
        #expect(config["eos_token"]?.string == "<e>")
        #expect(config["add_bos_token"]?.bool == false)
        #expect(config["model_max_length"]?.int == 64)
        #expect(config["tokenizer_class"]?.string == "PreTrainedTokenizerFast")
        #expect(config["added_tokens_decoder"]?["258"]?["special"]?.bool == true)
        #expect(try ChatTemplate.load(store: files) != nil)
        metadata["tokenizer.chat_template.tool_use"] = .string("tools")
        let several = try GGUFTextFiles(metadata: metadata, tensors: [], path: "v.gguf")
        let list = try JSONValue.parse(try #require(try several.textFile("tokenizer_config.json")), file: "c")
        #expect(list["chat_template"]?.array?.compactMap { $0["name"]?.string } == ["default", "tool_use"])
        #expect(try files.textFile("config.json") == nil, "a vocabulary alone is no model")
        #expect(try files.textFile("vocab.txt") == nil)
    }

    // Ids of llama-tokenize (--ids --no-bos --no-escape) and of tokenizers; the conversation's of apply_chat_template.
    @Test(
        "SmolLM2: llama.cpp's ids, and Transformers' of a conversation",
        .enabled(if: realModel() != nil, "tools/real_model.sh has not fetched the model"))
    func smolLM2() throws {
        let files = try openTextFiles(path: try #require(realModel()).path)
        let tokenizer = try Tokenizer(store: files)
        let text =
            "Привет HelloWorld ñandú 漢字かな 한국어 हिन्दी ½ ² Ⅷ 12,345.67 a/b//c “quotes” don't I'LL we'Re\ttab\n\n\n"
            + "   end <|im_start|>x<|im_end|>\n"
        let want: [Int32] = [
            155, 249, 46879, 16464, 32547, 38699, 11265, 5549, 126, 397, 16148, 17097, 137, 112, 36518, 7365, 229, 7365,
            120, 216, 33085, 246, 181, 130, 251, 183, 240, 129, 12335, 134, 27011, 30658, 16525, 44757, 37189, 216,
            16738, 216, 19133, 216, 173, 223, 117, 216, 33, 34, 28, 35, 36, 37, 30, 38, 39, 253, 31, 82, 1559, 83, 619,
            385, 2346, 573, 1326, 982, 339, 23, 16421, 392, 23, 3733, 197, 15999, 1116, 11181, 1112, 216, 1, 104, 2,
            198,
        ]
        #expect(tokenizer.encode(text) == want, "no BOS: the file says so")
        #expect(tokenizer.decode(want) == text)
        #expect((tokenizer.bosID, tokenizer.eosID, tokenizer.padID, tokenizer.unkID) == (1, 2, 2, 0))
        let template = try #require(try ChatTemplate.load(store: files, specialTokens: tokenizer.specialTokens))
        let conversation = try template.render(
            Conversation([ChatMessage(role: "user", content: "What is 12?")]), addGenerationPrompt: true)
        #expect(
            tokenizer.encode(conversation) == [
                1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712,
                8182,
                2, 198, 1, 4093, 198, 1780, 314, 216, 33, 34, 47, 2, 198, 1, 520, 9531, 198,
            ])
        guard let shared = sharedFolder() else { return }
        // The whole text was compared with both programs' ids; here its first 100,000 bytes, by a hash of theirs.
        let wiki = try Data(contentsOf: shared.appendingPathComponent("data/wikitext2-test.txt")).prefix(100_000)
        let ids = tokenizer.encode(utf8: [UInt8](wiki))
        #expect(ids.count == 25_812)
        let hash = ids.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        #expect(hash == 0x77F7_B3AA_F840_5782)
    }
}
