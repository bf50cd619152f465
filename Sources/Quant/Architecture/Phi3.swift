/// `Phi3ForCausalLM`: Phi-3, 3.5 and 4-mini, Llama's layout with q, k, v and gate, up in one module each.
struct Phi3Architecture: Architecture {
    let name = "Phi3ForCausalLM"
    let ggufName = "phi3"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        layout.isFused = true
        layout.eps.fallback = 1e-5
        layout.rotary = RotaryReading(
            share: ("partial_rotary_factor", 1), originalContext: 4096,
            typeAliases: ["su": "longrope", "yarn": "longrope"])
        let window = try config.int("sliding_window", 0...16_777_216, default: 0)
        layout.window = { _ in window }
        return try layout.spec(self)
    }
}
