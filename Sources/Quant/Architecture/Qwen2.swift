import Base

/// `Qwen2ForCausalLM`: Qwen 1.5, 2 and 2.5, Llama's layout with biases on q, k and v.
struct Qwen2Architecture: Architecture {
    let name = "Qwen2ForCausalLM"
    let ggufName = "qwen2"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        layout.attentionBiases = .init(queryKeyValue: true, output: false)
        layout.window = try config.qwenWindows(layers: layout.layerCount)
        return try layout.spec(self)
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        guard try keys.hasAttentionBias(output: false) else {
            throw MeraserError.badInput("\(keys.file): qwen2 has biases of none of q, k and v, expected all")
        }
        return try keys.qwen(modelType: "qwen2")
    }
}

extension ConfigReader {
    /// The windows of Qwen's layers, which `use_sliding_window` turns on: those that `layer_types` names, in files without it
    /// those from `max_window_layers` up.
    func qwenWindows(layers: Int) throws -> (Int) -> Int {
        let isUsed = try flag("use_sliding_window")
        let first = try int("max_window_layers", 0...1_024, default: 28)
        return try layerWindows(layers: layers, isSliding: { isUsed && $0 >= first }) {
            guard isUsed else {
                throw error("layer_types", "holds 'sliding_attention', but use_sliding_window is not true")
            }
            return try slidingWindow(default: 4096)
        }
    }
}

extension GGUFKeys {
    /// Llama's layout with Qwen's windows, on all layers.
    mutating func qwen(modelType: String) throws -> [String: JSONValue] {
        var config = try llamaLayout(modelType: modelType)
        let window = try count("attention.sliding_window", default: 0)
        config["use_sliding_window"] = .bool(window > 0)
        if window > 0 {
            config["sliding_window"] = .integer(window)
            config["max_window_layers"] = .integer(0)
        }
        return config
    }
}
