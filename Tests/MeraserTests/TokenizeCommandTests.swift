import Foundation
import TestSupport
import Testing

/// A GGUF file of a vocabulary alone, put together apart from the code under test: all bytes in GPT-2's spelling, the
/// tokens of the merges, a control token.
private func vocabularyFile(pre: String, merges: [String], control: String, template: String) -> Data {
    func number<T: FixedWidthInteger>(_ value: T) -> Data { withUnsafeBytes(of: value.littleEndian) { Data($0) } }
    func string(_ text: String) -> Data { number(UInt64(text.utf8.count)) + Data(text.utf8) }
    func pair(_ key: String, _ type: UInt32, _ value: Data) -> Data { string(key) + number(type) + value }
    func strings(_ texts: [String]) -> Data {
        texts.reduce(number(8 as UInt32) + number(UInt64(texts.count))) { $0 + string($1) }
    }
    var next: UInt32 = 0x100
    var tokens: [String] = []
    for byte in UInt32(0)..<256 {
        let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
        tokens.append(String(Unicode.Scalar(isPrintable ? byte : next) ?? " "))
        if !isPrintable { next += 1 }
    }
    tokens += merges.map { $0.replacing(" ", with: "") } + [control]
    let types = tokens.indices.map { Int32($0 == tokens.count - 1 ? 3 : 1) }
    let pairs = [
        pair("general.architecture", 8, string("llama")), pair("tokenizer.ggml.model", 8, string("gpt2")),
        pair("tokenizer.ggml.pre", 8, string(pre)), pair("tokenizer.ggml.tokens", 9, strings(tokens)),
        pair(
            "tokenizer.ggml.token_type", 9,
            types.reduce(number(5 as UInt32) + number(UInt64(types.count))) { $0 + number($1) }),
        pair("tokenizer.ggml.merges", 9, strings(merges)),
        pair("tokenizer.ggml.bos_token_id", 4, number(UInt32(tokens.count - 1))),
        pair("tokenizer.chat_template", 8, string(template)),
    ]
    let header = Data("GGUF".utf8) + number(3 as UInt32) + number(0 as UInt64) + number(UInt64(pairs.count))
    return pairs.reduce(header, +)
}

@Suite("tokenize")
struct TokenizeCommandTests {
    private func ids(_ arguments: [String]) throws -> [Int] {
        let result = try meraser(["tokenize", "--json"] + arguments)
        #expect(result.status == 0, "\(result.error)")
        let object = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any]
        return try #require(object?["ids"] as? [Int])
    }

    @Test("A GGUF file that holds only a vocabulary: ids of a text, of a file, of a conversation")
    func vocabularyAlone() throws {
        try withTemporaryFolder { folder in
            let model = folder.appendingPathComponent("v.gguf").path
            let template = "{{ bos_token }}{{ messages[0]['content'] }}{% if add_generation_prompt %}:{% endif %}"
            try vocabularyFile(pre: "llama-bpe", merges: ["a b", "Ġ ab"], control: "<s>", template: template)
                .write(to: URL(fileURLWithPath: model))
            #expect(try ids(["--model", model, "ab ab<s>"]) == [258, 256, 257, 258])
            #expect(try ids(["--model", model, "--no-bos", "ab 1\n"]) == [256, 32, 49, 10])
            let text = folder.appendingPathComponent("text").path
            try Data("ab\r\n".utf8).write(to: URL(fileURLWithPath: text))
            #expect(try ids(["--model", model, "--no-bos", "--file", text]) == [256, 13, 10])
            #expect(try ids(["--model", model, "--chat", "ab"]) == [258, 256, 58])
            let shown = try meraser(["tokenize", "--model", model, "--chat", "--show", "ab"])
            #expect(shown.output == "<s>ab:\n\n258\t<s>\n256\tab\n58\t:\n", "\(shown.output)")
            try Data("\"ab<s>\"\n\"\"\n".utf8).write(to: URL(fileURLWithPath: text))
            let lines = try meraser(["tokenize", "--model", model, "--no-bos", "--texts", text])
            #expect(
                lines.output == "{\"ids\": [256, 258], \"text\": \"ab<s>\", \"text_without_special_tokens\": \"ab\"}\n"
                    + "{\"ids\": [], \"text\": \"\", \"text_without_special_tokens\": \"\"}\n", "\(lines.output)")

            try vocabularyFile(pre: "unheard-of", merges: [], control: "<s>", template: template)
                .write(to: URL(fileURLWithPath: model))
            let refused = try meraser(["tokenize", "--model", model, "ab"])
            #expect(refused.status == 3)
            #expect(refused.error.contains("tokenizer.ggml.pre is 'unheard-of'; known are gpt-2"), "\(refused.error)")
        }
    }

    // Every vector of these vocabularies is in ModelTests; here the longest of each goes through the command.
    @Test(
        "llama.cpp's longest vector of each vocabulary, by way of a file",
        .enabled(if: sharedFolder() != nil, "the shared folder is not on this machine"),
        arguments: ["llama-spm", "phi-3", "llama-bpe", "gpt-2", "mpt", "qwen2"])
    func vectors(name: String) throws {
        let model = try #require(sharedFolder()).appendingPathComponent("vocab/ggml-vocab-\(name).gguf").path
        let texts = String(decoding: try Data(contentsOf: URL(fileURLWithPath: model + ".inp")), as: UTF8.self)
            .components(separatedBy: "\n__ggml_vocab_test__\n")
        let lines = String(decoding: try Data(contentsOf: URL(fileURLWithPath: model + ".out")), as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false)
        let longest = try #require(texts.indices.max { texts[$0].utf8.count < texts[$1].utf8.count })
        try withTemporaryFolder { folder in
            let text = folder.appendingPathComponent("text").path
            try Data(texts[longest].utf8).write(to: URL(fileURLWithPath: text))
            let want = lines[longest].split(separator: " ").compactMap { Int($0) }
            #expect(want.count > 100)
            #expect(try ids(["--model", model, "--no-bos", "--file", text]) == want)
        }
    }
}
