import Base

/// `Qwen2ForCausalLM`: Qwen 2 and 2.5, Llama's layout with biases on q, k and v.
struct Qwen2Architecture: Architecture {
    let name = "Qwen2ForCausalLM"
    let ggufName = "qwen2"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(config)
        layout.attentionBiases = .init(queryKeyValue: true, output: false)
        layout.window = try config.qwenWindows(layers: layout.layerCount)
        return try layout.spec(self)
    }
}

extension ConfigReader {
    /// The windows of Qwen's layers, which `use_sliding_window` turns on: those that `layer_types` names, in files without it
    /// those from `max_window_layers` up.
    func qwenWindows(layers: Int) throws -> (Int) -> Int {
        let isUsed = try flag("use_sliding_window")
        let window = isUsed ? try int("sliding_window", 1...16_777_216) : 0
        guard let types = try json.arrayIfPresent("layer_types", in: file) else {
            let first = try int("max_window_layers", 0...1_024, default: 28)
            return { $0 >= first ? window : 0 }
        }
        guard types.count == layers else {
            throw error("layer_types", "has \(types.count) entries, expected one for each of the \(layers) layers")
        }
        let windows = try types.map { type in
            switch type.string {
            case "full_attention": return 0
            case "sliding_attention" where isUsed: return window
            default:
                throw error(
                    "layer_types",
                    "holds \(type.string.map { "'\($0)'" } ?? type.kind), expected full_attention, or with "
                        + "use_sliding_window sliding_attention")
            }
        }
        return { windows[$0] }
    }
}
