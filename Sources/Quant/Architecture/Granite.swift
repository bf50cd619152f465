import Base

/// `GraniteForCausalLM`: Granite 3, Llama's layout with factors on embeddings, scores, residuals and logits.
struct GraniteArchitecture: Architecture {
    let name = "GraniteForCausalLM"
    let ggufName = "granite"
    let ggufPairsRotaryRows = true

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        layout.embeddingScale = try config.positive("embedding_multiplier")
        layout.scale = try config.positive("attention_multiplier") ?? 1
        layout.arrangement = .sequential(residualMultiplier: try config.positive("residual_multiplier") ?? 1)
        if let scaling = try config.positive("logits_scaling") { layout.headOutput = .scaled(by: 1 / scaling) }
        let hasBias = try config.flag("attention_bias")
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.hasMLPBias = try config.flag("mlp_bias")
        return try layout.spec(self)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        // llama.cpp takes it as the switch of the rotation.
        if try keys.flag("rope.scaling.finetuned") == false {
            throw keys.bad("rope.scaling.finetuned", "is false: a Granite without positions is not supported")
        }
        var config = try keys.llamaLayout(modelType: "granite")
        config["attention_bias"] = .bool(try keys.hasAttentionBias(output: true))
        config["mlp_bias"] = .bool(keys.hasMLPBias)
        config["attention_multiplier"] = .number(
            try keys.number(
                "attention.scale", default: Double(AttentionSpec.defaultScale(headDim: config["head_dim"]?.int ?? 1))))
        config["embedding_multiplier"] = .number(try keys.number("embedding_scale", default: 1))
        config["residual_multiplier"] = .number(try keys.number("residual_scale", default: 1))
        config["logits_scaling"] = .number(try keys.number("logit_scale"))
        return config
    }
}
