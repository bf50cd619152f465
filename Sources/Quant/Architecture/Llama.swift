import Base

/// `LlamaForCausalLM`: Llama 1 to 3.3, SmolLM 1 and 2, TinyLlama, Yi and whoever took that layout over.
struct LlamaArchitecture: Architecture {
    let name = "LlamaForCausalLM"
    let ggufName = "llama"
    let ggufPairsRotaryRows = true

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        let hasBias = try config.flag("attention_bias")
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.hasMLPBias = try config.flag("mlp_bias")
        return try layout.spec(self)
    }

    /// A file with a window is one of Mistral's.
    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.llamaLayout(modelType: "llama")
        let hasBias = try keys.hasAttentionBias(output: true)
        let window = try keys.count("attention.sliding_window", default: 0)
        if window > 0 {
            guard !hasBias else {
                throw keys.bad("attention.sliding_window", "is \(window) in a model with biases")
            }
            config["architectures"] = .array([.text(MistralArchitecture().name)])
            config["model_type"] = .text("mistral")
            config["sliding_window"] = .integer(window)
        } else {
            config["attention_bias"] = .bool(hasBias)
            config["mlp_bias"] = .bool(keys.hasMLPBias)
        }
        return config
    }
}
