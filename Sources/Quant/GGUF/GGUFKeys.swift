import Base

/// What a GGUF file says of its model: the keys under the architecture's name, and which tensors there are. An
/// `Architecture` makes its config.json of it. A key that it does not ask for would change the numbers, so it is
/// refused.
struct GGUFKeys {
    /// GGUF's name of the architecture, which the keys begin with.
    let architecture: String
    /// The file's name for errors.
    let file: String

    private let metadata: Metadata
    private let tensorNames: Set<String>
    private let ropeFactors: [String: [Float]]
    /// Keys that nobody has asked for yet, without the architecture's name.
    private(set) var unread: Set<String>
    private var unreadFactors: Set<String>

    /// Tensors with factors for the rotary frequencies: of Llama 3, and of Phi-3 for long and short texts.
    static let ropeFactorNames = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"]

    /// Keys that change no number.
    private static let silentKeys = [
        "rope.scaling.finetuned", "expert_count", "expert_used_count", "tensor_data_layout",
    ]

    /// Throws `badInput` for a mixture of experts.
    init(
        _ metadata: Metadata, architecture: String, tensorNames: Set<String>, ropeFactors: [String: [Float]],
        file: String
    ) throws {
        self.metadata = metadata
        self.architecture = architecture
        self.tensorNames = tensorNames
        self.ropeFactors = ropeFactors
        unreadFactors = Set(ropeFactors.keys)
        self.file = file
        let prefix = architecture + "."
        unread = Set(metadata.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) })
        unread.subtract(Self.silentKeys)
        if let experts = metadata[prefix + "expert_count"], metadata.int(prefix + "expert_count") != 0 {
            throw bad("expert_count", "is \(experts): mixtures of experts are not supported")
        }
    }

    /// Throws `badInput` naming a key or a tensor of factors that nobody asked for.
    func refuseUnread() throws {
        if let name = unreadFactors.min() {
            throw MeraserError.badInput("\(file): tensor '\(name)' is not supported for \(architecture)")
        }
        guard let key = unread.min() else { return }
        throw MeraserError.badInput(
            "\(file): the key \(architecture).\(key) is not supported; it would change what the model computes")
    }

    /// The error that names that key.
    func bad(_ key: String, _ what: String) -> MeraserError { .badInput("\(file): \(architecture).\(key) \(what)") }

    /// There is a tensor of that name.
    func hasTensor(_ name: String) -> Bool { tensorNames.contains(name) }

    /// There is a tensor of that name in the lowest layer: `ffn_down.bias`.
    func layersHave(_ name: String) -> Bool { hasTensor("blk.0.\(name)") }

    // MARK: Values

    /// The numbers of one of `ropeFactorNames`; nil where there is no such tensor.
    mutating func factors(_ name: String) -> [Float]? {
        unreadFactors.remove(name)
        return ropeFactors[name]
    }

    private mutating func value(_ key: String) -> MetadataValue? {
        unread.remove(key)
        return metadata["\(architecture).\(key)"]
    }

    /// A whole number, 1 or more unless it is the default.
    mutating func count(_ key: String, default fallback: Int? = nil) throws -> Int {
        guard let value = value(key) else {
            guard let fallback else { throw bad(key, "is missing, expected a whole number") }
            return fallback
        }
        guard let number = metadata.int("\(architecture).\(key)"), number >= 1 || number == fallback else {
            throw bad(key, "is \(value), expected a whole number of 1 or more")
        }
        return number
    }

    /// A number as the shortest decimal that is the same f32, which is how its author wrote it: 1e-05.
    mutating func number(_ key: String, default fallback: Double? = nil) throws -> Double {
        guard let number = try optionalNumber(key) ?? fallback else {
            throw bad(key, "is missing, expected a number")
        }
        return number
    }

    /// The same; nil where there is none.
    mutating func optionalNumber(_ key: String) throws -> Double? {
        guard let value = value(key) else { return nil }
        guard let number = metadata.float("\(architecture).\(key)"), number.isFinite else {
            throw bad(key, "is \(value), expected a finite number")
        }
        guard let shortest = Self.shortest(Float(number)) else {
            throw bad(key, "is \(value), expected a finite number")
        }
        return shortest
    }

    /// A switch; nil where there is none.
    mutating func flag(_ key: String) throws -> Bool? {
        guard let value = value(key) else { return nil }
        guard case .bool(let flag) = value else { throw bad(key, "is \(value), expected true or false") }
        return flag
    }

    /// A text; nil where there is none.
    mutating func text(_ key: String) throws -> String? {
        guard let value = value(key) else { return nil }
        guard case .string(let text) = value else { throw bad(key, "is \(value), expected a text") }
        return text
    }

    /// Which layers have a sliding window: the key has a flag for each, or a period of which the last layer has none
    /// (0: all have one).
    mutating func slidingLayers(count layers: Int, defaultPeriod: Int) throws -> [Bool] {
        let key = "attention.sliding_window_pattern"
        if case .array(.bool(let flags))? = value(key) {
            guard flags.count == layers else { throw bad(key, "has \(flags.count) entries, expected \(layers)") }
            return flags
        }
        let period = metadata.int("\(architecture).\(key)") == 0 ? 0 : try count(key, default: defaultPeriod)
        return (0..<layers).map { period == 0 || $0 % period < period - 1 }
    }

    /// The shortest decimal that is the same f32; nil where it is not finite.
    static func shortest(_ number: Float) -> Double? { number.isFinite ? Double("\(number)") : nil }
}
