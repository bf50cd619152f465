import Quant

/// Shape and hyper-parameters of a decoder-only model, from Hugging Face's `config.json`.
public struct ModelConfig: Sendable, Equatable {
    /// `model_type`: llama or mistral.
    public let modelType: String
    /// `hidden_size`.
    public let hiddenSize: Int
    /// `intermediate_size`.
    public let intermediateSize: Int
    /// `num_hidden_layers`.
    public let numHiddenLayers: Int
    /// `num_attention_heads`.
    public let numAttentionHeads: Int
    /// `num_key_value_heads`; absent means as many as attention heads.
    public let numKeyValueHeads: Int
    /// `head_dim`; absent means hidden_size / num_attention_heads.
    public let headDim: Int
    /// `vocab_size`: rows of the embedding.
    public let vocabSize: Int
    /// `rms_norm_eps`.
    public let rmsNormEps: Float
    /// `rope_theta`.
    public let ropeTheta: Double
    /// `rope_scaling`.
    public let ropeScaling: RotaryScaling
    /// `sliding_window` of Mistral, 0 for none.
    public let slidingWindow: Int
    /// `tie_word_embeddings`: the head is the embedding.
    public let tieWordEmbeddings: Bool
    /// `max_position_embeddings`.
    public let maxPositionEmbeddings: Int
    /// `bos_token_id`, if any.
    public let bosTokenID: Int32?

    /// Rows and columns of a projection's weight.
    public func shape(of projection: Projection) -> (rows: Int, columns: Int) {
        switch projection {
        case .q_proj: (numAttentionHeads * headDim, hiddenSize)
        case .k_proj, .v_proj: (numKeyValueHeads * headDim, hiddenSize)
        case .o_proj: (hiddenSize, numAttentionHeads * headDim)
        case .gate_proj, .up_proj: (intermediateSize, hiddenSize)
        case .down_proj: (hiddenSize, intermediateSize)
        }
    }

    /// Width of the queries of a token: heads × head_dim.
    public var queryWidth: Int { numAttentionHeads * headDim }
    /// Width of the keys (and of the values) of a token.
    public var keyValueWidth: Int { numKeyValueHeads * headDim }
}

extension ModelConfig {
    /// Architectures that can be loaded, by the name in `architectures`.
    public static let supportedArchitectures = ["LlamaForCausalLM", "MistralForCausalLM"]

    /// Parses and checks a `config.json`; every number is bounded before anything is allocated from it.
    ///
    /// - Throws: a bad-input error that names the file, the key, what it holds and what was expected.
    public init(json bytes: [UInt8], file: String) throws {
        let json = try JSONValue.parse(bytes, file: file)
        let names = try json.array("architectures", in: file).compactMap(\.string)
        guard let architecture = names.first, Self.supportedArchitectures.contains(architecture) else {
            throw MeraserError.badInput(
                "\(file): architecture \(names.first ?? "(none)") is not supported; supported: "
                    + Self.supportedArchitectures.joined(separator: ", "))
        }
        let reader = ConfigReader(json: json, file: file)
        try reader.refuseUnsupportedSwitches()

        modelType = architecture == "MistralForCausalLM" ? "mistral" : "llama"
        hiddenSize = try reader.int("hidden_size", 1...65_536)
        intermediateSize = try reader.int("intermediate_size", 1...1_048_576)
        numHiddenLayers = try reader.int("num_hidden_layers", 1...1_024)
        numAttentionHeads = try reader.int("num_attention_heads", 1...1_024)
        numKeyValueHeads = try reader.int("num_key_value_heads", 1...1_024, default: numAttentionHeads)
        headDim = try reader.int("head_dim", 2...256, default: hiddenSize / numAttentionHeads)
        vocabSize = try reader.int("vocab_size", 1...4_194_304)
        rmsNormEps = Float(try reader.number("rms_norm_eps", 0...1, default: 1e-6))
        maxPositionEmbeddings = try reader.int("max_position_embeddings", 1...16_777_216, default: 2048)
        tieWordEmbeddings = try json.boolIfPresent("tie_word_embeddings", in: file) ?? false
        slidingWindow = modelType == "mistral" ? try reader.int("sliding_window", 1...16_777_216, default: 0) : 0
        ropeTheta = try reader.ropeTheta()
        ropeScaling = try reader.ropeScaling(context: maxPositionEmbeddings)
        bosTokenID = try reader.tokenIDs("bos_token_id", vocabSize).first

        guard numAttentionHeads % numKeyValueHeads == 0 else {
            throw reader.error(
                "num_key_value_heads", "is \(numKeyValueHeads), expected a divisor of the \(numAttentionHeads) heads")
        }
        guard headDim % 2 == 0 else {
            throw reader.error("head_dim", "is \(headDim), expected an even number (rotary pairs)")
        }
        guard numAttentionHeads * headDim <= 65_536 else {
            throw reader.error(
                "head_dim", "times num_attention_heads is \(numAttentionHeads * headDim), expected ≤ 65536")
        }
    }
}

extension ConfigReader {
    /// Newer files keep rotary settings in `rope_parameters`, older ones beside it.
    private var ropeObject: (key: String, value: JSONValue)? {
        for key in ["rope_parameters", "rope_scaling"] {
            if let value = json[key], value.object != nil { return (key, value) }
        }
        return nil
    }

    fileprivate func ropeTheta() throws -> Double {
        if let rope = ropeObject, let theta = rope.value["rope_theta"] {
            return try bounded(theta, "\(rope.key).rope_theta", 1...1e12)
        }
        return try number("rope_theta", 1...1e12, default: 10_000)
    }

    fileprivate func ropeScaling(context: Int) throws -> RotaryScaling {
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

    fileprivate func refuseUnsupportedSwitches() throws {
        for key in ["attention_bias", "mlp_bias"] where try json.boolIfPresent(key, in: file) == true {
            throw error(key, "is true: biases in this architecture are not supported")
        }
        if let activation = try json.stringIfPresent("hidden_act", in: file), activation != "silu" {
            throw error("hidden_act", "is '\(activation)', supported: silu")
        }
        if let tp = json["pretraining_tp"]?.int, tp != 1 {
            throw error("pretraining_tp", "is \(tp), supported: 1")
        }
    }
}
