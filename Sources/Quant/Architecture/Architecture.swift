import Base

/// A family of decoder-only models: what its config.json means, and how GGUF names and orders its tensors.
public protocol Architecture: Sendable {
    /// The name in config.json's `architectures`.
    var name: String { get }
    /// GGUF's `general.architecture`.
    var ggufName: String { get }
    /// What its checkpoints call modules that do not have Llama's names.
    var projections: [String: Projection] { get }
    /// Reads and bounds everything that config.json says.
    ///
    /// - Throws: a bad-input error that names the file, the key, what it holds and what was expected; also for a switch
    ///   that changes results and is not served.
    func spec(_ config: ConfigReader) throws -> DecoderSpec
}

extension Architecture {
    /// None.
    public var projections: [String: Projection] { [:] }
}

/// The architectures that are served: a file each beside this one.
public enum Architectures {
    /// All of them.
    public static let all: [any Architecture] = [
        LlamaArchitecture(), MistralArchitecture(), Qwen2Architecture(), Qwen3Architecture(), Phi3Architecture(),
        GemmaArchitecture(), Gemma2Architecture(), Gemma3Architecture(), GPTNeoXArchitecture(), GPTJArchitecture(),
        OLMo2Architecture(), GraniteArchitecture(), SmolLM3Architecture(), StableLMArchitecture(),
    ]
    /// Names of modules that are not Llama's, of all of them.
    static let projections = all.reduce(into: [String: Projection]()) { names, architecture in
        names.merge(architecture.projections) { first, _ in first }
    }
    /// Their names in config.json's `architectures`.
    public static var names: [String] { all.map(\.name) }
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
