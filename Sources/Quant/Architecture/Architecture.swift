import Base

/// A family of decoder-only models: what its config.json means, and how GGUF names and orders its tensors.
protocol Architecture: Sendable {
    /// The name in config.json's `architectures`.
    var name: String { get }
    /// GGUF's `general.architecture`.
    var ggufName: String { get }
    /// In GGUF files the rows of queries and keys that a rotation turns together are neighbours.
    var ggufPairsRotaryRows: Bool { get }
    /// What llama.cpp makes of its GGUF files.
    var llamaCpp: LlamaCppSupport { get }
    /// What its checkpoints call modules that do not have Llama's names.
    var projections: [String: Projection] { get }
    /// Reads and bounds everything that config.json says.
    ///
    /// - Throws: a bad-input error that names the file, the key, what it holds and what was expected; also for a switch
    ///   that changes results and is not served.
    func spec(_ config: ConfigReader) throws -> DecoderSpec
    /// The keys of config.json that a GGUF file's keys stand for, but for those that all models have (`GGUFConfig`).
    /// What GGUF has no key for is what llama.cpp computes.
    ///
    /// - Throws: a bad-input error that names the file and the key.
    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue]
}

/// What llama.cpp makes of an architecture's GGUF files.
enum LlamaCppSupport {
    /// It runs none of them: there are only names.
    case none
    /// It runs them with full attention in every layer, whatever windows the file names.
    case withoutWindows
    /// It runs them as the file says.
    case whole
}

extension Architecture {
    /// Without windows, as most.
    var llamaCpp: LlamaCppSupport { .withoutWindows }
    /// None.
    var projections: [String: Projection] { [:] }
    /// False: as in Hugging Face's models.
    var ggufPairsRotaryRows: Bool { false }
    /// Llama's layout with its switches for biases.
    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.llamaLayout(modelType: ggufName)
        config["attention_bias"] = .bool(try keys.hasAttentionBias(output: true))
        config["mlp_bias"] = .bool(keys.hasMLPBias)
        return config
    }
}

/// The architectures that are served: a file each beside this one.
enum Architectures {
    /// All of them.
    static let all: [any Architecture] = [
        LlamaArchitecture(), MistralArchitecture(), Qwen2Architecture(), Qwen3Architecture(), Phi3Architecture(),
        GemmaArchitecture(), Gemma2Architecture(), Gemma3Architecture(), GPTNeoXArchitecture(), GPTJArchitecture(),
        OLMo2Architecture(), GraniteArchitecture(), SmolLM3Architecture(), StableLMArchitecture(),
        Starcoder2Architecture(),
    ]
    /// Names of modules that are not Llama's, of all of them.
    static let projections = all.reduce(into: [String: Projection]()) { names, architecture in
        names.merge(architecture.projections) { first, _ in first }
    }
    /// Their names in config.json's `architectures`.
    static var names: [String] { all.map(\.name) }
    /// GGUF's names of them, each once.
    static var ggufNames: [String] {
        all.map(\.ggufName).reduce(into: []) { names, name in if !names.contains(name) { names.append(name) } }
    }
}

extension DecoderSpec {
    /// The spec of a config.json; every number is bounded before anything is allocated from it.
    ///
    /// - Throws: a bad-input error that names the file, the key, what it holds and what was expected.
    public init(json bytes: [UInt8], file: String) throws {
        try self.init(config: ConfigReader(json: try JSONValue.parse(bytes, file: file), file: file))
    }

    /// The spec of the model that lies at `store`.
    ///
    /// - Throws: `badInput` where there is no config.json, and as the initialiser above.
    public init(of store: any WeightStore) throws { try self.init(config: ConfigReader(of: store)) }

    init(config: ConfigReader) throws {
        let name = try config.architecture()
        guard let architecture = Architectures.all.first(where: { $0.name == name }) else {
            throw config.unknownArchitecture(name, supported: Architectures.names)
        }
        try config.refuseQuantized()
        self = try architecture.spec(config)
    }
}
