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
            "\(file): the checkpoint is quantized already (quant_method \(method)); packed weights are "
                + "read of \(PackedMethod.names.joined(separator: ", ")) in safetensors; else convert from the original in "
                + "f16, bf16 or f32")
    }
}

// MARK: - What several architectures have

extension ConfigReader {
    /// The activation under that key, in transformers' names.
    func activation(_ key: String, default fallback: Activation) throws -> Activation {
        guard let name = try json.stringIfPresent(key, in: file) else { return fallback }
        guard let activation = Activation(transformersName: name) else {
            let names = Activation.transformersNames.map(\.name).joined(separator: ", ")
            throw error(key, "is '\(name)', supported: \(names)")
        }
        return activation
    }

    /// A positive number under that key; nil where it is absent or null.
    func positive(_ key: String) throws -> Float? {
        guard let value = json[key], !value.isNull else { return nil }
        return Float(try bounded(value, key, 1e-6...1e6))
    }

    /// The windows of layers of which some see a sliding window and some everything: those that `layer_types` says, in
    /// files without it those for which `isSliding` is true. 0: none.
    func layerWindows(layers: Int, isSliding: (Int) -> Bool, window: () throws -> Int) throws -> (Int) -> Int {
        var sliding = (0..<layers).map(isSliding)
        if let types = try json.arrayIfPresent("layer_types", in: file) {
            guard types.count == layers else {
                throw error("layer_types", "has \(types.count) entries, expected one for each of the \(layers) layers")
            }
            sliding = try types.map { type in
                switch type.string {
                case "full_attention": return false
                case "sliding_attention": return true
                default:
                    throw error(
                        "layer_types",
                        "holds \(type.string.map { "'\($0)'" } ?? type.kind), expected full_attention or "
                            + "sliding_attention")
                }
            }
        }
        guard sliding.contains(true) else { return { _ in 0 } }
        let size = try window()
        return { sliding[$0] ? size : 0 }
    }

    /// `sliding_window` of a model that has one.
    func slidingWindow(default fallback: Int? = nil) throws -> Int {
        try int("sliding_window", 1...16_777_216, default: fallback)
    }
}

extension Activation {
    /// Names in transformers' `ACT2FN`.
    static let transformersNames: [(name: String, activation: Activation)] = [
        ("silu", .silu), ("swish", .silu), ("gelu", .gelu), ("gelu_python", .gelu), ("gelu_new", .geluTanh),
        ("gelu_pytorch_tanh", .geluTanh), ("gelu_fast", .geluTanh), ("gelu_accurate", .geluTanh), ("relu", .relu),
        ("tanh", .tanh),
    ]

    init?(transformersName name: String) {
        guard let entry = Self.transformersNames.first(where: { $0.name == name }) else { return nil }
        self = entry.activation
    }
}
