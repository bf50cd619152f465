import Base

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

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.llamaLayout(modelType: "phi3", rotatesPart: true)
        let window = try keys.count("attention.sliding_window", default: 0)
        config["sliding_window"] = window > 0 ? .integer(window) : .null
        let context = try keys.count("context_length")
        let original = try keys.count("rope.scaling.original_context_length", default: context)
        config["original_max_position_embeddings"] = .integer(original)
        let rotated = try keys.count("rope.dimension_count", default: config["head_dim"]?.int ?? 0)
        if let scaling = try keys.longropeScaling(rotated: rotated, original: original, context: context) {
            config["rope_scaling"] = scaling
        }
        return config
    }
}
