import Base

/// `Starcoder2ForCausalLM`: Llama's layout with LayerNorm, biases everywhere and an MLP without a gate.
struct Starcoder2Architecture: Architecture {
    let name = "Starcoder2ForCausalLM"
    let ggufName = "starcoder2"
    let projections: [String: Projection] = ["c_fc": .up_proj, "c_proj": .down_proj]

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        let hasBias = try config.flag("use_bias", default: true)
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.hasMLPBias = hasBias
        layout.normKind = .layer(hasBias: true)
        layout.eps = ("norm_epsilon", 1e-5)
        layout.plainMLP = ("c_fc", "c_proj")
        layout.activation = try config.activation("hidden_act", default: .geluTanh)
        layout.isTiedByDefault = true
        let window = try config.int("sliding_window", 0...16_777_216, default: 0)
        layout.window = { _ in window }
        return try layout.spec(self)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.llamaLayout(
            modelType: ggufName, norm: .layer, activation: "gelu_pytorch_tanh")
        config["norm_epsilon"] = config.removeValue(forKey: GGUFKeys.Norm.layer.configKey)
        config["use_bias"] = .bool(try keys.hasAttentionBias(output: true))
        return config
    }
}
