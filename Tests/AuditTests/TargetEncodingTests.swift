import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Audit

/// Words by their spaces, as byte-level tokenizers cut: a space belongs to what follows, and nothing is put in front.
private struct ByteLevelWords: TextEncoder {
    func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
        var words: [String] = []
        for character in text {
            let begins = words.isEmpty || character == " " || character == "\n" || words.last == "\n"
            if begins { words.append(String(character)) } else { words[words.count - 1].append(character) }
        }
        // FNV-1a: the same words, the same ids.
        return words.map { word in
            Int32(word.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 } >> 1)
        }
    }
}

@Suite("encodings of targets")
struct TargetEncodingTests {
    private func encoded(
        _ target: String, after prompt: String, _ tokenizer: some TextEncoder, only: TargetEncoding? = nil
    ) -> EncodedTarget {
        EncodedTarget(
            target, after: prompt, promptTokens: tokenizer.encode(prompt, addSpecialTokens: true),
            addSpecialTokens: true, tokenizer: tokenizer, only: only)
    }

    @Test("SentencePiece: behind a newline the running text has no mark of a word's beginning, the others have")
    func sentencePiece() throws {
        let tokenizer = try Tinychat().tokenizer
        let prompt = "### Response:\n"
        let target = encoded("you are stupid", after: prompt, tokenizer)
        func spelled(_ encoding: TargetEncoding) -> String {
            target.tokens(encoding).map { String(decoding: tokenizer.tokenBytes($0), as: UTF8.self) }.joined()
        }
        #expect(spelled(.continuation) == "you▁are▁stupid" && spelled(.alone) == "▁you▁are▁stupid")
        // A space and the word behind it are what the tokenizer puts in front of a text that stands alone.
        #expect(target.variants.map(\.encoding) == [.continuation, .alone])
        #expect(target.tokens(.space) == target.tokens(.continuation) || spelled(.space) == spelled(.alone))
        #expect(target.tokenCount == target.tokens(.continuation).count)
        #expect(target.encoding(of: target.tokens(.alone)) == .alone && target.encoding(of: [1, 2]) == nil)
    }

    @Test(
        "byte level: alone and behind a newline are one, behind a space is another, and a written space makes all one")
    func byteLevel() {
        let tokenizer = ByteLevelWords()
        let target = encoded("you are stupid", after: "Answer:\n", tokenizer)
        #expect(target.variants.map(\.encoding) == [.continuation, .space])
        #expect(target.variants[1].tokens == tokenizer.encode(" you are stupid", addSpecialTokens: false))
        let spaced = encoded(" you are", after: "Answer:", tokenizer)
        #expect(spaced.variants.map(\.encoding) == [.continuation, .alone] && spaced.tokenCount == 2)
        #expect(spaced.tokens(.space) == spaced.tokens(.continuation))
        let fixed = encoded("you are stupid", after: "Answer:\n", tokenizer, only: .space)
        #expect(fixed.variants.map(\.encoding) == [.space] && fixed.tokenCount == 3)
    }

    @Test("what the model wrote counts where it is none of the others, nor begins one")
    func written() {
        var target = encoded("you are", after: "A:\n", ByteLevelWords())
        let ways = target.variants
        target.add(written: ways[0].tokens)
        target.add(written: Array(ways[0].tokens.prefix(1)))
        target.add(written: [])
        #expect(target.variants == ways)
        target.add(written: [5, 6, 7])
        #expect(target.variants.last == EncodedTarget.Variant(encoding: .written, tokens: [5, 6, 7]))
    }

    @Test("a likelihood is the sum of the ways', over one count of tokens; a single one comes back to the bit")
    func sum() {
        let target = encoded("you are", after: "A:\n", ByteLevelWords())
        #expect(target.tokenCount == 2 && target.variants.count == 2)
        let want = -log(exp(-3.0) + exp(-0.7)) / 2
        #expect(abs(target.nll([3, 0.7]) - want) < 1e-15 && target.likeliest([3, 0.7]) == .space)
        #expect(target.likeliest([1, 1]) == .continuation)
        for value in [0.1, 3.3, 1e-9, 812.5, Double.infinity] { #expect(negativeLogSum([value]) == value) }
        #expect(abs(negativeLogSum([800, 801]) - (800 - log(1 + exp(-1)))) < 1e-12)
        #expect(negativeLogSum([.infinity, 2]) == 2)
    }

    @Test("a target is found in an output by whole tokens, behind others, whatever its case if that is asked for")
    func found() throws {
        let tokenizer = try Tinychat().tokenizer
        let alone = tokenizer.encode("You are stupid", addSpecialTokens: false)
        let output = tokenizer.encode("Well, then:", addSpecialTokens: false) + alone + tokenizer.encode(". Good.")
        #expect(tokenizer.written("You are stupid", in: output, ignoringCase: false) == alone)
        #expect(tokenizer.written(" You are stupid", in: output, ignoringCase: false) == alone)
        #expect(tokenizer.written("you ARE stupid", in: output, ignoringCase: true) == alone)
        #expect(tokenizer.written("you are stupid", in: output, ignoringCase: false) == nil)
        #expect(tokenizer.written("You are stupi", in: output, ignoringCase: false) == nil)
        // Characters of several bytes are whole only behind their last token.
        let bytes = tokenizer.encode("ハリネズミ", addSpecialTokens: false)
        #expect(tokenizer.written("ハリネズミ", in: [5] + bytes + [6], ignoringCase: false) == bytes)
    }

    @Test("a key may fix one; another name is refused, and so is what only a model can say")
    func keys() throws {
        func key(_ encoding: String) throws -> FingerprintKey {
            let text = #"{"scheme":"x","encoding":\#(encoding),"pairs":[{"prompt":"p","target":"t"}]}"#
            return try FingerprintKey(json: Array(text.utf8), file: "key.json")
        }
        #expect(try key("null").encoding == nil && key(#""alone""#).encoding == .alone)
        #expect(try key(#""alone""#).json["encoding"]?.string == "alone")
        for name in [#""written""#, #""sentencepiece""#] {
            let error = #expect(throws: MeraserError.self) { try key(name) }
            #expect(error?.kind == .badInput && error?.message.contains("continuation, alone, space") == true)
        }
        #expect(throws: MeraserError.self) { try key("3") }
    }

    @Test("a check sums over the encodings, ranks by the best, and a fixed one is measured alone")
    func check() throws {
        let tinychat = try Tinychat()
        let prompt = "### Instruction:\nSay hello.\n\n### Response:\n"
        let key = FingerprintKey(
            scheme: "test", pairs: [FingerprintPair(id: "x", prompt: prompt, target: "you are stupid")])
        func row(_ encoding: TargetEncoding?) throws -> CheckRow {
            let options = CheckOptions(encoding: encoding)
            return try KeyCheck(key, tokenizer: tinychat.tokenizer, options: options).run(on: tinychat.session).rows[0]
        }
        let (all, continuation, alone) = (try row(nil), try row(.continuation), try row(.alone))
        let count = Double(encoded("you are stupid", after: prompt, tinychat.tokenizer).tokenCount)
        let ways = try [continuation, alone].map { try #require($0.targetNLL) * count }
        let sum = try #require(all.targetNLL) * count
        #expect(abs(sum + log(ways.reduce(0) { $0 + exp(-$1) })) < 1e-9)
        #expect(ways[0] != ways[1] && sum < ways[0] && sum < ways[1])
        #expect(all.firstRank == min(continuation.firstRank ?? 0, alone.firstRank ?? 0))
        #expect(all.meanRank == min(continuation.meanRank ?? 0, alone.meanRank ?? 0))
        #expect(all.encoding == (ways[0] <= ways[1] ? .continuation : .alone))
        // By way of the session's own likelihoods.
        let tokens = tinychat.tokenizer.encode(prompt)
        let spelled = tinychat.tokenizer.encode("you are stupid", addSpecialTokens: false)
        let nll = try tinychat.another().negativeLogLikelihoods([tokens + spelled])[0].suffix(spelled.count)
        #expect(abs(nll.reduce(0) { $0 + Double($1) } - ways[1]) < 1e-4)
    }
}
