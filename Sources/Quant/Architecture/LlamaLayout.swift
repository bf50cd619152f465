import Base

/// Reads the config.json of models that are laid out like Llama: layers of `self_attn` and an `mlp` with Llama's tensor
/// names. What an architecture has otherwise, its own file says.
struct LlamaLayout {
    /// Biases of the attention's linear layers.
    struct AttentionBiases {
        var queryKeyValue = false
        var output = false
    }

    /// Norms of queries and keys.
    enum HeadNorms {
        case none
        /// One set of weights over each head, `q_norm`.
        case perHead
        /// Over all heads together, `q_norm`.
        case whole
        /// Over each head, with weights of its own, `q_layernorm.norms.H`.
        case each
    }

    /// Where the norms are.
    enum Arrangement {
        /// In front of attention and MLP, whose outputs are multiplied by a factor.
        case sequential(residualMultiplier: Float)
        /// In front of both and behind both.
        case sandwich
        /// Behind both.
        case outputNorms
        /// One in front of both, which stand side by side.
        case parallel
    }

    let config: ConfigReader
    let hiddenSize: Int
    let heads: Int
    let layerCount: Int
    /// `max_position_embeddings`.
    let context: Int
    /// Biases of q, k, v and of o.
    var attentionBiases = AttentionBiases()
    /// Biases of gate, up and down.
    var hasMLPBias = false
    /// Norms of queries and keys.
    var headNorms = HeadNorms.none
    /// Where the norms are.
    var arrangement = Arrangement.sequential(residualMultiplier: 1)
    /// What they compute.
    var normKind = NormSpec.Kind.rms
    /// The key of their eps, and what it is without it.
    var eps = (key: "rms_norm_eps", fallback: 1e-6)
    /// q, k, v and gate, up are one module each.
    var isFused = false
    /// The MLP's layers, if it has no gate; nil: `gate_proj`, `up_proj` and `down_proj`, or fused.
    var plainMLP: (up: String, down: String)?
    /// What stands between the MLP's layers; nil: what `hidden_act` says.
    var activation: Activation?
    /// `head_dim` where config.json has none; nil: hidden_size / num_attention_heads.
    var defaultHeadDim: Int?
    /// How config.json tells the rotary positions.
    var rotary = RotaryReading()
    /// What a layer has in place of the rotary positions of the others: nil: none.
    var layerRotary: (_ layer: Int, _ rotary: RotarySpec) -> RotarySpec? = { $1 }
    /// Tokens that the queries of a layer see; 0: all.
    var window: (_ layer: Int) -> Int = { _ in 0 }
    /// Factor on the scores; nil: 1/√head_dim.
    var scale: Float?
    /// Soft cap of the scores.
    var softCap: Float?
    /// Factor on the embeddings.
    var embeddingScale: Float?
    /// What becomes of the head's outputs.
    var headOutput = HeadOutput.plain
    /// `tie_word_embeddings` of files without it.
    var isTiedByDefault = false
    /// Why heads cannot go.
    var pruneObstacle: String?

    /// Reads what decides the layers, and refuses what no model of this layout has here.
    init(_ config: ConfigReader) throws {
        self.config = config
        if let parts = try config.json.intIfPresent("pretraining_tp", in: config.file), parts != 1 {
            throw config.error("pretraining_tp", "is \(parts), supported: 1")
        }
        hiddenSize = try config.int("hidden_size", 1...65_536)
        heads = try config.int("num_attention_heads", 1...1_024)
        layerCount = try config.int("num_hidden_layers", 1...1_024)
        context = try config.int("max_position_embeddings", 1...16_777_216, default: 2048)
    }

    /// The spec under those names.
    func spec(_ architecture: some Architecture) throws -> DecoderSpec {
        let vocabSize = try config.int("vocab_size", 1...4_194_304)
        let shape = try attentionShape()
        let mlpWidth = try config.int("intermediate_size", 1...1_048_576)
        let layout = Shape(
            keyValueHeads: shape.keyValueHeads, headDim: shape.headDim, mlpWidth: mlpWidth,
            eps: Float(try config.number(eps.key, 1e-30...1, default: eps.fallback)),
            rotary: try config.rotary(rotary, headDim: shape.headDim, context: context),
            activation: try activation ?? config.activation("hidden_act", default: .silu))
        return DecoderSpec(
            architecture: architecture.name, ggufArchitecture: architecture.ggufName, hiddenSize: hiddenSize,
            vocabSize: vocabSize, maxPositionEmbeddings: layout.rotary.scaling.stretched(context),
            embedding: EmbeddingSpec(weight: "model.embed_tokens.weight", scale: embeddingScale),
            layers: (0..<layerCount).map { layer($0, layout) },
            finalNorm: norm("model.norm", layout),
            head: HeadSpec(
                isTied: try config.flag("tie_word_embeddings", default: isTiedByDefault),
                linear: LinearSpec(path: "lm_head", rows: vocabSize, columns: hiddenSize, hasBias: false),
                output: headOutput),
            pruneObstacle: isFused ? "its queries, keys and values are one module" : pruneObstacle)
    }

    /// What all layers have in common.
    private struct Shape {
        let keyValueHeads: Int
        let headDim: Int
        let mlpWidth: Int
        let eps: Float
        let rotary: RotarySpec
        let activation: Activation
    }

    private func norm(_ path: String, _ shape: Shape) -> NormSpec {
        NormSpec(paths: [path], width: hiddenSize, eps: shape.eps, kind: normKind)
    }

    private func layer(_ layer: Int, _ shape: Shape) -> LayerSpec {
        let prefix = "model.layers.\(layer)"
        let wiring: Wiring =
            switch arrangement {
            case .sequential(let multiplier):
                .sequential(
                    attentionNorm: norm("\(prefix).input_layernorm", shape),
                    mlpNorm: norm("\(prefix).post_attention_layernorm", shape), residualMultiplier: multiplier)
            case .sandwich:
                .sandwich(
                    attentionNorm: norm("\(prefix).input_layernorm", shape),
                    attentionOutputNorm: norm("\(prefix).post_attention_layernorm", shape),
                    mlpNorm: norm("\(prefix).pre_feedforward_layernorm", shape),
                    mlpOutputNorm: norm("\(prefix).post_feedforward_layernorm", shape))
            case .outputNorms:
                .sandwich(
                    attentionNorm: nil, attentionOutputNorm: norm("\(prefix).post_attention_layernorm", shape),
                    mlpNorm: nil, mlpOutputNorm: norm("\(prefix).post_feedforward_layernorm", shape))
            case .parallel:
                .parallel(attentionNorm: norm("\(prefix).input_layernorm", shape), mlpNorm: nil)
            }
        return LayerSpec(
            wiring: wiring, attention: attention(layer, "\(prefix).self_attn", shape), mlp: mlp("\(prefix).mlp", shape))
    }

    private func attention(_ layer: Int, _ prefix: String, _ shape: Shape) -> AttentionSpec {
        let (queries, keys) = (heads * shape.headDim, shape.keyValueHeads * shape.headDim)
        func linear(_ name: String, _ rows: Int) -> LinearSpec {
            LinearSpec(
                path: "\(prefix).\(name)", rows: rows, columns: hiddenSize, hasBias: attentionBiases.queryKeyValue)
        }
        return AttentionSpec(
            heads: heads, keyValueHeads: shape.keyValueHeads, headDim: shape.headDim, window: window(layer),
            scale: scale ?? AttentionSpec.defaultScale(headDim: shape.headDim), softCap: softCap,
            rotary: layerRotary(layer, shape.rotary),
            input: isFused
                ? .fused(linear("qkv_proj", queries + 2 * keys), .blocks)
                : .separate(q: linear("q_proj", queries), k: linear("k_proj", keys), v: linear("v_proj", keys)),
            output: LinearSpec(
                path: "\(prefix).o_proj", rows: hiddenSize, columns: queries, hasBias: attentionBiases.output),
            qNorm: headNorm("\(prefix).q", heads, shape), kNorm: headNorm("\(prefix).k", shape.keyValueHeads, shape))
    }

    private func headNorm(_ prefix: String, _ heads: Int, _ shape: Shape) -> NormSpec? {
        switch headNorms {
        case .none:
            nil
        case .perHead:
            NormSpec(paths: ["\(prefix)_norm"], width: shape.headDim, eps: shape.eps, kind: normKind)
        case .whole:
            NormSpec(paths: ["\(prefix)_norm"], width: heads * shape.headDim, eps: shape.eps, kind: normKind)
        case .each:
            NormSpec(
                paths: (0..<heads).map { "\(prefix)_layernorm.norms.\($0)" }, width: shape.headDim, eps: shape.eps,
                kind: .layer(hasBias: false))
        }
    }

    private func mlp(_ prefix: String, _ shape: Shape) -> MLPSpec {
        func linear(_ name: String, _ rows: Int, _ columns: Int) -> LinearSpec {
            LinearSpec(path: "\(prefix).\(name)", rows: rows, columns: columns, hasBias: hasMLPBias)
        }
        if let plainMLP {
            return MLPSpec(
                input: .plain(up: linear(plainMLP.up, shape.mlpWidth, hiddenSize)), activation: shape.activation,
                down: linear(plainMLP.down, hiddenSize, shape.mlpWidth))
        }
        return MLPSpec(
            input: isFused
                ? .fusedGate(linear("gate_up_proj", 2 * shape.mlpWidth, hiddenSize))
                : .gated(
                    gate: linear("gate_proj", shape.mlpWidth, hiddenSize),
                    up: linear("up_proj", shape.mlpWidth, hiddenSize)),
            activation: shape.activation, down: linear("down_proj", hiddenSize, shape.mlpWidth))
    }

    private func attentionShape() throws -> (keyValueHeads: Int, headDim: Int) {
        let keyValueHeads = try config.int("num_key_value_heads", 1...heads, default: heads)
        guard heads % keyValueHeads == 0 else {
            throw config.error(
                "num_attention_heads", "is \(heads), no multiple of 'num_key_value_heads' \(keyValueHeads)")
        }
        let explicit = try config.json.intIfPresent("head_dim", in: config.file) ?? defaultHeadDim
        return (keyValueHeads, try config.headDim(explicit: explicit, hiddenSize: hiddenSize, heads: heads))
    }
}

extension ConfigReader {
    /// The width of a head: what config.json says, or what the heads share out.
    func headDim(explicit: Int?, hiddenSize: Int, heads: Int) throws -> Int {
        guard explicit != nil || hiddenSize % heads == 0 else {
            throw error(
                "hidden_size",
                "is \(hiddenSize), no multiple of 'num_attention_heads' \(heads), and there is no 'head_dim'")
        }
        let headDim = try int("head_dim", 1...256, default: explicit ?? hiddenSize / heads)
        guard heads * headDim <= 65_536 else {
            throw error("head_dim", "times num_attention_heads is \(heads * headDim), expected at most 65536")
        }
        return headDim
    }
}
