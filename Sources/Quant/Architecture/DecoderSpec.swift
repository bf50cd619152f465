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
    /// Positions that the model serves: `max_position_embeddings`, more where a rotary scaling stretches them.
    public let maxPositionEmbeddings: Int
    /// What makes vectors of tokens.
    public let embedding: EmbeddingSpec
    /// The decoder layers, lowest first; all of one width, wiring and set of norms.
    public let layers: [LayerSpec]
    /// The norm behind the last layer.
    public let finalNorm: NormSpec
    /// The output head.
    public let head: HeadSpec
    /// Why no model with fewer heads could be written down; nil: it can be pruned.
    public let pruneObstacle: String?

    /// `num_hidden_layers`.
    public var numHiddenLayers: Int { layers.count }
    /// Rows of logits: the vocabulary's size and the hidden size of the embedding.
    public var embeddingShape: [Int] { [vocabSize, hiddenSize] }
    /// True if the angles of a position depend on how long its sequence is.
    public var hasLengthDependentRotary: Bool {
        layers.contains { $0.attention.rotary?.scaling.dependsOnLength == true }
    }
}

/// The embedding: a row of its matrix for each token, times a factor.
public struct EmbeddingSpec: Sendable, Equatable {
    /// Name of its tensor, [V, hidden].
    public let weight: String
    /// The factor; nil: none.
    public let scale: Float?
}

/// The output head: logits [T, V] of the last norm's rows.
public struct HeadSpec: Sendable, Equatable {
    /// `tie_word_embeddings`: the head's matrix is the embedding, and the checkpoint needs no tensor for it.
    public let isTied: Bool
    /// The head's module; of a tied head, the name that a redundant copy would have.
    public let linear: LinearSpec
    /// What becomes of its outputs.
    public let output: HeadOutput
}

/// What becomes of the output head's products before they are logits.
public enum HeadOutput: Sendable, Equatable {
    /// They are the logits.
    case plain
    /// Times a factor: Granite's 1 / `logits_scaling`.
    case scaled(by: Float)
    /// c·tanh(x / c): Gemma 2's `final_logit_softcapping`.
    case softCapped(at: Float)
}

/// One decoder layer.
public struct LayerSpec: Sendable, Equatable {
    /// Its norms, and how its parts are wired to the residual stream.
    public let wiring: Wiring
    /// The attention.
    public let attention: AttentionSpec
    /// The MLP.
    public let mlp: MLPSpec
}

/// How a layer's sublayers and norms are wired to the residual stream x.
public enum Wiring: Sendable, Equatable {
    /// x += m·attention(norm(x)), then x += m·mlp(norm(x)): Llama and its kin; m is 1 but for Granite.
    case sequential(attentionNorm: NormSpec, mlpNorm: NormSpec, residualMultiplier: Float)
    /// x += norm(attention(norm(x))), then x += norm(mlp(norm(x))): Gemma 2 and 3; OLMo 2 has no norms in front.
    case sandwich(attentionNorm: NormSpec?, attentionOutputNorm: NormSpec, mlpNorm: NormSpec?, mlpOutputNorm: NormSpec)
    /// x += attention(norm(x)) + mlp(norm(x)): GPT-NeoX; without a norm of its own the MLP reads the attention's (GPT-J).
    case parallel(attentionNorm: NormSpec, mlpNorm: NormSpec?)

    /// Attention and MLP read the same stream.
    public var isParallel: Bool {
        if case .parallel = self { return true }
        return false
    }

    /// In front of the attention.
    public var attentionNorm: NormSpec? {
        switch self {
        case .sequential(let norm, _, _): norm
        case .sandwich(let norm, _, _, _): norm
        case .parallel(let norm, _): norm
        }
    }

    /// In front of the MLP; nil also where it reads the attention's.
    public var mlpNorm: NormSpec? {
        switch self {
        case .sequential(_, let norm, _): norm
        case .sandwich(_, _, let norm, _): norm
        case .parallel(_, let norm): norm
        }
    }

    /// Behind the attention.
    public var attentionOutputNorm: NormSpec? {
        guard case .sandwich(_, let norm, _, _) = self else { return nil }
        return norm
    }

    /// Behind the MLP.
    public var mlpOutputNorm: NormSpec? {
        guard case .sandwich(_, _, _, let norm) = self else { return nil }
        return norm
    }
}

/// A gated or plain MLP.
public struct MLPSpec: Sendable, Equatable {
    /// Its linear layers in front of the activation.
    public enum Input: Sendable, Equatable {
        /// down(f(gate(x)) · up(x)).
        case gated(gate: LinearSpec, up: LinearSpec)
        /// The same with one module [2·I, hidden], whose first half is the gate: Phi-3's `gate_up_proj`.
        case fusedGate(LinearSpec)
        /// down(f(up(x))).
        case plain(up: LinearSpec)
    }

    /// What stands in front of the activation.
    public let input: Input
    /// f.
    public let activation: Activation
    /// [hidden, I].
    public let down: LinearSpec

    /// `intermediate_size`.
    public var width: Int { down.columns }
    /// It multiplies by a gate.
    public var isGated: Bool {
        if case .plain = input { return false }
        return true
    }
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

    /// The path's last component, by which PEFT's `target_modules` name it.
    public var name: String { path.split(separator: ".").last.map(String.init) ?? path }
    /// Name of its matrix [rows, columns].
    public var weight: String { path + ".weight" }
    /// Name of its bias [rows]; nil where it has none.
    public var bias: String? { hasBias ? path + ".bias" : nil }
}

/// A norm over `width` features.
public struct NormSpec: Sendable, Equatable {
    /// What it computes.
    public enum Kind: Sendable, Equatable {
        /// x / √(mean(x²) + eps) · w.
        case rms
        /// x / √(mean(x²) + eps) · (1 + w): Gemma.
        case rmsOffset
        /// (x − mean) / √(variance + eps) · w + b.
        case layer(hasBias: Bool)
    }

    /// Its module paths: one, or where each head has weights of its own, one a head.
    public let paths: [String]
    /// Features that are normed together.
    public let width: Int
    /// Added to the mean of squares.
    public let eps: Float
    /// What it computes.
    public let kind: Kind

    /// Names of its weights, [width] each.
    public var weights: [String] { paths.map { $0 + ".weight" } }
    /// Names of its biases, [width] each; none where it has none.
    public var biases: [String] { kind == .layer(hasBias: true) ? paths.map { $0 + ".bias" } : [] }
}
