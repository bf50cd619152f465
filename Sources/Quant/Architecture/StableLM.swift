import Base

/// `StableLmForCausalLM`: StableLM 2, Llama's layout with LayerNorm and a part of each head rotated.
struct StableLMArchitecture: Architecture {
    let name = "StableLmForCausalLM"
    let ggufName = "stablelm"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        layout.normKind = .layer(hasBias: true)
        layout.eps = ("layer_norm_eps", 1e-5)
        layout.rotary.share = ("partial_rotary_factor", 0.25)
        layout.attentionBiases.queryKeyValue = try config.flag("use_qkv_bias")
        if try config.flag("qk_layernorm") { layout.headNorms = .each }
        if try config.flag("use_parallel_residual") { layout.arrangement = .parallel }
        if let width = try config.json.intIfPresent("head_dim", in: config.file),
            width != layout.hiddenSize / layout.heads
        {
            throw config.error("head_dim", "is \(width), expected hidden_size / num_attention_heads")
        }
        layout.pruneObstacle = "its config.json does not say how wide a head is"
        return try layout.spec(self)
    }

    /// Whether the MLP has a norm of its own decides the wiring, in llama.cpp too: converters have always written the switch.
    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        _ = try keys.flag("use_parallel_residual")
        var config = try keys.llamaLayout(modelType: "stablelm", norm: .layer, rotatesPart: true)
        config["use_qkv_bias"] = .bool(try keys.hasAttentionBias(output: false))
        config["qk_layernorm"] = .bool(keys.layersHave("attn_q_norm.weight"))
        config["use_parallel_residual"] = .bool(!keys.layersHave("ffn_norm.weight"))
        return config
    }
}
