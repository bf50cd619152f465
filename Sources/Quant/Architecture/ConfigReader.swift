import Base

/// Reads bounded values of a config.json and words the errors: the one parser of what a model's configuration says.
public struct ConfigReader: Sendable {
    /// The whole object.
    public let json: JSONValue
    /// The file's name for errors.
    public let file: String

    /// A reader of a parsed config.json; `file` is its name for errors.
    public init(json: JSONValue, file: String) {
        self.json = json
        self.file = file
    }

    /// A reader of the config.json of a model. Error (`badInput`): it has none.
    init(of source: any TextFileSource) throws {
        let config = try source.config()
        self.init(json: config.json, file: config.file)
    }

    func error(_ key: String, _ what: String) -> MeraserError { .badInput("\(file): '\(key)' \(what)") }

    /// `architectures[0]`; nil where there is none.
    func architecture() throws -> String? { try json.arrayIfPresent("architectures", in: file)?.first?.string }

    func unknownArchitecture(_ name: String?, supported: [String]) -> MeraserError {
        .badInput(
            "\(file): the architecture is \(name ?? "none"); supported are \(supported.joined(separator: ", "))")
    }

    func int(_ key: String, _ range: ClosedRange<Int>, default fallback: Int? = nil) throws -> Int {
        let expected = "expected a whole number from \(range.lowerBound) to \(range.upperBound)"
        guard let value = try json.intIfPresent(key, in: file) ?? fallback else {
            throw error(key, "is missing, \(expected)")
        }
        guard range.contains(value) else { throw error(key, "is \(value), \(expected)") }
        return value
    }

    func number(_ key: String, _ range: ClosedRange<Double>, default fallback: Double) throws -> Double {
        guard let value = json[key], !value.isNull else { return fallback }
        return try bounded(value, key, range)
    }

    func bounded(_ value: JSONValue?, _ key: String, _ range: ClosedRange<Double>) throws -> Double {
        let expected = "expected a number from \(range.lowerBound) to \(range.upperBound)"
        guard let value, !value.isNull else { throw error(key, "is missing, \(expected)") }
        guard let number = value.double, range.contains(number) else {
            throw error(key, "is \(value.double.map { "\($0)" } ?? value.kind), \(expected)")
        }
        return number
    }

    /// A token id or a list of them; null and absent mean none.
    func tokenIDs(_ key: String, _ vocabulary: Int) throws -> [Int32] {
        guard let value = json[key], !value.isNull else { return [] }
        return try (value.array ?? [value]).map {
            guard let id = $0.int, (0..<vocabulary).contains(id) else {
                throw error(key, "is not a token id below vocab_size \(vocabulary)")
            }
            return Int32(id)
        }
    }

    func flag(_ key: String, default fallback: Bool = false) throws -> Bool {
        try json.boolIfPresent(key, in: file) ?? fallback
    }

    /// Refuses a text under `key` that is not one of `supported`; absent and null count as the first.
    func requireText(_ key: String, _ supported: [String]) throws {
        guard let text = try json.stringIfPresent(key, in: file), !supported.contains(text) else { return }
        throw error(key, "is '\(text)', supported: \(supported.joined(separator: ", "))")
    }

    /// Refuses a checkpoint whose weights are packed by another program.
    func refuseQuantized() throws {
        guard let quantization = try json.value("quantization_config", in: file) else { return }
        let method = quantization["quant_method"]?.string ?? "unknown"
        throw MeraserError.badInput(
            "\(file): the checkpoint is quantized already (quant_method \(method)); convert from the original in f16, "
                + "bf16 or f32")
    }
}

// MARK: - Rotary positions

extension ConfigReader {
    /// Rotary positions over `width` features of a head.
    func rotary(width: Int) throws -> RotarySpec {
        RotarySpec(width: width, theta: try ropeTheta(), scaling: try ropeScaling())
    }

    /// Newer files keep rotary settings in `rope_parameters`, older ones beside it.
    private var ropeObject: (key: String, value: JSONValue)? {
        for key in ["rope_parameters", "rope_scaling"] {
            if let value = json[key], value.object != nil { return (key, value) }
        }
        return nil
    }

    private func ropeTheta() throws -> Double {
        if let rope = ropeObject, let theta = rope.value["rope_theta"] {
            return try bounded(theta, "\(rope.key).rope_theta", 1...1e12)
        }
        return try number("rope_theta", 1...1e12, default: 10_000)
    }

    private func ropeScaling() throws -> RotaryScaling {
        guard let (key, rope) = ropeObject else { return .none }
        let type = rope["rope_type"]?.string ?? rope["type"]?.string ?? "default"
        func factor(_ name: String, _ range: ClosedRange<Double>) throws -> Double {
            try bounded(rope[name], "\(key).\(name)", range)
        }
        switch type {
        case "default":
            return .none
        case "linear":
            return .linear(factor: try factor("factor", 1...1e6))
        case "llama3":
            let low = try factor("low_freq_factor", 1e-6...1e6)
            let high = try factor("high_freq_factor", 1e-6...1e6)
            guard high > low else { throw error("\(key).high_freq_factor", "is not above low_freq_factor") }
            return .llama3(
                factor: try factor("factor", 1...1e6), lowFrequencyFactor: low, highFrequencyFactor: high,
                originalContext: try factor("original_max_position_embeddings", 1...1e9))
        default:
            throw error("\(key).rope_type", "is '\(type)', supported: default, linear, llama3")
        }
    }
}
