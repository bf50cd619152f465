/// `GraniteForCausalLM`: Granite 3, Llama's layout with factors on embeddings, scores, residuals and logits.
struct GraniteArchitecture: Architecture {
    let name = "GraniteForCausalLM"
    let ggufName = "granite"

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
}
