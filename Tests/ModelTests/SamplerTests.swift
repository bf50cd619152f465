import Foundation
import Model
import Testing

private func sample(
    _ logits: [Float], _ options: SamplingOptions = SamplingOptions(), sequence: Int = 0, step: Int = 0
) -> Int32 {
    logits.withUnsafeBufferPointer { Sampler(options).sample(logits: $0, sequence: sequence, step: step) }
}

@Suite("Sampler")
struct SamplerTests {
    private let logits: [Float] = [0.5, 2, -1, 1.5, 2, -.infinity]

    @Test("Greedy takes the largest logit, of equals the lowest id")
    func greedy() {
        #expect(sample(logits) == 1)
        #expect(sample([3]) == 0)
        #expect(sample([-5, -5, -4, -4]) == 2)
    }

    @Test("Frequencies follow softmax(logits / temperature)")
    func temperature() {
        let options = SamplingOptions(temperature: 0.7)
        let weights = logits.map { exp(Double($0) / 0.7) }
        let total = weights.reduce(0, +)
        var counts = [Int](repeating: 0, count: logits.count)
        let draws = 20_000
        for step in 0..<draws { counts[Int(sample(logits, options, step: step))] += 1 }
        for (count, weight) in zip(counts, weights) {
            let p = weight / total
            // Five standard deviations of a binomial count.
            #expect(abs(Double(count) - p * Double(draws)) <= 5 * (p * (1 - p) * Double(draws)).squareRoot())
        }
    }

    @Test("top-k and top-p keep only the likeliest tokens, at least one")
    func truncation() {
        func support(_ options: SamplingOptions) -> Set<Int32> {
            Set((0..<2000).map { sample(logits, options, step: $0) })
        }
        #expect(support(SamplingOptions(temperature: 1, topK: 1)) == [1])
        #expect(support(SamplingOptions(temperature: 1, topK: 3)) == [1, 3, 4])
        #expect(support(SamplingOptions(temperature: 1, topK: 99)) == [0, 1, 2, 3, 4])
        // Softmax: ids 1 and 4 have 0.345 each, 3 has 0.209, 0 has 0.077, 2 has 0.017.
        #expect(support(SamplingOptions(temperature: 1, topP: 0.01)) == [1])
        #expect(support(SamplingOptions(temperature: 1, topP: 0.6)) == [1, 4])
        #expect(support(SamplingOptions(temperature: 1, topP: 0.75)) == [1, 3, 4])
        #expect(support(SamplingOptions(temperature: 1, topP: 0.95)) == [0, 1, 3, 4])
    }

    @Test("top-k and top-p over many tokens keep what a full sort keeps")
    func largeVocabulary() {
        let many = (0..<800).map { Float(($0 * 7919) % 809) / 26 - 40 }  // all different, 30 apart at most
        let order = many.indices.sorted { many[$0] > many[$1] }
        let total = many.reduce(0) { $0 + exp(Double($1)) }
        for (topK, topP) in [(300, 1.0), (5, 1.0), (0, 0.5), (0, 0.9), (40, 0.7)] {
            var mass = 0.0
            let ranked = topK > 0 ? Array(order.prefix(topK)) : order
            let whole = topK > 0 ? ranked.reduce(0) { $0 + exp(Double(many[$1])) } : total
            let kept = ranked.prefix { id in
                defer { mass += exp(Double(many[id])) }
                return mass < topP * whole
            }
            let options = SamplingOptions(temperature: 1, topP: topP, topK: topK)
            let drawn = Set((0..<100).map { Int(sample(many, options, step: $0)) })
            #expect(drawn.isSubset(of: Set(kept)) && drawn.count > min(kept.count, 5) / 2, "k \(topK), p \(topP)")
        }
    }

    @Test("A choice depends on seed, sequence and step alone, and each of them matters")
    func counters() {
        let flat = [Float](repeating: 0, count: 1000)
        func draws(seed: UInt64, sequence: Int) -> [Int32] {
            (0..<20).map {
                sample(flat, SamplingOptions(temperature: 1, seed: seed), sequence: sequence, step: $0)
            }
        }
        #expect(draws(seed: 42, sequence: 3) == draws(seed: 42, sequence: 3))
        #expect(draws(seed: 42, sequence: 3) != draws(seed: 43, sequence: 3))
        #expect(draws(seed: 42, sequence: 3) != draws(seed: 42, sequence: 4))
        #expect(Set(draws(seed: 42, sequence: 3)).count > 10)
    }
}
