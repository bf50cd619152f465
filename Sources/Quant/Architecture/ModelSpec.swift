/// What a model is that can be converted: a decoder or an encoder.
enum ModelSpec: Sendable {
    case decoder(DecoderSpec)
    case encoder(EncoderSpec)

    /// Reads the config.json of either kind.
    ///
    /// - Throws: a bad-input error that names the file, the architecture or key, and what was expected.
    init(config: ConfigReader) throws {
        let name = try config.architecture()
        if let name, EncoderSpec.supportedArchitectures.contains(name) {
            self = .encoder(try EncoderSpec(config: config))
        } else if let name, Architectures.names.contains(name) {
            self = .decoder(try DecoderSpec(config: config))
        } else {
            throw config.unknownArchitecture(
                name, supported: Architectures.names + EncoderSpec.supportedArchitectures)
        }
    }

    /// All tensors of the model, in the order in which a forward pass meets them.
    var tensors: [TensorSpec] {
        switch self {
        case .decoder(let spec): spec.tensors
        case .encoder(let spec): spec.tensors
        }
    }

    /// Name of a tensor that a checkpoint may have and that the model does not need: the copy of a tied head.
    var redundantTensor: String? {
        switch self {
        case .decoder(let spec): spec.head.isTied ? spec.head.linear.weight : nil
        case .encoder: nil
        }
    }

    /// The output head is the embedding.
    var isTied: Bool { redundantTensor != nil }

    /// GGUF's name for the architecture.
    var ggufArchitecture: String {
        switch self {
        case .decoder(let spec): spec.ggufArchitecture
        case .encoder: "bert"
        }
    }

    /// Adds the architecture's own keys.
    func addMetadata(to metadata: inout Metadata) {
        switch self {
        case .decoder(let spec): spec.addMetadata(to: &metadata)
        case .encoder(let spec): spec.addMetadata(to: &metadata)
        }
    }
}
