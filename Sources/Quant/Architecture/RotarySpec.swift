/// Rotary positions.
public struct RotarySpec: Sendable, Equatable {
    /// Which features of a head turn together.
    public enum Order: Sendable, Equatable {
        /// (i, i + width / 2), as Hugging Face has Llama.
        case halves
        /// (2i, 2i + 1), as GPT-J.
        case interleaved
    }

    /// Features of a head that are rotated, the first ones; even.
    public let width: Int
    /// What the exponents of the frequencies are divided by: the width, or what an odd one was before it was rounded
    /// up.
    public let divisor: Int
    /// `rope_theta`.
    public let theta: Double
    /// `rope_scaling`.
    public let scaling: RotaryScaling
    /// The pairs.
    public let order: Order
}

/// What the ends of yarn's ramp were computed of.
public struct YarnOrigin: Sendable, Equatable {
    /// `original_max_position_embeddings`: positions of the training.
    public let context: Int
    /// `beta_fast` and `beta_slow`: turns within that context.
    public let betaFast, betaSlow: Double
    /// The factor on cosines and sines that follows from `factor` alone.
    public let attentionFactor: Double
}

/// How rotary frequencies are scaled for long contexts (transformers, `modeling_rope_utils`).
public enum RotaryScaling: Sendable, Equatable {
    /// As trained.
    case none
    /// Positions divided by a factor (`rope_type: linear`).
    case linear(factor: Double)
    /// Llama 3.1's piecewise scaling (`rope_type: llama3`).
    case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContext: Double)
    /// A larger theta for a sequence that is longer than the original context (`rope_type: dynamic`).
    case dynamic(factor: Double, originalContext: Int)
    /// Low frequencies interpolated, high ones kept, between them a ramp; the angles' cosines and sines are multiplied
    /// by `attentionFactor` (`rope_type: yarn`). The ramp goes from pair `low` to pair `high`, which follow from
    /// `origin`.
    case yarn(factor: Double, low: Double, high: Double, attentionFactor: Double, origin: YarnOrigin)
    /// A factor for each pair, another list for sequences longer than the original context (`rope_type: longrope`).
    case longrope(short: [Double], long: [Double], originalContext: Int, attentionFactor: Double)

    /// True if a position's angles depend on the length of its sequence.
    public var dependsOnLength: Bool {
        switch self {
        case .none, .linear, .llama3, .yarn: false
        case .dynamic, .longrope: true
        }
    }
}
