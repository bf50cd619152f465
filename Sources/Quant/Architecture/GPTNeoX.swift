import Base

/// `GPTNeoXForCausalLM`: GPT-NeoX and Pythia. LayerNorms, attention and plain MLP side by side, queries, keys and values of
/// each head in one module.
struct GPTNeoXArchitecture: Architecture {
    let name = "GPTNeoXForCausalLM"
    let ggufName = "gptneox"
    let projections: [String: Projection] = [
        "query_key_value": .qkv_proj, "dense": .o_proj, "dense_h_to_4h": .up_proj, "dense_4h_to_h": .down_proj,
    ]

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        let shape = try PlainShape(config, .neoX)
        let reading = RotaryReading(share: ("rotary_pct", 0.25), theta: ("rotary_emb_base", 10_000))
        let rotary = try config.rotary(reading, headDim: shape.headDim, context: shape.context)
        let isParallel = try config.flag("use_parallel_residual", default: true)
        let hasBias = try config.flag("attention_bias", default: true)
        let activation = try config.activation("hidden_act", default: .gelu)
        let layers = (0..<shape.layerCount).map { index in
            let prefix = "gpt_neox.layers.\(index)"
            let norms = (shape.norm("\(prefix).input_layernorm"), shape.norm("\(prefix).post_attention_layernorm"))
            return LayerSpec(
                wiring: isParallel
                    ? .parallel(attentionNorm: norms.0, mlpNorm: norms.1)
                    : .sequential(attentionNorm: norms.0, mlpNorm: norms.1, residualMultiplier: 1),
                attention: AttentionSpec(
                    heads: shape.heads, keyValueHeads: shape.heads, headDim: shape.headDim, window: 0,
                    scale: AttentionSpec.defaultScale(headDim: shape.headDim), softCap: nil, rotary: rotary,
                    input: .fused(
                        LinearSpec(
                            path: "\(prefix).attention.query_key_value", rows: 3 * shape.hiddenSize,
                            columns: shape.hiddenSize, hasBias: hasBias), .heads),
                    output: LinearSpec(
                        path: "\(prefix).attention.dense", rows: shape.hiddenSize, columns: shape.hiddenSize,
                        hasBias: hasBias),
                    qNorm: nil, kNorm: nil),
                mlp: shape.mlp("\(prefix).mlp.dense_h_to_4h", "\(prefix).mlp.dense_4h_to_h", activation))
        }
        return DecoderSpec(
            architecture: name, ggufArchitecture: ggufName, hiddenSize: shape.hiddenSize, vocabSize: shape.vocabSize,
            maxPositionEmbeddings: rotary.scaling.stretched(shape.context),
            embedding: EmbeddingSpec(weight: "gpt_neox.embed_in.weight", scale: nil), layers: layers,
            finalNorm: shape.norm("gpt_neox.final_layer_norm"),
            head: HeadSpec(
                isTied: try config.flag("tie_word_embeddings"),
                linear: LinearSpec(
                    path: "embed_out", rows: shape.vocabSize, columns: shape.hiddenSize, hasBias: false),
                output: .plain),
            pruneObstacle: "its queries, keys and values are one module")
    }

    func config(_ keys: inout GGUFKeys) throws -> [String: JSONValue] {
        let shape = try keys.shape()
        let headSize = shape.hiddenSize / shape.heads
        let rotated = try keys.count("rope.dimension_count", default: headSize)
        guard try keys.count("attention.head_count_kv", default: shape.heads) == shape.heads else {
            throw keys.bad("attention.head_count_kv", "is another number than attention.head_count")
        }
        return [
            "attention_bias": .bool(try keys.hasAttentionBias(output: true)), "attention_dropout": .number(0),
            "hidden_act": .text("gelu"), "hidden_size": .integer(shape.hiddenSize),
            "intermediate_size": .integer(shape.mlpWidth),
            "layer_norm_eps": .number(try keys.number(GGUFKeys.Norm.layer.ggufKey)),
            "max_position_embeddings": .integer(shape.context), "model_type": .text("gpt_neox"),
            "num_attention_heads": .integer(shape.heads), "num_hidden_layers": .integer(shape.layers),
            "rope_scaling": try keys.ropeScaling(rotated: rotated),
            "rotary_emb_base": .number(try keys.ropeTheta()),
            "rotary_pct": .number(try keys.rotatedShare(rotated, of: headSize)),
            "use_parallel_residual": .bool(try keys.flag("use_parallel_residual") ?? true),
        ]
    }
}
