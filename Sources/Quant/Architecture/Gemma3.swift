import Base

/// `Gemma3ForCausalLM`, the text model: Gemma 2's layers with norms of queries and keys, layers with a window and a
/// rotary theta of their own, and no soft caps by default.
struct Gemma3Architecture: Architecture {
    let name = "Gemma3ForCausalLM"
    let ggufName = "gemma3"
    let llamaCpp = LlamaCppSupport.whole

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        if try config.flag("use_bidirectional_attention") {
            throw config.error("use_bidirectional_attention", "is true, supported: false")
        }
        if try config.positive("attn_logit_softcapping") != nil {
            throw config.error("attn_logit_softcapping", "is set, but transformers does not use it; expected null")
        }
        var layout = try LlamaLayout(gemma: config)
        try layout.readSandwich()
        layout.headNorms = .perHead
        if let cap = try config.cap("final_logit_softcapping", default: nil) {
            layout.headOutput = .softCapped(at: cap)
        }
        let pattern = try config.int("sliding_window_pattern", 1...1_024, default: 6)
        let window = try config.layerWindows(layers: layout.layerCount, isSliding: { ($0 + 1) % pattern != 0 }) {
            try config.slidingWindow(default: 4096)
        }
        layout.window = window
        layout.rotary.theta.fallback = 1_000_000
        let local = try localTheta(config)
        layout.layerRotary = { layer, rotary in
            guard window(layer) > 0 else { return rotary }
            return RotarySpec(
                width: rotary.width, divisor: rotary.divisor, theta: local, scaling: .none, order: rotary.order)
        }
        return try layout.spec(self)
    }

    /// The theta of layers with a window, whose rotary positions are never scaled.
    private func localTheta(_ config: ConfigReader) throws -> Double {
        if let own = config.json["rope_parameters"]?["sliding_attention"], own.object != nil {
            return try config.bounded(own["rope_theta"], "rope_parameters.sliding_attention.rope_theta", 1...1e12)
        }
        return try config.number("rope_local_base_freq", 1...1e12, default: 10_000)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.sandwichedGemma(
            modelType: "gemma3_text", layersOfLargest: 62, defaultWindow: 0, defaultPeriod: 6)
        config["rope_local_base_freq"] = .number(try keys.number("rope.freq_base_swa", default: 10_000))
        config["attn_logit_softcapping"] = .null
        let cap = try keys.number("final_logit_softcapping", default: 0)
        config["final_logit_softcapping"] = cap == 0 ? .null : .number(cap)
        return config
    }
}
