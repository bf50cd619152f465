import Base

/// `Gemma2ForCausalLM`: norms behind attention and MLP too, soft caps, and every other layer with a sliding window.
struct Gemma2Architecture: Architecture {
    let name = "Gemma2ForCausalLM"
    let ggufName = "gemma2"
    let llamaCpp = LlamaCppSupport.whole

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(gemma: config)
        try layout.readSandwich()
        layout.softCap = try config.cap("attn_logit_softcapping", default: 50)
        if let cap = try config.cap("final_logit_softcapping", default: 30) { layout.headOutput = .softCapped(at: cap) }
        layout.window = try config.layerWindows(layers: layout.layerCount, isSliding: { $0 % 2 == 0 }) {
            try config.slidingWindow(default: 4096)
        }
        return try layout.spec(self)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.sandwichedGemma(
            modelType: "gemma2", layersOfLargest: 46, defaultWindow: 4096, defaultPeriod: 2)
        config["attn_logit_softcapping"] = .number(try keys.number("attn_logit_softcapping", default: 50))
        config["final_logit_softcapping"] = .number(try keys.number("final_logit_softcapping", default: 30))
        return config
    }
}

extension LlamaLayout {
    /// What Gemma 2 and 3 share.
    mutating func readSandwich() throws {
        arrangement = .sandwich
        activation = try config.activation("hidden_activation", default: .geluTanh)
        scale = Float(1 / (try config.number("query_pre_attn_scalar", 1e-6...1e6, default: 256)).squareRoot())
    }
}

extension ConfigReader {
    /// A soft cap; null is none.
    func cap(_ key: String, default fallback: Float?) throws -> Float? {
        json[key] == nil ? fallback : try positive(key)
    }
}
