/// `Olmo2ForCausalLM`: norms behind attention and MLP instead of in front, and over all queries and all keys.
struct OLMo2Architecture: Architecture {
    let name = "Olmo2ForCausalLM"
    let ggufName = "olmo2"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        layout.arrangement = .outputNorms
        layout.headNorms = .whole
        layout.eps.fallback = 1e-5
        let hasBias = try config.flag("attention_bias")
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.pruneObstacle = "its queries and keys are normed over all heads together"
        return try layout.spec(self)
    }
}
