import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

/// Text files that lie in memory.
private struct Files: TextFileSource {
    let path = "m"
    var files: [String: [UInt8]]

    func textFile(_ name: String) throws -> [UInt8]? { files[name] }
}

/// A field of a message: bytes, or a number.
private func field(_ number: Int, _ bytes: [UInt8]) -> [UInt8] { [UInt8(number << 3 | 2), UInt8(bytes.count)] + bytes }
private func field(_ number: Int, _ value: UInt8) -> [UInt8] {
    number < 16 ? [UInt8(number << 3), value] : [UInt8(number << 3 & 0x7F | 0x80), UInt8(number >> 4), value]
}

private func piece(_ text: String, _ score: Float, _ type: UInt8 = 1) -> [UInt8] {
    let bits = score.bitPattern
    return field(
        1,
        field(1, Array(text.utf8)) + [0x15] + (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
            + field(3, type))
}

private func model(_ type: UInt8) -> [UInt8] {
    piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<tool>", 0, 4)
        + ["\u{2581}", "a", "b", "c", "ab", "bc", "\u{2581}a"].enumerated().flatMap { piece($1, -Float($0)) }
        + field(2, field(3, type) + field(40, 0) + field(41, 1) + field(42, 2))
}

@Suite("tokenizer.model")
struct SentencePieceTests {
    @Test("A model becomes the tokenizer.json that Transformers' LlamaConverter makes")
    func llama() throws {
        let files = try #require(try SentencePieceFiles(Files(files: ["tokenizer.model": model(2)])))
        let json = try JSONValue.parse(try #require(try files.textFile("tokenizer.json")), file: "t")
        #expect(json["model"]?["type"]?.string == "BPE")
        #expect(json["model"]?["vocab"]?["bc"]?.int == 9)
        let merges = json["model"]?["merges"]?.array?.map { $0.array?.compactMap(\.string) }
        #expect(merges == [["a", "b"], ["b", "c"], ["\u{2581}", "a"]])
        #expect(json["added_tokens"]?.array?.map { $0["special"]?.bool } == [true, true, false])
        #expect(json["post_processor"]?["single"]?.array?.count == 2)
        let config = try JSONValue.parse(try #require(try files.textFile("tokenizer_config.json")), file: "t")
        #expect(config["bos_token"]?.string == "<s>")
        let uni = try #require(try SentencePieceFiles(Files(files: ["tokenizer.model": model(1)])))
        let unigram = try JSONValue.parse(try #require(try uni.textFile("tokenizer.json")), file: "t")
        #expect(unigram["model"]?["vocab"]?.array?[9].array == [.text("bc"), .number(-5)])
        #expect(try SentencePieceFiles(Files(files: ["tokenizer.json": []])) == nil)
        #expect(throws: MeraserError.self) { try SentencePieceFiles(Files(files: ["tokenizer.model": model(3)])) }
        let other = Files(files: [
            "tokenizer.model": model(1), "tokenizer_config.json": Array(#"{"tokenizer_class": "T5Tokenizer"}"#.utf8),
        ])
        #expect(errorText { _ = try SentencePieceFiles(other) }.contains("'T5Tokenizer' and no tokenizer.json"))
    }

    @Test("A file cut anywhere or with any bit flipped is read or gives one error, never a trap")
    func damaged() {
        let bytes = model(2)
        for cut in bytes.indices { _ = try? SentencePieceModel(Array(bytes[..<cut]), file: "m") }
        var refused = 0
        for index in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << UInt8(bit)
                do {
                    _ = try SentencePieceModel(damaged, file: "m")
                } catch {
                    #expect((error as? MeraserError)?.message.hasPrefix("m ") == true || "\(error)".contains("m:"))
                    refused += 1
                }
            }
        }
        #expect(refused > 100)
    }
}
