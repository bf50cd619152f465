import Base
import Foundation

/// config.json of a GGUF model: the shape and hyper-parameters that its metadata and its tensors tell.
///
/// Reads `llama` (Mistral's models too), `qwen2` and `qwen3`. A key of the architecture that is not read is refused by
/// name, since it would change the numbers. Source of keys and defaults: llama.cpp, gguf-py/gguf/constants.py and
/// src/llama-model.cpp.
struct GGUFConfig {
    /// The tensor that holds Llama 3's factors for the rotary frequencies; the metadata does not have them.
    static let ropeFactorsName = "rope_freqs.weight"

    private enum Architecture: String, CaseIterable {
        case llama
        case qwen2
        case qwen3
    }

    private let architecture: Architecture
    private let metadata: Metadata
    private let tensors: [GGUFTensorInfo]
    private let names: Set<String>
    private let ropeFactors: [Float]?
    private let file: String

    /// Throws `badInput` naming an architecture, a mixture of experts or a key that is not supported.
    init(_ metadata: Metadata, tensors: [GGUFTensorInfo], ropeFactors: [Float]?, file: String) throws {
        let name = metadata.string("general.architecture")
        guard let architecture = name.flatMap(Architecture.init) else {
            let known = Architecture.allCases.map(\.rawValue).joined(separator: ", ")
            throw MeraserError.badInput(
                "\(file): general.architecture is \(name.map { "'\($0)'" } ?? "missing"); supported: \(known)")
        }
        self.architecture = architecture
        self.metadata = metadata
        self.tensors = tensors
        names = Set(tensors.map(\.name))
        self.ropeFactors = ropeFactors
        self.file = file
        let prefix = architecture.rawValue + "."
        if let experts = metadata[prefix + "expert_count"], metadata.int(prefix + "expert_count") != 0 {
            throw MeraserError.badInput(
                "\(file): \(prefix)expert_count is \(experts): mixtures of experts are not supported")
        }
        for key in metadata.keys where key.hasPrefix(prefix) && !Self.keys.contains(String(key.dropFirst(prefix.count)))
        {
            throw MeraserError.badInput(
                "\(file): the key \(key) is not supported; it would change what the model computes")
        }
    }

    /// The keys of an architecture that are read, or that change no number.
    private static let keys: Set<String> = [
        "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
        "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.value_length",
        "attention.layer_norm_rms_epsilon", "attention.sliding_window", "rope.dimension_count", "rope.freq_base",
        "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
        "rope.scaling.finetuned", "rope.scale_linear", "expert_count", "expert_used_count", "tensor_data_layout",
    ]

    private func bad(_ key: String, _ what: String) -> MeraserError {
        .badInput("\(file): \(architecture.rawValue).\(key) \(what)")
    }

    /// What Transformers' config.json would say.
    ///
    /// - Parameter vocabulary: tells the special tokens.
    /// - Throws: a bad-input error naming the key that is missing, malformed, or contradicts the others.
    func json(vocabulary: GGUFVocabulary?) throws -> JSONValue {
        let hiddenSize = try count("embedding_length")
        let heads = try count("attention.head_count")
        let keyValueHeads = try count("attention.head_count_kv", default: heads)
        let headSize = try headSize(hiddenSize: hiddenSize, heads: heads)
        let window = try count("attention.sliding_window", default: 0)
        let hasBias = try hasAttentionBias()
        var members: [String: JSONValue] = [
            "attention_dropout": .number(0), "head_dim": .integer(headSize), "hidden_act": .text("silu"),
            "hidden_size": .integer(hiddenSize), "initializer_range": .number(0.02),
            "intermediate_size": .integer(try count("feed_forward_length")),
            "max_position_embeddings": .integer(try count("context_length")), "num_attention_heads": .integer(heads),
            "num_hidden_layers": .integer(try count("block_count")), "num_key_value_heads": .integer(keyValueHeads),
            "rms_norm_eps": try number("attention.layer_norm_rms_epsilon"),
            "rope_scaling": try ropeScaling(headSize: headSize), "rope_theta": try ropeTheta(),
            "tie_word_embeddings": .bool(!names.contains("output.weight")), "torch_dtype": .text(elementType),
            "use_cache": .bool(true), "vocab_size": .integer(try vocabularySize(vocabulary)),
        ]
        switch architecture {
        case .llama where window > 0:
            guard !hasBias else { throw bad("attention.sliding_window", "is \(window) in a model with biases") }
            members["architectures"] = .array([.text("MistralForCausalLM")])
            members["model_type"] = .text("mistral")
            members["sliding_window"] = .integer(window)
        case .llama:
            members["architectures"] = .array([.text("LlamaForCausalLM")])
            members["model_type"] = .text("llama")
            members["attention_bias"] = .bool(hasBias)
            members["mlp_bias"] = .bool(names.contains("blk.0.ffn_down.bias"))
        case .qwen2, .qwen3:
            members["architectures"] = .array([.text(architecture == .qwen2 ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM")])
            members["model_type"] = .text(architecture.rawValue)
            members["use_sliding_window"] = .bool(window > 0)
            if window > 0 {
                members["sliding_window"] = .integer(window)
                members["max_window_layers"] = .integer(0)
            }
            if architecture == .qwen3 { members["attention_bias"] = .bool(hasBias) }
        }
        if let vocabulary {
            members["bos_token_id"] = vocabulary.bos.map { .integer($0) } ?? .null
            members["eos_token_id"] = vocabulary.eos.map { .integer($0) } ?? .null
            members["pad_token_id"] = vocabulary.padding.map { .integer($0) } ?? .null
        }
        return .object(JSONObject(members.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }))
    }

    // MARK: Values

    /// A whole number, 1 or more unless it is the default.
    private func count(_ key: String, default fallback: Int? = nil) throws -> Int {
        let name = "\(architecture.rawValue).\(key)"
        guard let value = metadata[name] else {
            guard let fallback else { throw bad(key, "is missing, expected a whole number") }
            return fallback
        }
        guard let number = metadata.int(name), number >= 1 || number == fallback else {
            throw bad(key, "is \(value), expected a whole number of 1 or more")
        }
        return number
    }

    /// A number as the shortest decimal that is the same f32, which is how its author wrote it: 1e-05.
    private func number(_ key: String) throws -> JSONValue {
        let name = "\(architecture.rawValue).\(key)"
        guard let value = metadata[name] else { throw bad(key, "is missing, expected a number") }
        guard let number = metadata.float(name), number.isFinite, let shortest = Double("\(Float(number))") else {
            throw bad(key, "is \(value), expected a finite number")
        }
        return .number(shortest)
    }

    private func headSize(hiddenSize: Int, heads: Int) throws -> Int {
        let size = try count("attention.key_length", default: hiddenSize / heads)
        for key in ["attention.value_length", "rope.dimension_count"] {
            let other = try count(key, default: size)
            guard other == size else {
                throw bad(key, "is \(other), expected \(size) as the length of a head's keys (attention.key_length)")
            }
        }
        return size
    }

    /// Rows of the embedding.
    private func vocabularySize(_ vocabulary: GGUFVocabulary?) throws -> Int {
        guard let embedding = tensors.first(where: { $0.name == "token_embd.weight" }), embedding.dimensions.count == 2
        else { throw MeraserError.badInput("\(file): there is no matrix token_embd.weight") }
        let rows = embedding.dimensions[1]
        let claimed = try count("vocab_size", default: rows)
        guard claimed == rows else { throw bad("vocab_size", "is \(claimed), but token_embd.weight has \(rows) rows") }
        if let count = vocabulary?.tokens.count, count > rows {
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.tokens has \(count) tokens, but token_embd.weight has \(rows) rows")
        }
        return rows
    }

    /// What Transformers loads the weights as: the one type that all matrices have, f32 for quantized and mixed ones.
    private var elementType: String {
        switch Set(tensors.filter { $0.dimensions.count > 1 }.map(\.typeID)) {
        case [TensorType.f16.rawValue]: "float16"
        case [TensorType.bf16.rawValue]: "bfloat16"
        default: "float32"
        }
    }

    /// Llama's one switch stands for the biases of all four projections; Qwen 2 has three and no switch.
    private func hasAttentionBias() throws -> Bool {
        let found = ["attn_q", "attn_k", "attn_v", "attn_output"].map { names.contains("blk.0.\($0).bias") }
        let expected = architecture == .qwen2 ? [true, true, true, false] : [found[0], found[0], found[0], found[0]]
        guard found == expected else {
            throw MeraserError.badInput(
                "\(file): \(architecture.rawValue) has biases of some of blk.0.attn_q, attn_k, attn_v and attn_output, "
                    + "which no model of Transformers' has")
        }
        return found[0]
    }

    // MARK: Rotary embedding

    private func ropeTheta() throws -> JSONValue {
        metadata["\(architecture.rawValue).rope.freq_base"] == nil ? .number(10_000) : try number("rope.freq_base")
    }

    private func ropeScaling(headSize: Int) throws -> JSONValue {
        let prefix = architecture.rawValue
        if let ropeFactors, ropeFactors.contains(where: { $0 != 1 }) {
            return try llama3Scaling(ropeFactors, headSize: headSize)
        }
        if metadata["\(prefix).rope.scale_linear"] != nil {
            let factor = try number("rope.scale_linear")
            return factor == .number(1) ? .null : ["rope_type": .text("linear"), "factor": factor]
        }
        switch metadata.string("\(prefix).rope.scaling.type") {
        case nil, "none":
            return .null
        case "linear":
            return ["rope_type": .text("linear"), "factor": try number("rope.scaling.factor")]
        case "yarn":
            var members: [(key: String, value: JSONValue)] = [
                ("rope_type", .text("yarn")), ("factor", try number("rope.scaling.factor")),
                (
                    "original_max_position_embeddings",
                    .integer(try count("rope.scaling.original_context_length"))
                ),
            ]
            if metadata["\(prefix).rope.scaling.attn_factor"] != nil {
                members.append(("attention_factor", try number("rope.scaling.attn_factor")))
            }
            return .object(JSONObject(members))
        case let type?:
            throw bad("rope.scaling.type", "is '\(type)', supported: none, linear, yarn")
        }
    }

    /// Llama 3.1's scaling as its only trace tells it: the published models differ in the factor alone. The length of
    /// context that it starts from is one that gives these very factors, 8192 where that does.
    private func llama3Scaling(_ factors: [Float], headSize: Int) throws -> JSONValue {
        func bad(_ what: String) -> MeraserError {
            .badInput("\(file): tensor '\(Self.ropeFactorsName)' \(what)")
        }
        guard factors.count == headSize / 2 else {
            throw bad("has \(factors.count) numbers, expected \(headSize / 2), one for each pair of a head")
        }
        let (low, high) = (1.0, 4.0)
        let theta = try ropeTheta().double ?? 10_000
        let factor = Double(factors.max() ?? 1)
        func explainsFactors(_ original: Double) -> Bool {
            factors.enumerated().allSatisfy { pair, found in
                let exponent = Double(pair) / Double(factors.count)
                let wavelength = 2 * Double.pi * pow(theta, exponent)  // bounded: Double does not trap
                // 1 for short waves, the whole factor for long ones.
                let share = min(1, max(0, (original / wavelength - low) / (high - low)))
                let expected = 1 / ((1 - share) / factor + share)
                return abs(Double(found) - expected) <= expected / 1000
            }
        }
        let claimed = try count("rope.scaling.original_context_length", default: 8192)
        let lengths = [claimed] + (0...24).map { 1 << $0 }  // bounded: to 2^24
        guard let original = lengths.first(where: { explainsFactors(Double($0)) }) else {
            throw bad(
                "is not Llama 3's scaling of the rotary frequencies by \(factor), from any power of two of positions")
        }
        return [
            "rope_type": .text("llama3"), "factor": .number(factor), "low_freq_factor": .number(low),
            "high_freq_factor": .number(high), "original_max_position_embeddings": .integer(original),
        ]
    }
}
