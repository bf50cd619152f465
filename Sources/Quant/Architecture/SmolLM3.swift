import Base

/// `SmolLM3ForCausalLM`: Llama's layout with layers that have no rotary positions.
struct SmolLM3Architecture: Architecture {
    let name = "SmolLM3ForCausalLM"
    let ggufName = "smollm3"
    let ggufPairsRotaryRows = true

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        let hasRotary = try rotaryLayers(config, layers: layout.layerCount)
        layout.layerRotary = { layer, rotary in hasRotary[layer] ? rotary : nil }
        layout.rotary.theta.fallback = 2_000_000
        let hasWindow = try config.flag("use_sliding_window") && config.json["sliding_window"]?.isNull == false
        layout.window = try config.layerWindows(
            layers: layout.layerCount, isSliding: { hasWindow && !hasRotary[$0] },
            window: { try config.slidingWindow() })
        let hasBias = try config.flag("attention_bias")
        layout.attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
        layout.hasMLPBias = try config.flag("mlp_bias")
        layout.isTiedByDefault = true
        return try layout.spec(self)
    }

    /// `no_rope_layers` is 0 for the layers without; without it every `no_rope_layer_interval`-th has none.
    private func rotaryLayers(_ config: ConfigReader, layers: Int) throws -> [Bool] {
        guard let flags = try config.json.arrayIfPresent("no_rope_layers", in: config.file) else {
            let interval = try config.int("no_rope_layer_interval", 1...1_024, default: 4)
            return (0..<layers).map { ($0 + 1) % interval != 0 }
        }
        guard flags.count == layers else {
            throw config.error("no_rope_layers", "has \(flags.count) entries, expected \(layers)")
        }
        return try flags.map { flag in
            guard let value = flag.int, (0...1).contains(value) else {
                throw config.error("no_rope_layers", "holds \(flag.serialized()), expected 0 or 1")
            }
            return value == 1
        }
    }

    /// llama.cpp knows the layers without positions of the published model: every fourth.
    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        var config = try keys.llamaLayout(modelType: "smollm3")
        config["attention_bias"] = .bool(try keys.hasAttentionBias(output: true))
        config["mlp_bias"] = .bool(keys.hasMLPBias)
        config["no_rope_layer_interval"] = .integer(4)
        config["use_sliding_window"] = .bool(false)
        return config
    }
}
