import Base
import Foundation

/// How the next token is chosen from the logits.
public struct SamplingOptions: Sendable, Equatable {
    /// 0 is greedy; otherwise logits are divided by it.
    public var temperature: Double
    /// Keeps the smallest set of likeliest tokens whose probability reaches it; 1 keeps all.
    public var topP: Double
    /// Keeps that many likeliest tokens; 0 keeps all.
    public var topK: Int
    /// Seed of the generator.
    public var seed: UInt64

    /// Greedy by default.
    public init(temperature: Double = 0, topP: Double = 1, topK: Int = 0, seed: UInt64 = 42) {
        self.temperature = temperature
        self.topP = topP
        self.topK = topK
        self.seed = seed
    }
}

/// Chooses tokens. The random number of a choice is a function of (seed, sequence, step), so results do not depend on
/// how sequences are batched. Thread-safe.
public struct Sampler: Sendable {
    private let options: SamplingOptions

    /// A sampler with those options.
    public init(_ options: SamplingOptions) { self.options = options }

    /// True if the next token is the likeliest one.
    public var isGreedy: Bool { options.temperature <= 0 }

    /// The next token for the logits [V] of a sequence at a step. Greedy takes the lowest id among equals.
    public func sample(logits: UnsafeBufferPointer<Float>, sequence: Int, step: Int) -> Int32 {
        guard !isGreedy else { return Self.argmax(logits) }
        let top = Double(logits.max() ?? 0)
        func weight(_ id: Int) -> Double { exp((Double(logits[id]) - top) / options.temperature) }
        let total = logits.indices.reduce(0) { $0 + weight($1) }
        var kept = Array(logits.indices)
        if options.topK > 0 || options.topP < 1 {
            kept = likeliest(logits, top: top, weight: weight, total: total)
            if options.topK > 0 { kept.removeLast(max(0, kept.count - options.topK)) }
            if options.topP < 1 {
                let mass = options.topK > 0 ? kept.reduce(0) { $0 + weight($1) } : total
                var sum = 0.0
                var count = 0
                while count < kept.count && (count == 0 || sum < options.topP * mass) {
                    sum += weight(kept[count])
                    count += 1
                }
                kept.removeLast(kept.count - count)
            }
        }
        var remaining = uniform(sequence: sequence, step: step) * kept.reduce(0) { $0 + weight($1) }
        for id in kept {
            remaining -= weight(id)
            if remaining < 0 { return Int32(id) }
        }
        // Rounding left a rest: the last that can be drawn.
        return Int32(kept.last { weight($0) > 0 } ?? 0)
    }

    /// The likeliest tokens in falling order, as many as the options need: sorting a whole vocabulary for each token
    /// takes longer than some models.
    private func likeliest(
        _ logits: UnsafeBufferPointer<Float>, top: Double, weight: (Int) -> Double, total: Double
    ) -> [Int] {
        var width = 8 * options.temperature
        var chosen: [Int] = []
        for attempt in 0..<5 {
            let floor = attempt == 4 ? -Double.infinity : top - width
            chosen = logits.indices.filter { Double(logits[$0]) >= floor }
            let isEnough =
                options.topK > 0
                ? chosen.count >= options.topK : chosen.reduce(0) { $0 + weight($1) } >= options.topP * total
            if isEnough { break }
            width *= 2
        }
        return chosen.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
    }

    private static func argmax(_ logits: UnsafeBufferPointer<Float>) -> Int32 {
        var best = 0
        for i in logits.indices where logits[i] > logits[best] { best = i }
        return Int32(best)
    }

    /// A number in 0..<1 from SplitMix64 over the counters.
    private func uniform(sequence: Int, step: Int) -> Double {
        func mix(_ x: UInt64) -> UInt64 { SplitMix64.mixed(x &+ SplitMix64.increment) }
        let bits = mix(mix(mix(options.seed) ^ UInt64(sequence)) ^ UInt64(step))
        return Double(bits >> 11) / 9_007_199_254_740_992
    }
}
