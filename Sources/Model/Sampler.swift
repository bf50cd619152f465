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

    /// The next token for the logits [V] of a sequence at a step. Greedy takes the lowest id among equals.
    public func sample(logits: UnsafeBufferPointer<Float>, sequence: Int, step: Int) -> Int32 {
        guard options.temperature > 0 else { return Self.argmax(logits) }
        var candidates = logits.indices.map { (id: Int32($0), logit: Double(logits[$0]) / options.temperature) }
        candidates.sort { $0.logit != $1.logit ? $0.logit > $1.logit : $0.id < $1.id }
        if options.topK > 0 { candidates.removeLast(max(0, candidates.count - options.topK)) }
        let top = candidates.first?.logit ?? 0
        let weights = candidates.map { exp($0.logit - top) }
        let total = weights.reduce(0, +)
        var kept = weights.count
        if options.topP < 1 {
            var cumulative = 0.0
            kept = 0
            while kept < weights.count && (kept == 0 || cumulative < options.topP * total) {
                cumulative += weights[kept]
                kept += 1
            }
        }
        var remaining = uniform(sequence: sequence, step: step) * weights[..<kept].reduce(0, +)
        for i in 0..<kept {
            remaining -= weights[i]
            if remaining < 0 { return candidates[i].id }
        }
        return candidates[kept - 1].id
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
