import Base

extension GGUFKeys {
    /// The shape that every architecture has keys for.
    struct Shape {
        let hiddenSize: Int
        let heads: Int
        let layers: Int
        let context: Int
        let mlpWidth: Int
    }

    /// The norm that an architecture's epsilon is for.
    enum Norm {
        case rms
        case layer

        var ggufKey: String { self == .rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon" }
        var configKey: String { self == .rms ? "rms_norm_eps" : "layer_norm_eps" }
    }

    /// Reads the shape.
    mutating func shape() throws -> Shape {
        let layers = try count("block_count")
        guard layers <= 1_024 else { throw bad("block_count", "is \(layers), expected at most 1024") }
        return Shape(
            hiddenSize: try count("embedding_length"), heads: try count("attention.head_count"), layers: layers,
            context: try count("context_length"), mlpWidth: try count("feed_forward_length"))
    }

    /// What config.json says of a model in Llama's layout, but for switches of its own.
    ///
    /// - Parameter rotatesPart: `partial_rotary_factor` tells how much of a head is rotated; else it must be all of it.
    mutating func llamaLayout(
        modelType: String, norm: Norm = .rms, activation: String = "silu", rotatesPart: Bool = false
    ) throws -> [String: JSONValue] {
        let shape = try shape()
        let headSize = try headSize(shape)
        var config: [String: JSONValue] = [
            "attention_dropout": .number(0), "head_dim": .integer(headSize), "hidden_act": .text(activation),
            "hidden_size": .integer(shape.hiddenSize), "intermediate_size": .integer(shape.mlpWidth),
            "max_position_embeddings": .integer(shape.context), "model_type": .text(modelType),
            "num_attention_heads": .integer(shape.heads), "num_hidden_layers": .integer(shape.layers),
            "num_key_value_heads": .integer(try count("attention.head_count_kv", default: shape.heads)),
            norm.configKey: .number(try number(norm.ggufKey)), "rope_theta": .number(try ropeTheta()),
        ]
        let rotated = try count("rope.dimension_count", default: headSize)
        if rotatesPart {
            config["partial_rotary_factor"] = .number(try rotatedShare(rotated, of: headSize))
        } else {
            guard rotated == headSize else {
                throw bad(
                    "rope.dimension_count",
                    "is \(rotated), expected \(headSize) as the length of a head's keys (attention.key_length)")
            }
        }
        config["rope_scaling"] = try ropeScaling(rotated: rotated)
        return config
    }

    /// The length of a head's keys and of its values.
    mutating func headSize(_ shape: Shape) throws -> Int {
        let size = try count("attention.key_length", default: shape.hiddenSize / shape.heads)
        let other = try count("attention.value_length", default: size)
        guard other == size else {
            throw bad(
                "attention.value_length",
                "is \(other), expected \(size) as the length of a head's keys (attention.key_length)")
        }
        return size
    }

    /// The share of a head's features that transformers makes that many of.
    func rotatedShare(_ rotated: Int, of headSize: Int) throws -> Double {
        guard rotated <= headSize else {
            throw bad("rope.dimension_count", "is \(rotated), expected at most \(headSize), the length of a head")
        }
        let share = Double(rotated) / Double(headSize)
        return Int(Double(headSize) * share) == rotated ? share : share.nextUp  // bounded: Doubles
    }

    /// Whether q, k and v have biases, and with `output` the projection behind the heads: all of them or none.
    func hasAttentionBias(output: Bool) throws -> Bool {
        let isFused = layersHave("attn_qkv.weight")
        let inputs = isFused ? ["attn_qkv"] : ["attn_q", "attn_k", "attn_v"]
        let found = (inputs + ["attn_output"]).map { layersHave("\($0).bias") }
        let hasBias = found[0]
        guard found == inputs.map({ _ in hasBias }) + [hasBias && output] else {
            throw MeraserError.badInput(
                "\(file): \(architecture) has biases of some of blk.0.attn_q, attn_k, attn_v and attn_output, "
                    + "which no model of Transformers' has")
        }
        return hasBias
    }

    /// Whether the MLP's projections have biases.
    var hasMLPBias: Bool { layersHave("ffn_down.bias") }

    /// `layer_types` and, where a layer has a window, `sliding_window`.
    static func windows(_ isSliding: [Bool], _ window: Int) -> [String: JSONValue] {
        [
            "layer_types": .array(isSliding.map { .text($0 ? "sliding_attention" : "full_attention") }),
            "sliding_window": .integer(window),
        ]
    }
}
