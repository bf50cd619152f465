/// What a decoder-only language model is: pure data, read once from its config.json by its `Architecture`. Convert, weights,
/// forward, backward, memory planner, fusing, pruning, merging, bench, export and GGUF all read this; nothing else parses
/// config.json, and what no spec can describe is refused everywhere with the same line.
public struct DecoderSpec: Sendable, Equatable {
    /// The name in `architectures`: `LlamaForCausalLM`, ….
    public let architecture: String
    /// GGUF's `general.architecture`.
    public let ggufArchitecture: String
    /// `hidden_size`: width of the residual stream.
    public let hiddenSize: Int
    /// `vocab_size`: rows of the embedding and of the head.
    public let vocabSize: Int
    /// `max_position_embeddings`: the context that the model was made for.
    public let maxPositionEmbeddings: Int
    /// Name of the embedding's tensor, [V, hidden].
    public let embedding: String
    /// The decoder layers, lowest first.
    public let layers: [LayerSpec]
    /// The norm behind the last layer.
    public let finalNorm: NormSpec
    /// The output head.
    public let head: HeadSpec

    /// `num_hidden_layers`.
    public var numHiddenLayers: Int { layers.count }
    /// Rows of logits: the vocabulary's size and the hidden size of the embedding.
    public var embeddingShape: [Int] { [vocabSize, hiddenSize] }
}

/// The output head: logits [T, V] of the last norm's rows.
public struct HeadSpec: Sendable, Equatable {
    /// `tie_word_embeddings`: the head is the embedding, and the checkpoint needs no tensor for it.
    public let isTied: Bool
    /// The head's module; of a tied head, the name that a redundant copy would have.
    public let linear: LinearSpec
}

/// How a layer's sublayers and norms are wired to the residual stream.
public enum Wiring: Sendable, Equatable {
    /// x += attention(norm(x)), then x += mlp(norm(x)): Llama and its kin.
    case sequential
}

/// One decoder layer.
public struct LayerSpec: Sendable, Equatable {
    /// How its parts are wired.
    public let wiring: Wiring
    /// The norm in front of the attention.
    public let inputNorm: NormSpec
    /// The attention.
    public let attention: AttentionSpec
    /// The norm in front of the MLP.
    public let postAttentionNorm: NormSpec
    /// The MLP.
    public let mlp: MLPSpec

    /// The linear layer of that role.
    public subscript(projection: Projection) -> LinearSpec {
        switch projection {
        case .q_proj: attention.q
        case .k_proj: attention.k
        case .v_proj: attention.v
        case .o_proj: attention.o
        case .gate_proj: mlp.gate
        case .up_proj: mlp.up
        case .down_proj: mlp.down
        }
    }
}

/// Causal attention with grouped heads; scores are scaled by 1/√head_dim.
public struct AttentionSpec: Sendable, Equatable {
    /// `num_attention_heads`.
    public let heads: Int
    /// `num_key_value_heads`, a divisor of `heads`.
    public let keyValueHeads: Int
    /// `head_dim`, even.
    public let headDim: Int
    /// Tokens that a query sees at most, itself included; 0: all before it.
    public let window: Int
    /// Rotary positions.
    public let rotary: RotarySpec
    /// Queries [H·D, hidden], keys and values [G·D, hidden], output [hidden, H·D].
    public let q, k, v, o: LinearSpec
    /// RMS norms over each head of queries and keys, in front of the rotation; nil where the model has none.
    public let qNorm, kNorm: NormSpec?

    /// Width of a token's queries.
    public var queryWidth: Int { heads * headDim }
    /// Width of a token's keys, and of its values.
    public var keyValueWidth: Int { keyValueHeads * headDim }
    /// Query heads that share a key and value head.
    public var groupSize: Int { heads / keyValueHeads }
}

/// A gated MLP with SiLU: down(silu(gate(x)) · up(x)).
public struct MLPSpec: Sendable, Equatable {
    /// Gate and up [I, hidden], down [hidden, I].
    public let gate, up, down: LinearSpec

    /// `intermediate_size`.
    public var width: Int { up.rows }
}

/// A linear layer of the checkpoint.
public struct LinearSpec: Sendable, Equatable {
    /// Its module path: `model.layers.0.self_attn.q_proj`.
    public let path: String
    /// Output features.
    public let rows: Int
    /// Input features.
    public let columns: Int
    /// It has a bias, [rows].
    public let hasBias: Bool

    /// Name of its matrix [rows, columns].
    public var weight: String { path + ".weight" }
    /// Name of its bias [rows]; nil where it has none.
    public var bias: String? { hasBias ? path + ".bias" : nil }
}

/// An RMS norm: x / √(mean(x²) + eps) · weight.
public struct NormSpec: Sendable, Equatable {
    /// Name of its tensor [width].
    public let name: String
    /// Features that are normed together.
    public let width: Int
    /// `rms_norm_eps`.
    public let eps: Float
}

/// Rotary positions over half-split pairs, as Hugging Face has them.
public struct RotarySpec: Sendable, Equatable {
    /// Features of a head that are rotated, even.
    public let width: Int
    /// `rope_theta`.
    public let theta: Double
    /// `rope_scaling`.
    public let scaling: RotaryScaling
}

/// How rotary frequencies are scaled for long contexts.
public enum RotaryScaling: Sendable, Equatable {
    /// As trained.
    case none
    /// Positions divided by a factor (`rope_type: linear`).
    case linear(factor: Double)
    /// Llama 3.1's piecewise scaling (`rope_type: llama3`; transformers `modeling_rope_utils`).
    case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContext: Double)
}
