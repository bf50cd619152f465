/// `MistralForCausalLM`: Llama's layout, in its first version with a sliding window over all layers.
struct MistralArchitecture: Architecture {
    let name = "MistralForCausalLM"
    /// llama.cpp has no architecture of its own for it.
    let ggufName = "llama"
    let ggufPairsRotaryRows = true

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        let window = try config.int("sliding_window", 0...16_777_216, default: 0)
        layout.window = { _ in window }
        return try layout.spec(self)
    }
}
