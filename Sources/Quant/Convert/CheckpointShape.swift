/// What config.json says about the shapes of a Llama-family checkpoint: enough to know every tensor that must be there.
///
/// The full configuration is Model's business; this is what the converter checks before it writes anything.
public struct CheckpointShape: Sendable, Equatable {
    /// `architectures[0]`.
    public let architecture: String
    /// `hidden_size`.
    public let hiddenSize: Int
    /// `intermediate_size`.
    public let intermediateSize: Int
    /// `num_hidden_layers`.
    public let layers: Int
    /// `num_attention_heads`.
    public let heads: Int
    /// `num_key_value_heads`; as many as heads if it is missing.
    public let keyValueHeads: Int
    /// `head_dim`; hidden size over heads if it is missing.
    public let headDimension: Int
    /// `vocab_size`.
    public let vocabularySize: Int
    /// `max_position_embeddings`.
    public let contextLength: Int
    /// `rms_norm_eps`.
    public let normEpsilon: Double
    /// `rope_theta`, at the top or in `rope_parameters`.
    public let ropeTheta: Double
    /// `tie_word_embeddings`: the output head is the embedding.
    public let isTied: Bool
    /// `attention_bias`.
    public let hasAttentionBias: Bool
    /// `mlp_bias`.
    public let hasMLPBias: Bool
    /// `sliding_window`, if the model has one.
    public let slidingWindow: Int?

    /// The architectures that can be converted.
    public static let supportedArchitectures = ["LlamaForCausalLM", "MistralForCausalLM"]

    /// Reads and bounds the values. Errors (`badInput`) name the file, the key, the value and what was expected.
    public init(config: JSONValue, file: String) throws {
        let architectures = try config.arrayIfPresent("architectures", in: file) ?? []
        let name = architectures.first?.string ?? "none"
        guard Self.supportedArchitectures.contains(name) else {
            throw MeraserError.badInput(
                "\(file): the architecture is \(name); supported are "
                    + (Self.supportedArchitectures + EncoderShape.supportedArchitectures).joined(separator: ", ")
            )
        }
        func bounded(_ key: String, _ value: Int, _ range: ClosedRange<Int>) throws -> Int {
            guard range.contains(value) else {
                throw MeraserError.badInput(
                    "\(file): '\(key)' is \(value), expected \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        func positive(_ key: String, _ value: Double) throws -> Double {
            guard value.isFinite, value > 0, Float(value).isFinite else {
                throw MeraserError.badInput("\(file): '\(key)' is \(value), expected a finite number above 0")
            }
            return value
        }
        architecture = name
        hiddenSize = try bounded("hidden_size", try config.int("hidden_size", in: file), 1...1 << 20)
        intermediateSize = try bounded("intermediate_size", try config.int("intermediate_size", in: file), 1...1 << 22)
        layers = try bounded("num_hidden_layers", try config.int("num_hidden_layers", in: file), 1...4096)
        heads = try bounded("num_attention_heads", try config.int("num_attention_heads", in: file), 1...1 << 14)
        keyValueHeads = try bounded(
            "num_key_value_heads", try config.intIfPresent("num_key_value_heads", in: file) ?? heads, 1...heads)
        guard heads % keyValueHeads == 0 else {
            throw MeraserError.badInput(
                "\(file): 'num_attention_heads' is \(heads), no multiple of 'num_key_value_heads' \(keyValueHeads)")
        }
        let explicitHeadDimension = try config.intIfPresent("head_dim", in: file)
        guard explicitHeadDimension != nil || hiddenSize % heads == 0 else {
            throw MeraserError.badInput(
                "\(file): 'hidden_size' is \(hiddenSize), no multiple of 'num_attention_heads' \(heads), and there is no "
                    + "'head_dim'")
        }
        headDimension = try bounded("head_dim", explicitHeadDimension ?? hiddenSize / heads, 1...1 << 14)
        vocabularySize = try bounded("vocab_size", try config.int("vocab_size", in: file), 1...1 << 24)
        contextLength = try bounded(
            "max_position_embeddings", try config.intIfPresent("max_position_embeddings", in: file) ?? 2048, 1...1 << 30
        )
        normEpsilon = try positive("rms_norm_eps", try config.doubleIfPresent("rms_norm_eps", in: file) ?? 1e-6)
        let theta =
            try config.doubleIfPresent("rope_theta", in: file)
            ?? config.doubleIfPresent("rope_parameters", "rope_theta", in: file)
        ropeTheta = try positive("rope_theta", theta ?? 10_000)
        isTied = try config.boolIfPresent("tie_word_embeddings", in: file) ?? false
        hasAttentionBias = try config.boolIfPresent("attention_bias", in: file) ?? false
        hasMLPBias = try config.boolIfPresent("mlp_bias", in: file) ?? false
        slidingWindow = try config.intIfPresent("sliding_window", in: file)
    }
}

/// What a tensor is for, which decides its type.
enum TensorRole: Sendable {
    case embedding
    case head
    case matrix
    case vector
}

/// A tensor that a checkpoint must have.
struct ExpectedTensor: Sendable {
    let name: String
    let shape: [Int]
    let role: TensorRole
}

extension CheckpointShape {
    /// All tensors of the model, in the order in which a forward pass meets them.
    var expectedTensors: [ExpectedTensor] {
        let queries = heads * headDimension
        let keys = keyValueHeads * headDimension
        var tensors = [
            ExpectedTensor(name: "model.embed_tokens.weight", shape: [vocabularySize, hiddenSize], role: .embedding)
        ]
        func vector(_ name: String, _ count: Int) {
            tensors.append(ExpectedTensor(name: name, shape: [count], role: .vector))
        }
        func matrix(_ name: String, _ rows: Int, _ columns: Int, bias: Bool) {
            tensors.append(ExpectedTensor(name: name + ".weight", shape: [rows, columns], role: .matrix))
            if bias { vector(name + ".bias", rows) }
        }
        for layer in 0..<layers {
            let prefix = "model.layers.\(layer)."
            vector(prefix + "input_layernorm.weight", hiddenSize)
            matrix(prefix + "self_attn.q_proj", queries, hiddenSize, bias: hasAttentionBias)
            matrix(prefix + "self_attn.k_proj", keys, hiddenSize, bias: hasAttentionBias)
            matrix(prefix + "self_attn.v_proj", keys, hiddenSize, bias: hasAttentionBias)
            matrix(prefix + "self_attn.o_proj", hiddenSize, queries, bias: hasAttentionBias)
            vector(prefix + "post_attention_layernorm.weight", hiddenSize)
            matrix(prefix + "mlp.gate_proj", intermediateSize, hiddenSize, bias: hasMLPBias)
            matrix(prefix + "mlp.up_proj", intermediateSize, hiddenSize, bias: hasMLPBias)
            matrix(prefix + "mlp.down_proj", hiddenSize, intermediateSize, bias: hasMLPBias)
        }
        vector("model.norm.weight", hiddenSize)
        if !isTied {
            tensors.append(ExpectedTensor(name: "lm_head.weight", shape: [vocabularySize, hiddenSize], role: .head))
        }
        return tensors
    }
}
