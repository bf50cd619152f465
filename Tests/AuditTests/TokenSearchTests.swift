import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Audit

@Suite struct TokenSearchTests {
    /// A tied model with fewer rows than tinychat's tokenizer has tokens.
    static func tiedModel() throws -> Transformer {
        let folder = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/arch/llama3")
        return try Transformer(store: try openWeightStore(path: folder.path), kernels: try KernelContext(threads: 1))
    }

    @Test("verdicts have magikarp's thresholds")
    func verdicts() {
        #expect(TokenVerdict(maxProbability: 0) == .strong && TokenVerdict(maxProbability: 0.000999) == .strong)
        #expect(TokenVerdict(maxProbability: 0.001) == .weak && TokenVerdict(maxProbability: 0.0999) == .weak)
        #expect(TokenVerdict(maxProbability: 0.1) == .rejected && TokenVerdict(maxProbability: 1) == .rejected)
    }

    @Test("the threshold is the value that the share of all encodable tokens does not exceed")
    func threshold() {
        let ranking = RarityRanking(
            indicator: .embeddingNorm, candidates: [], encodable: (1...200).map(Double.init))
        #expect(ranking.threshold(share: 0.02) == 4)
        #expect(ranking.threshold(share: 0.001) == 1 && ranking.threshold(share: 1) == 200)
        #expect(RarityRanking(indicator: .embeddingNorm, candidates: [], encodable: []).threshold(share: 1) == 0)
    }

    @Test("tied embeddings are ordered by the cosine distance from bytes that UTF-8 never has")
    func tied() throws {
        let model = try Self.tiedModel()
        let tokenizer = try Tinychat().tokenizer
        #expect(tokenizer.vocabularySize > model.spec.vocabSize && model.spec.head.isTied)
        let ranking = RarityRanking(model: model, tokenizer: tokenizer)
        #expect(ranking.indicator == .unusedDistance && !ranking.candidates.isEmpty)

        let width = model.spec.hiddenSize
        let table = try model.store.tensor("model.embed_tokens.weight").floats().map(Double.init)
        let rows = (0..<model.spec.vocabSize).map { Array(table[$0 * width..<($0 + 1) * width]) }
        let unused = ([0xC0, 0xC1] + Array(0xF5...0xFF)).compactMap { (byte: Int) in
            tokenizer.id(ofToken: "<0x\(String(byte, radix: 16, uppercase: true))>")
        }
        try #require(unused.count == 13)
        let mean = (0..<width).map { column in
            unused.reduce(0) { $0 + rows[Int($1)][column] } / Double(unused.count)
        }
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        for candidate in ranking.candidates {
            let row = rows[Int(candidate.id)]
            let cosine = dot(row, mean) / (dot(row, row) * dot(mean, mean)).squareRoot()
            #expect(abs(candidate.indicator - (1 - cosine)) < 1e-5)
            #expect(abs(candidate.norm - dot(row, row).squareRoot()) < 1e-5)
        }
        let indicators = ranking.candidates.map(\.indicator)
        #expect(indicators == indicators.sorted())
    }

    @Test("probabilities are those of the plain prompts without caches")
    func probabilities() throws {
        let tinychat = try Tinychat()
        let ids = ["HP", "command", "wiki", "Hell"].compactMap { tinychat.tokenizer.id(ofToken: $0) }
        try #require(ids.count == 4)
        let verifier = try TokenVerifier(session: tinychat.session, tokenizer: tinychat.tokenizer)
        let all = try verifier.maxProbabilities(ids)
        for (id, probability) in zip(ids, all) {
            // Alone, and therefore in another cache, it is the same.
            #expect(try verifier.maxProbabilities([id]) == [probability])
            // The repetition prompt by hand: BOS, 50 times the token, three greedy steps.
            var sequence = [1] + [Int32](repeating: id, count: 50)
            var largest = 0.0
            for _ in 0..<3 {
                let nll = try tinychat.session.negativeLogLikelihoods([sequence + [id]])[0]
                largest = max(largest, exp(-Double(nll[nll.count - 1])))
                let next = try tinychat.session.generate(
                    [GenerationRequest(prompt: sequence)], options: GenerationOptions(maxNewTokens: 1))
                sequence += next[0].tokens
            }
            #expect(probability >= largest * (1 - 1e-5))
        }
    }

    @Test("a model without the tokenizer's tokens is refused, as base and for a scheme")
    func vocabularies() throws {
        let tinychat = try Tinychat()
        let other = InferenceSession(model: try Self.tiedModel())
        let scheme = #expect(throws: MeraserError.self) {
            try UTFFingerprint(session: other, tokenizer: tinychat.tokenizer, options: UTFOptions())
        }
        #expect(scheme?.kind == .badInput && scheme?.message.contains("4096 tokens") == true)
        let base = #expect(throws: MeraserError.self) { try PositionScorer(tinychat.session, base: other) }
        #expect(base?.kind == .usage && base?.message.contains("vocabulary of 320") == true)
        let scorer = try PositionScorer(other)
        let tokens = #expect(throws: MeraserError.self) {
            try scorer.score([ScoredSequence(tokens: [1, 4000], scored: 1..<2)])
        }
        #expect(tokens?.kind == .badInput)
    }
}

@Suite struct PerplexityWindowTests {
    @Test(
        "strided windows score every token after the first exactly once", arguments: [1, 2, 5, 7, 8],
        [0, 1, 2, 8, 9, 50])
    func strided(stride: Int, count: Int) {
        let stream = (0..<Int32(count)).map { $0 }
        let windows = WindowCutter(.strided, length: 8, stride: stride).stridedWindows(stream)
        var scored: [Int32] = []
        for window in windows {
            #expect(window.tokens.count <= 8)
            #expect(window.scored.isEmpty || window.scored.lowerBound >= 1)
            scored += window.tokens[window.scored]
        }
        // Side by side, a window's first token has nothing before it.
        let expected = stride < 8 ? Array(stream.dropFirst()) : stream.filter { $0 % 8 != 0 }
        #expect(scored == expected)
    }

    @Test("chunks score the second half, put BOS in front and drop the tail")
    func chunk() {
        let stream = (100..<Int32(127)).map { $0 }
        let windows = WindowCutter(.chunk, length: 8).chunkWindows(stream, bos: 1)
        #expect(windows.map(\.tokens.count) == [8, 8, 8])
        #expect(windows[1] == ScoredSequence(tokens: [1, 109, 110, 111, 112, 113, 114, 115], scored: 5..<8))
        #expect(WindowCutter(.chunk, length: 8).chunkWindows(stream, bos: nil)[1].tokens[0] == 108)
    }
}
