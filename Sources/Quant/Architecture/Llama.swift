/// `LlamaForCausalLM`: Llama 1 to 3.3, SmolLM 1 and 2, TinyLlama, Yi and whoever took that layout over.
struct LlamaArchitecture: Architecture {
    let name = "LlamaForCausalLM"
    let ggufName = "llama"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        let hasBias = try config.flag("attention_bias")
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.hasMLPBias = try config.flag("mlp_bias")
        return try layout.spec(self)
    }
}
