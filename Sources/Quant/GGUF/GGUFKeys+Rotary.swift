import Base
import Foundation

extension GGUFKeys {
    /// `rope_theta`.
    mutating func ropeTheta() throws -> Double { try number("rope.freq_base", default: 10_000) }

    /// `rope_scaling` of heads of which so many features are rotated; null where there is none.
    mutating func ropeScaling(rotated: Int) throws -> JSONValue {
        if let factors = factors("rope_freqs.weight"), factors.contains(where: { $0 != 1 }) {
            return try llama3Scaling(factors, rotated: rotated)
        }
        if let factor = try optionalNumber("rope.scale_linear") {
            return factor == 1 ? .null : ["rope_type": .text("linear"), "factor": .number(factor)]
        }
        switch try text("rope.scaling.type") {
        case nil, "none":
            return .null
        case "linear":
            return ["rope_type": .text("linear"), "factor": .number(try number("rope.scaling.factor"))]
        case "yarn":
            return try yarnScaling()
        case "longrope" where hasTensor("rope_factors_long.weight"):
            // The tensors tell it (`longropeScaling`).
            return .null
        case let type?:
            throw bad("rope.scaling.type", "is \(quoted(type)), supported: none, linear, yarn")
        }
    }

    private mutating func yarnScaling() throws -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("rope_type", .text("yarn")), ("factor", .number(try number("rope.scaling.factor"))),
            (
                "original_max_position_embeddings",
                .integer(try count("rope.scaling.original_context_length"))
            ),
        ]
        for (key, name) in [
            ("rope.scaling.attn_factor", "attention_factor"), ("rope.scaling.yarn_attn_factor", "attention_factor"),
            ("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow"),
        ] where !members.contains(where: { $0.key == name }) {
            if let number = try optionalNumber(key) { members.append((name, .number(number))) }
        }
        return .object(JSONObject(members))
    }

    /// Llama 3.1's scaling as its only trace tells it: the published models differ in the factor alone. The length of
    /// context that it starts from is one that gives these very factors, 8192 where that does.
    private mutating func llama3Scaling(_ factors: [Float], rotated: Int) throws -> JSONValue {
        let file = file
        func bad(_ what: String) -> MeraserError { .badInput("\(file): tensor 'rope_freqs.weight' \(what)") }
        guard factors.count == rotated / 2 else {
            throw bad("has \(factors.count) numbers, expected \(rotated / 2), one for each pair of a head")
        }
        let (low, high) = (1.0, 4.0)
        let theta = try ropeTheta()
        let factor = Double(factors.max() ?? 1)
        func explainsFactors(_ original: Double) -> Bool {
            let expected = Self.llama3Factors(
                pairs: factors.count, theta: theta, factor: factor, low: low, high: high, original: original)
            return zip(factors, expected).allSatisfy { abs(Double($0) - $1) <= $1 / 1000 }
        }
        let claimed = try count("rope.scaling.original_context_length", default: 8192)
        let lengths = [claimed] + (0...24).map { 1 << $0 }  // bounded: to 2^24
        guard let original = lengths.first(where: { explainsFactors(Double($0)) }) else {
            throw bad(
                "is not Llama 3's scaling of the rotary frequencies by \(factor), from any power of two of positions")
        }
        return [
            "rope_type": .text("llama3"), "factor": .number(factor), "low_freq_factor": .number(low),
            "high_freq_factor": .number(high), "original_max_position_embeddings": .integer(original),
        ]
    }

    /// What Llama 3.1's scaling divides the frequencies of the pairs by: 1 for short waves, the whole factor for long
    /// ones.
    static func llama3Factors(
        pairs: Int, theta: Double, factor: Double, low: Double, high: Double, original: Double
    ) -> [Double] {
        (0..<pairs).map { pair in
            let wavelength = 2 * Double.pi * pow(theta, Double(pair) / Double(pairs))  // bounded: Double does not trap
            let share = min(1, max(0, (original / wavelength - low) / (high - low)))
            return 1 / ((1 - share) / factor + share)
        }
    }

    /// Phi-3's scaling for long texts, from its two tensors; nil where the file has none. `original` and `context` are
    /// the positions of the training and those that it serves.
    mutating func longropeScaling(rotated: Int, original: Int, context: Int) throws -> JSONValue? {
        guard hasTensor("rope_factors_long.weight") || hasTensor("rope_factors_short.weight") else { return nil }
        func list(_ name: String, _ found: [Float]?) throws -> JSONValue {
            let found = found ?? []
            guard found.count == (rotated + 1) / 2 else {
                throw MeraserError.badInput(
                    "\(file): tensor '\(name)' has \(found.count) numbers, expected \((rotated + 1) / 2), one for each "
                        + "pair of a head")
            }
            return .array(
                try found.map {
                    guard let number = Self.shortest($0) else {
                        throw MeraserError.badInput("\(file): tensor '\(name)' has the value \($0), expected numbers")
                    }
                    return .number(number)
                })
        }
        var members: [(key: String, value: JSONValue)] = [
            ("type", .text("longrope"))
        ]
        for (key, name) in [
            ("long_factor", "rope_factors_long.weight"), ("short_factor", "rope_factors_short.weight"),
        ] {
            members.append((key, try list(name, factors(name))))
        }
        // What transformers computes needs no key.
        let factor = Double(context) / Double(original)
        let own = factor <= 1 || original < 2 ? 1 : (1 + log(factor) / log(Double(original))).squareRoot()
        if let given = try optionalNumber("rope.scaling.attn_factor"), abs(given - own) > own / 1e6 {
            members.append(("attention_factor", .number(given)))
        }
        return .object(JSONObject(members))
    }
}
