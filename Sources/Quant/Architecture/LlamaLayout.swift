import Base

/// Reads the config.json of models that are laid out like Llama: sequential layers of `self_attn` and a gated `mlp` under
/// Llama's tensor names. What an architecture has otherwise, its own file says.
struct LlamaLayout {
    /// Biases of the attention's linear layers.
    struct AttentionBiases {
        var queryKeyValue = false
        var output = false
    }

    private let config: ConfigReader
    let hiddenSize: Int
    let heads: Int
    let layerCount: Int
    /// Biases of q, k, v and of o.
    var attentionBiases = AttentionBiases()
    /// Biases of gate, up and down.
    var hasMLPBias = false
    /// RMS norms over the heads of queries and keys.
    var hasHeadNorms = false
    /// `head_dim` where config.json has none; nil: hidden_size / num_attention_heads.
    var defaultHeadDim: Int?
    /// Tokens that the queries of a layer see; 0: all.
    var window: (_ layer: Int) -> Int = { _ in 0 }

    /// Reads what decides the layers, and refuses what no model of this layout has here.
    init(_ config: ConfigReader) throws {
        self.config = config
        for key in ["hidden_act", "hidden_activation"] { try config.requireText(key, ["silu", "swish"]) }
        if let parts = try config.json.intIfPresent("pretraining_tp", in: config.file), parts != 1 {
            throw config.error("pretraining_tp", "is \(parts), supported: 1")
        }
        hiddenSize = try config.int("hidden_size", 1...65_536)
        heads = try config.int("num_attention_heads", 1...1_024)
        layerCount = try config.int("num_hidden_layers", 1...1_024)
    }

    /// The spec under those names.
    func spec(_ architecture: some Architecture) throws -> DecoderSpec {
        let vocabSize = try config.int("vocab_size", 1...4_194_304)
        let eps = Float(try config.number("rms_norm_eps", 1e-30...1, default: 1e-6))
        let attention = try attentionShape()
        let mlpWidth = try config.int("intermediate_size", 1...1_048_576)
        let rotary = try config.rotary(width: attention.headDim)
        func norm(_ name: String, _ width: Int? = nil) -> NormSpec {
            NormSpec(name: name + ".weight", width: width ?? hiddenSize, eps: eps)
        }
        let layers = (0..<layerCount).map { layer in
            let prefix = "model.layers.\(layer)"
            func linear(_ name: String, _ rows: Int, _ columns: Int, bias: Bool) -> LinearSpec {
                LinearSpec(path: "\(prefix).\(name)", rows: rows, columns: columns, hasBias: bias)
            }
            let (queries, keys) = (heads * attention.headDim, attention.keyValueHeads * attention.headDim)
            let hasBias = attentionBiases.queryKeyValue
            func headNorm(_ name: String) -> NormSpec? {
                hasHeadNorms ? norm("\(prefix).self_attn.\(name)", attention.headDim) : nil
            }
            return LayerSpec(
                wiring: .sequential, inputNorm: norm("\(prefix).input_layernorm"),
                attention: AttentionSpec(
                    heads: heads, keyValueHeads: attention.keyValueHeads, headDim: attention.headDim,
                    window: window(layer), rotary: rotary,
                    q: linear("self_attn.q_proj", queries, hiddenSize, bias: hasBias),
                    k: linear("self_attn.k_proj", keys, hiddenSize, bias: hasBias),
                    v: linear("self_attn.v_proj", keys, hiddenSize, bias: hasBias),
                    o: linear("self_attn.o_proj", hiddenSize, queries, bias: attentionBiases.output),
                    qNorm: headNorm("q_norm"), kNorm: headNorm("k_norm")),
                postAttentionNorm: norm("\(prefix).post_attention_layernorm"),
                mlp: MLPSpec(
                    gate: linear("mlp.gate_proj", mlpWidth, hiddenSize, bias: hasMLPBias),
                    up: linear("mlp.up_proj", mlpWidth, hiddenSize, bias: hasMLPBias),
                    down: linear("mlp.down_proj", hiddenSize, mlpWidth, bias: hasMLPBias)))
        }
        return DecoderSpec(
            architecture: architecture.name, ggufArchitecture: architecture.ggufName, hiddenSize: hiddenSize,
            vocabSize: vocabSize,
            maxPositionEmbeddings: try config.int("max_position_embeddings", 1...16_777_216, default: 2048),
            embedding: "model.embed_tokens.weight", layers: layers, finalNorm: norm("model.norm"),
            head: HeadSpec(
                isTied: try config.flag("tie_word_embeddings"),
                linear: LinearSpec(path: "lm_head", rows: vocabSize, columns: hiddenSize, hasBias: false)))
    }

    private func attentionShape() throws -> (keyValueHeads: Int, headDim: Int) {
        let keyValueHeads = try config.int("num_key_value_heads", 1...heads, default: heads)
        guard heads % keyValueHeads == 0 else {
            throw config.error(
                "num_attention_heads", "is \(heads), no multiple of 'num_key_value_heads' \(keyValueHeads)")
        }
        let explicit = try config.json.intIfPresent("head_dim", in: config.file) ?? defaultHeadDim
        guard explicit != nil || hiddenSize % heads == 0 else {
            throw config.error(
                "hidden_size",
                "is \(hiddenSize), no multiple of 'num_attention_heads' \(heads), and there is no 'head_dim'")
        }
        let headDim = try config.int("head_dim", 2...256, default: explicit ?? hiddenSize / heads)
        guard headDim % 2 == 0 else {
            throw config.error("head_dim", "is \(headDim), expected an even number (rotary pairs)")
        }
        guard heads * headDim <= 65_536 else {
            throw config.error("head_dim", "times num_attention_heads is \(heads * headDim), expected at most 65536")
        }
        return (keyValueHeads, headDim)
    }
}
