import Base

/// `Qwen3ForCausalLM`: Llama's layout with RMS norms over the heads of queries and keys.
struct Qwen3Architecture: Architecture {
    let name = "Qwen3ForCausalLM"
    let ggufName = "qwen3"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        let hasBias = try config.flag("attention_bias")
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.headNorms = .perHead
        layout.defaultHeadDim = 128
        layout.window = try config.qwenWindows(layers: layout.layerCount)
        return try layout.spec(self)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.qwen(modelType: "qwen3")
        config["attention_bias"] = .bool(try keys.hasAttentionBias(output: true))
        return config
    }
}
