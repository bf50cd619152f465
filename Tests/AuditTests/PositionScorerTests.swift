import Kernels
import Model
import Testing

@testable import Audit

@Suite struct PositionScorerTests {
    @Test("a common beginning that is read once changes no bit")
    func sharedPrefix() throws {
        let session = try Tinychat().session
        // The base keeps its keys in bf16.
        let base = InferenceSession(
            model: try Transformer(store: session.model.store, kernels: session.model.kernels, compute: .int8))
        let prefix = [1] + (0..<70).map { Int32(300 + 7 * $0 % 3000) }
        // The shortest is scored right behind the beginning; one has nothing to score.
        let sequences = (0..<40).map { index in
            let rest = (0..<(index % 5 + 1)).map { Int32(500 + 11 * index + $0) }
            let tokens = prefix + rest
            return ScoredSequence(tokens: tokens, scored: index == 3 ? 0..<0 : prefix.count..<tokens.count)
        }
        let alone = try PositionScorer(session, base: base, ranks: true)
        let shared = try PositionScorer(session, base: base, ranks: true, sharesPrefixes: true)
        let expected = try alone.score(sequences)
        #expect(expected[4].nll.count == 5 && expected[4].ranks.count == 5 && expected[4].divergences.count == 5)
        #expect(expected[3].nll.isEmpty)
        #expect(try shared.score(sequences) == expected)
    }
}
