import Kernels
import Model
import TestSupport
import Testing

@Suite struct DecodingBatchTests {
    @Test("sequences that join and leave at any time get what they get alone")
    func joiningAndLeaving() throws {
        let prompts = PrefixSharingTests.prompts()
        let sampling = SamplingOptions(temperature: 1.5, seed: 3)
        let options = GenerationOptions(maxNewTokens: 5, sampling: sampling, batchSize: 1, sharesPrefixes: false)
        let alone = try PrefixSharingTests.session(compute: .int8)
        // Sequence 0 of a call each, as a server keys the samples of a request.
        let want = try prompts.map { try alone.generate([GenerationRequest(prompt: $0)], options: options)[0].tokens }
        let session = try PrefixSharingTests.session(compute: .int8, tokenBudget: 31, threads: 1)
        var random = SeededRandom(seed: 11)
        for keepsFinished in [false, true] {
            var batch = DecodingBatch(session: session, keepsFinished: keepsFinished)
            var outputs = Array(repeating: [Int32](), count: 2 * prompts.count)
            var (next, left) = (0, Set<Int>())
            while next < outputs.count || batch.count > 0 {
                if next < outputs.count, batch.count == 0 || random.gaussians(1)[0] > 0 {
                    let prompt = prompts[next % prompts.count]
                    batch.join(
                        next,
                        DecodingRequest(
                            prompt: prompt,
                            limit: try session.model.limit(
                                of: GenerationRequest(prompt: prompt), index: 0, options: options),
                            stopTokens: [], sampler: Sampler(sampling)))
                    next += 1
                }
                // Every fifth leaves early, whoever waits for it or not.
                if next % 5 == 0, left.insert(next - 1).inserted { batch.leave(next - 1) }
                guard batch.count > 0 else { continue }
                try batch.step { id, event in if case .token(let token) = event { outputs[id].append(token) } }
            }
            for (id, output) in outputs.enumerated() where !left.contains(id) {
                #expect(output == want[id % prompts.count], "sequence \(id)")
            }
            #expect(batch.statistics.sharedTokens > 0)
        }
    }
}
