import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@Suite struct ContinuationScoringTests {
    /// The definition: log-softmax in double of the logits of each sequence run alone.
    static func alone(_ session: InferenceSession, _ context: [Int32], _ continuation: [Int32]) throws
        -> ContinuationScore
    {
        guard !continuation.isEmpty else { return ContinuationScore(logLikelihood: 0, tokens: 0, isGreedy: true) }
        let logits = try GoldenForwardTests.logits(session, context + continuation)
        let vocabulary = session.model.spec.vocabSize
        var sum = 0.0
        var isGreedy = true
        for (i, token) in continuation.enumerated() {
            let start = (context.count - 1 + i) * vocabulary
            let row = logits[start..<start + vocabulary].map(Double.init)
            let top = row.max() ?? 0
            sum += row[Int(token)] - top - log(row.reduce(0) { $0 + exp($1 - top) })
            isGreedy = isGreedy && row.firstIndex(of: top) == Int(token)
        }
        return ContinuationScore(logLikelihood: sum, tokens: continuation.count, isGreedy: isGreedy)
    }

    @Test("scores are those of log-softmax over each sequence alone; greedy continuations are found")
    func definition() throws {
        let golden = try GoldenFile(
            GoldenForwardTests.fixtures.appendingPathComponent("tinychat/logits.safetensors"))
        let session = try GoldenForwardTests.session(tinychatFolder())
        let prompts = try (0..<3).map { try golden.ints("prompt\($0).ids") }
        let greedy = try session.generate(
            prompts.map { GenerationRequest(prompt: $0) }, options: GenerationOptions(maxNewTokens: 5)
        ).map(\.tokens)
        let items = prompts.indices.map { i in
            (
                context: prompts[i],
                continuations: [greedy[i], [7, 8, 9], [], [greedy[i][0]], [greedy[i][0], 5], greedy[i] + [3]]
            )
        }
        let got = try session.scoreContinuations(items)
        for (item, scores) in zip(items, got) {
            #expect(scores.count == item.continuations.count)
            for (continuation, score) in zip(item.continuations, scores) {
                let want = try Self.alone(session, item.context, continuation)
                #expect(score.tokens == want.tokens && score.isGreedy == want.isGreedy)
                // Each token's value is rounded to fp32 after a log-sum-exp of fp32 logits of size about 20.
                let allowed = 4e-6 * Double(max(want.tokens, 1))
                #expect(abs(score.logLikelihood - want.logLikelihood) <= allowed)
            }
        }
    }

    @Test("what contexts begin with is read once, and scores stay the same to the bit")
    func sharedPrefix() throws {
        let session = try GoldenForwardTests.session(tinychatFolder())
        let common = (0..<70).map { Int32(100 + $0 * 7 % 900) }
        let items = (0..<9).map { index in
            // One context is all that the others begin with.
            let context = common + (0..<index).map { Int32(40 + index * 3 + $0) }
            return (context: context, continuations: [[Int32(index + 5), 9, 8], [7], []])
        }
        let alone = try session.scoreContinuations(items)
        #expect(try session.scoreContinuations(items, sharesPrefix: true) == alone)
        let short = items.map { (context: Array($0.context.suffix(8)), continuations: $0.continuations) }
        #expect(try session.scoreContinuations(short, sharesPrefix: true) == session.scoreContinuations(short))
        #expect(try session.scoreContinuations([items[3]], sharesPrefix: true) == [alone[3]])
    }

    @Test("a context without tokens and a token that the model lacks are errors")
    func refusals() throws {
        let session = try GoldenForwardTests.session(tinychatFolder())
        #expect(throws: MeraserError.self) { try session.scoreContinuations([(context: [], continuations: [[1]])]) }
        #expect(throws: MeraserError.self) {
            try session.scoreContinuations([(context: [1], continuations: [[Int32(session.model.spec.vocabSize)]])])
        }
    }
}
