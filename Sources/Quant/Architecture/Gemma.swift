import Base

/// `GemmaForCausalLM`: Llama's layout with norms of 1 + w, embeddings times √hidden and a tied head.
struct GemmaArchitecture: Architecture {
    let name = "GemmaForCausalLM"
    let ggufName = "gemma"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(gemma: config)
        let activation = try config.activation("hidden_act", default: .geluTanh)
        // transformers reads `hidden_act`, as it always has; newer files repeat it.
        guard try config.activation("hidden_activation", default: activation) == activation else {
            throw config.error("hidden_activation", "is another activation than 'hidden_act', which transformers uses")
        }
        layout.activation = activation
        return try layout.spec(self)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] { try keys.gemma(modelType: "gemma") }
}

extension LlamaLayout {
    /// What all Gemmas have.
    init(gemma config: ConfigReader) throws {
        try self.init(config)
        normKind = .rmsOffset
        embeddingScale = Float(Double(hiddenSize).squareRoot())
        isTiedByDefault = true
        defaultHeadDim = 256
        let hasBias = try config.flag("attention_bias")
        attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
    }
}

extension GGUFKeys {
    /// What all Gemmas have.
    mutating func gemma(modelType: String) throws -> [String: JSONValue] {
        let activation = "gelu_pytorch_tanh"
        var config = try llamaLayout(modelType: modelType, activation: activation)
        config["hidden_activation"] = .text(activation)
        config["attention_bias"] = .bool(try hasAttentionBias(output: true))
        return config
    }

    /// What Gemma 2 and 3 share; of the largest model of each the scores are divided by another number, which GGUF has no
    /// key for.
    mutating func sandwichedGemma(
        modelType: String, layersOfLargest: Int, defaultWindow: Int, defaultPeriod: Int
    ) throws -> [String: JSONValue] {
        var config = try gemma(modelType: modelType)
        let shape = try shape()
        let isLargest = shape.layers == layersOfLargest
        config["query_pre_attn_scalar"] =
            isLargest ? .integer(shape.hiddenSize / shape.heads) : config["head_dim"] ?? .null
        let window = try count("attention.sliding_window", default: defaultWindow)
        let isSliding =
            window > 0
            ? try slidingLayers(count: shape.layers, defaultPeriod: defaultPeriod)
            : [Bool](repeating: false, count: shape.layers)
        config.merge(Self.windows(isSliding, max(window, 1))) { $1 }
        return config
    }
}
