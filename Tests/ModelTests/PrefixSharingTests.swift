import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@Suite struct PrefixSharingTests {
    static func session(compute: Compute, tokenBudget: Int = 512, threads: Int = 2) throws -> InferenceSession {
        let store = try openWeightStore(path: tinychatFolder().path)
        let model = try Transformer(
            store: store, kernels: try KernelContext(threads: threads), compute: compute)
        return InferenceSession(model: model, tokenBudget: tokenBudget)
    }

    /// Prompts of two families with beginnings of 70 and 40 tokens, and loners, of different lengths.
    static func prompts() -> [[Int32]] {
        var random = SeededRandom(seed: 5)
        func tokens(_ n: Int) -> [Int32] { random.gaussians(n).map { Int32(abs($0) * 900) % 4000 + 3 } }
        let families = [tokens(70), tokens(40)]
        return (0..<14).map { i in
            i % 5 == 4 ? tokens(9 + i) : families[i % 2].prefix(i == 6 ? 30 : 70) + tokens(i % 3 + (i == 0 ? 0 : 1))
        }
    }

    @Test("shared prefixes change no bit, in any batch and any pieces", arguments: [Compute.f32, .int8])
    func sharing(compute: Compute) throws {
        let prompts = Self.prompts()
        let requests = prompts.enumerated().map { GenerationRequest(prompt: $1, maxNewTokens: 3 + $0 % 4) }
        let alone = try Self.session(compute: compute)
        // Sampled, so that the choice depends on every bit of the logits.
        let sampling = SamplingOptions(temperature: 1.5, seed: 3)
        let want = try alone.generate(
            requests, options: GenerationOptions(sampling: sampling, batchSize: 1, sharesPrefixes: false))
        #expect(alone.lastGeneration.sharedTokens == 0)
        for (batchSize, budget) in [(1, 512), (4, 512), (32, 512), (5, 13)] {
            let session = try Self.session(compute: compute, tokenBudget: budget, threads: 1)
            let got = try session.generate(
                requests, options: GenerationOptions(sampling: sampling, batchSize: batchSize))
            #expect(got == want, "batch of \(batchSize), \(budget) tokens a pass")
            let statistics = session.lastGeneration
            // A single place shares with nobody.
            if batchSize > 1 { #expect(statistics.sharedTokens > 5 * 40) }
            let read = statistics.promptTokens + statistics.decodedTokens + statistics.sharedTokens
            #expect(read == zip(prompts, got).reduce(0) { $0 + $1.0.count + $1.1.tokens.count - 1 })
        }
    }

    @Test("continuations score as each sequence alone does, to the bit", arguments: [Compute.f32, .int8])
    func scoring(compute: Compute) throws {
        let prompts = Self.prompts()
        let items = prompts.enumerated().map { index, prompt in
            (context: prompt, continuations: (0..<4).map { Array(prompts[($0 + index) % 14].suffix($0 * 3 % 7)) })
        }
        let session = try Self.session(compute: compute)
        let got = try session.scoreContinuations(items)
        #expect(try Self.session(compute: compute, tokenBudget: 11).scoreContinuations(items) == got)
        for (item, scores) in zip(items, got) {
            for (continuation, score) in zip(item.continuations, scores) {
                let nll = try session.negativeLogLikelihoods([item.context + continuation])[0]
                let sum = nll.suffix(continuation.count).reduce(0.0) { $0 - Double($1) }
                #expect(score.logLikelihood == sum && score.tokens == continuation.count)
            }
        }
    }

    @Test("only the last rows are returned, with the same bits as all")
    func lastRows() throws {
        let prompts = Array(Self.prompts().prefix(4))
        let session = try Self.session(compute: .f32)
        let batch = PackedBatch(prompts)
        let all = try session.hiddenStates(batch)
        let counts = [2, 0, prompts[2].count, 1]
        let want = zip(batch.sequences, counts).flatMap { place, count in
            let end = place.start + place.count
            return all.slice(rows: end - count..<end).toArray()
        }
        #expect(try session.hiddenStates(batch, lastRows: counts).toArray() == want)
    }

    @Test("a fork and its original do not see what the other writes; truncating and reading again gives the same bits")
    func forks() throws {
        let prompt = Self.prompts()[2]
        let session = try Self.session(compute: .int8)
        func read(_ tokens: some Collection<Int32>, _ cache: KVCache) throws -> [Float] {
            var batch = PackedBatch()
            batch.append(tokens, firstPosition: cache.count)
            return try session.hiddenStates(batch, caches: [cache], lastRows: [1]).toArray()
        }
        let want = try read(prompt, session.makeCache(capacity: 100))
        let original = session.makeCache(capacity: 100)
        _ = try read(prompt.dropLast(3), original)
        let fork = original.fork(capacity: 200)
        #expect(fork.count == prompt.count - 3)
        _ = try read([5, 6, 7, 8], fork)
        #expect(try read(prompt.suffix(3), original) == want)
        fork.truncate(to: prompt.count - 3)
        #expect(try read(prompt.suffix(3), fork) == want)
        let short = original.fork(count: 64, capacity: 100)
        _ = try read([9, 9, 9], short)
        short.truncate(to: 60)
        #expect(try read(prompt.dropFirst(60), short) == want)
        #expect(try read([4], original) != want)
    }
}
