import Base
import Foundation

/// How a family's config.json tells its rotary positions.
struct RotaryReading {
    /// The key of the share of a head's features that is rotated, and the share of files without it; no key: all of
    /// them.
    var share: (key: String?, fallback: Double) = (nil, 1)
    /// The key of theta, and the theta of files without it.
    var theta = (key: "rope_theta", fallback: 10_000.0)
    /// `original_max_position_embeddings` beside the scaling, in files that do not say.
    var originalContext: Int?
    /// Older names of a scaling's type.
    var typeAliases = ["su": "longrope"]
    /// The layers that are meant, where `rope_parameters` has an object for each type of them.
    var layerType = "full_attention"
}

extension ConfigReader {
    /// Rotary positions over the first features of heads of `headDim`, in transformers' sense: of an odd number of
    /// features the next even one is rotated, with the odd one's frequencies. `context` is `max_position_embeddings`.
    func rotary(
        _ reading: RotaryReading, headDim: Int, context: Int, order: RotarySpec.Order = .halves
    ) throws -> RotarySpec {
        let rope = ropeObject(reading)
        let divisor = Int(Double(headDim) * (try rotatedShare(reading, rope)))
        guard divisor >= 1, (divisor + 1) / 2 * 2 <= headDim else {
            throw error(
                "head_dim",
                "is \(headDim), of which \(divisor) features would be rotated in pairs; expected an even number of "
                    + "them")
        }
        let theta =
            try rope.flatMap { try $0.optionalNumber("rope_theta", 1...1e12) }
            ?? number(reading.theta.key, 1...1e12, default: reading.theta.fallback)
        let scaling = try rope.map {
            try ropeScaling($0, reading, divisor: divisor, theta: theta, context: context)
        }
        return RotarySpec(
            width: (divisor + 1) / 2 * 2, divisor: divisor, theta: theta, scaling: scaling ?? .none, order: order)
    }

    private func rotatedShare(_ reading: RotaryReading, _ rope: RopeObject?) throws -> Double {
        let inside = try rope?.optionalNumber("partial_rotary_factor", 1e-3...1)
        guard let key = reading.share.key else {
            let share = try inside ?? number("partial_rotary_factor", 1e-3...1, default: 1)
            guard share == 1 else { throw error("partial_rotary_factor", "is \(share), supported here: 1") }
            return 1
        }
        return try inside ?? number(key, 1e-3...1, default: reading.share.fallback)
    }

    /// Newer files keep rotary settings in `rope_parameters`, older ones in `rope_scaling`.
    private func ropeObject(_ reading: RotaryReading) -> RopeObject? {
        for key in ["rope_parameters", "rope_scaling"] {
            guard let value = json[key], value.object != nil else { continue }
            guard let own = value[reading.layerType], own.object != nil else {
                return RopeObject(reader: self, key: key, value: value)
            }
            return RopeObject(reader: self, key: "\(key).\(reading.layerType)", value: own)
        }
        return nil
    }

    private func ropeScaling(
        _ rope: RopeObject, _ reading: RotaryReading, divisor: Int, theta: Double, context: Int
    ) throws -> RotaryScaling {
        switch reading.typeAliases[rope.type] ?? rope.type {
        case "default":
            return .none
        case "linear":
            return .linear(factor: try rope.number("factor", 1...1e6))
        case "llama3":
            let low = try rope.number("low_freq_factor", 1e-6...1e6)
            let high = try rope.number("high_freq_factor", 1e-6...1e6)
            guard high > low else { throw error("\(rope.key).high_freq_factor", "is not above low_freq_factor") }
            return .llama3(
                factor: try rope.number("factor", 1...1e6), lowFrequencyFactor: low, highFrequencyFactor: high,
                originalContext: try rope.number("original_max_position_embeddings", 1...1e9))
        case "dynamic":
            guard divisor > 2 else { throw error("\(rope.key).rope_type", "is 'dynamic' for \(divisor) features") }
            return .dynamic(factor: try rope.number("factor", 1...1e6), originalContext: context)
        case "yarn":
            return try yarn(rope, divisor: divisor, theta: theta, context: rope.originalContext ?? context)
        case "longrope":
            return try longrope(rope, reading, pairs: (divisor + 1) / 2, context: context)
        default:
            throw error(
                "\(rope.key).rope_type",
                "is \(quoted(rope.type)), supported: default, linear, llama3, dynamic, yarn, longrope")
        }
    }

    /// The ramp goes between the pairs that turn `beta_fast` and `beta_slow` times in the original context.
    private func yarn(_ rope: RopeObject, divisor: Int, theta: Double, context: Int) throws -> RotaryScaling {
        let factor = try rope.number("factor", 1...1e6)
        func pair(turns: Double) -> Double {
            Double(divisor) * log(Double(context) / (turns * 2 * .pi)) / (2 * log(theta))
        }
        guard theta > 1 else { throw error("rope_theta", "is \(theta), expected more than 1 with yarn") }
        let fast = try rope.optionalNumber("beta_fast", 1e-6...1e6) ?? 32
        let slow = try rope.optionalNumber("beta_slow", 1e-6...1e6) ?? 1
        var (low, high) = (pair(turns: fast), pair(turns: slow))
        if try rope.value.boolIfPresent("truncate", in: file) ?? true {
            (low, high) = (low.rounded(.down), high.rounded(.up))
        }
        func magnitude(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
        let scales = (
            try rope.optionalNumber("mscale", 0...1e6) ?? 0, try rope.optionalNumber("mscale_all_dim", 0...1e6) ?? 0
        )
        let own = scales.0 > 0 && scales.1 > 0 ? magnitude(scales.0) / magnitude(scales.1) : magnitude(1)
        return .yarn(
            factor: factor, low: max(low, 0), high: min(high, Double(divisor - 1)),
            attentionFactor: try rope.optionalNumber("attention_factor", 1e-6...1e6) ?? own,
            origin: YarnOrigin(
                context: context, betaFast: fast, betaSlow: slow, attentionFactor: magnitude(1)))
    }

    /// Phi-3 has its original context beside the object; then the ratio of both contexts is the factor.
    private func longrope(
        _ rope: RopeObject, _ reading: RotaryReading, pairs: Int, context: Int
    ) throws -> RotaryScaling {
        let beside = try json.intIfPresent("original_max_position_embeddings", in: file) ?? reading.originalContext
        let original = beside ?? context
        guard (1...16_777_216).contains(original) else {
            throw error("original_max_position_embeddings", "is \(original), expected 1 to 16777216")
        }
        let given = try rope.optionalNumber("attention_factor", 1e-6...1e6)
        let factor =
            try beside.map { Double(context) / Double($0) } ?? (given == nil ? rope.number("factor", 1e-6...1e6) : 1)
        let own = factor <= 1 || original < 2 ? 1 : (1 + log(factor) / log(Double(original))).squareRoot()
        return .longrope(
            short: try rope.numbers("short_factor", count: pairs), long: try rope.numbers("long_factor", count: pairs),
            originalContext: original, attentionFactor: given ?? own)
    }
}

/// `rope_parameters` or `rope_scaling`.
private struct RopeObject {
    let reader: ConfigReader
    let key: String
    let value: JSONValue

    var type: String { value["rope_type"]?.string ?? value["type"]?.string ?? "default" }

    /// The context of the training, where the object says it.
    var originalContext: Int? {
        get throws {
            try optionalNumber("original_max_position_embeddings", 1...16_777_216).map { Int($0) }
        }
    }

    func number(_ name: String, _ range: ClosedRange<Double>) throws -> Double {
        try reader.bounded(value[name], "\(key).\(name)", range)
    }

    func optionalNumber(_ name: String, _ range: ClosedRange<Double>) throws -> Double? {
        guard let entry = value[name], !entry.isNull else { return nil }
        return try reader.bounded(entry, "\(key).\(name)", range)
    }

    func numbers(_ name: String, count: Int) throws -> [Double] {
        let values = try value.array(name, in: "\(reader.file): '\(key)'")
        guard values.count == count else {
            throw reader.error("\(key).\(name)", "has \(values.count) numbers, expected one for each of \(count) pairs")
        }
        return try values.map { try reader.bounded($0, "\(key).\(name)", 1e-6...1e6) }
    }
}

extension RotaryScaling {
    /// The positions that it makes of a model's `max_position_embeddings`.
    func stretched(_ context: Int) -> Int {
        func times(_ factor: Double, _ original: Int) -> Int {
            Int(min(Double(original) * factor, 16_777_216))
        }
        return switch self {
        case .none, .llama3, .longrope, .yarn: context
        case .linear(let factor): max(context, times(factor, context))
        case .dynamic(let factor, let original): max(context, times(factor, original))
        }
    }
}
