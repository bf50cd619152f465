import Base

/// `GPTJForCausalLM`: GPT-J. Attention and plain MLP side by side behind one LayerNorm, neighbouring features rotated
/// together, a head with bias.
struct GPTJArchitecture: Architecture {
    let name = "GPTJForCausalLM"
    let ggufName = "gptj"
    let llamaCpp = LlamaCppSupport.none
    let projections: [String: Projection] = ["out_proj": .o_proj, "fc_in": .up_proj, "fc_out": .down_proj]

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        let shape = try PlainShape(config, .gptJ)
        let width = try config.int("rotary_dim", 2...shape.headDim, default: 64)
        guard width % 2 == 0 else { throw config.error("rotary_dim", "is \(width), expected an even number") }
        let rotary = RotarySpec(width: width, divisor: width, theta: 10_000, scaling: .none, order: .interleaved)
        let activation = try config.activation("activation_function", default: .geluTanh)
        let layers = (0..<shape.layerCount).map { index in
            let prefix = "transformer.h.\(index)"
            func linear(_ name: String) -> LinearSpec {
                LinearSpec(
                    path: "\(prefix).attn.\(name)", rows: shape.hiddenSize, columns: shape.hiddenSize, hasBias: false)
            }
            return LayerSpec(
                wiring: .parallel(attentionNorm: shape.norm("\(prefix).ln_1"), mlpNorm: nil),
                attention: AttentionSpec(
                    heads: shape.heads, keyValueHeads: shape.heads, headDim: shape.headDim, window: 0,
                    scale: AttentionSpec.defaultScale(headDim: shape.headDim), softCap: nil, rotary: rotary,
                    input: .separate(q: linear("q_proj"), k: linear("k_proj"), v: linear("v_proj")),
                    output: linear("out_proj"), qNorm: nil, kNorm: nil),
                mlp: shape.mlp("\(prefix).mlp.fc_in", "\(prefix).mlp.fc_out", activation))
        }
        return DecoderSpec(
            architecture: name, ggufArchitecture: ggufName, hiddenSize: shape.hiddenSize, vocabSize: shape.vocabSize,
            maxPositionEmbeddings: shape.context,
            embedding: EmbeddingSpec(weight: "transformer.wte.weight", scale: nil), layers: layers,
            finalNorm: shape.norm("transformer.ln_f"),
            head: HeadSpec(
                isTied: try config.flag("tie_word_embeddings"),
                linear: LinearSpec(path: "lm_head", rows: shape.vocabSize, columns: shape.hiddenSize, hasBias: true),
                output: .plain),
            pruneObstacle: "its config.json does not say how wide a head is")
    }

    /// llama.cpp runs no GPT-J and converts none; gguf-py has the name and the names of its tensors.
    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        let shape = try keys.shape()
        guard try keys.ropeTheta() == 10_000 else {
            throw keys.bad("rope.freq_base", "is not 10000, which every GPT-J has")
        }
        guard try keys.count("attention.head_count_kv", default: shape.heads) == shape.heads else {
            throw keys.bad("attention.head_count_kv", "is another number than attention.head_count")
        }
        return [
            "activation_function": .text("gelu_new"),
            "layer_norm_epsilon": .number(try keys.number(GGUFKeys.Norm.layer.ggufKey)),
            "model_type": .text("gptj"), "n_embd": .integer(shape.hiddenSize), "n_head": .integer(shape.heads),
            "n_inner": .integer(shape.mlpWidth), "n_layer": .integer(shape.layers),
            "n_positions": .integer(shape.context),
            "rotary_dim": .integer(try keys.count("rope.dimension_count")),
        ]
    }
}
