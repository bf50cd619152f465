import Base
import Foundation
import Quant
import TestSupport
import Testing

@Suite("config.json of a GGUF file")
struct GGUFConfigTests {
    /// A small model's metadata and tensors, which the tests change.
    private struct Sample {
        var metadata = Metadata()
        var tensors: [GGUFTensorInfo] = []
        var ropeFactors: [Float]?
        private let architecture: String

        init(_ architecture: String, biases: [String] = [], isTied: Bool = true) {
            self.architecture = architecture
            metadata["general.architecture"] = .string(architecture)
            set("block_count", .uint32(2))
            set("context_length", .uint32(128))
            set("embedding_length", .uint32(64))
            set("feed_forward_length", .uint32(96))
            set("attention.head_count", .uint32(4))
            set("attention.head_count_kv", .uint32(2))
            set("attention.layer_norm_rms_epsilon", .float32(1e-5))
            set("rope.freq_base", .float32(500_000))
            add("token_embd.weight", [64, 100])
            add("output_norm.weight", [64], type: 0)
            for bias in biases { add("blk.0.\(bias).bias", [64], type: 0) }
            if !isTied { add("output.weight", [64, 100]) }
        }

        mutating func set(_ key: String, _ value: MetadataValue?) { metadata["\(architecture).\(key)"] = value }

        mutating func add(_ name: String, _ dimensions: [Int], type: UInt32 = 1) {
            tensors.append(GGUFTensorInfo(name: name, typeID: type, dimensions: dimensions, offset: tensors.count * 32))
        }

        func config() throws -> JSONValue {
            let files = try GGUFTextFiles(
                metadata: metadata, tensors: tensors,
                ropeFactors: ropeFactors.map { ["rope_freqs.weight": $0] } ?? [:], path: "m.gguf")
            return try JSONValue.parse(try #require(try files.textFile("config.json")), file: "config.json")
        }

        func message() -> String? {
            do {
                _ = try config()
                return nil
            } catch { return (error as? MeraserError)?.message }
        }
    }

    @Test("Llama: every key, as Transformers names it")
    func llama() throws {
        var sample = Sample("llama")
        let config = try sample.config()
        let want: [(String, JSONValue)] = [
            ("architectures", .array([.text("LlamaForCausalLM")])), ("model_type", .text("llama")),
            ("hidden_size", .integer(64)), ("intermediate_size", .integer(96)), ("num_hidden_layers", .integer(2)),
            ("num_attention_heads", .integer(4)), ("num_key_value_heads", .integer(2)), ("head_dim", .integer(16)),
            ("max_position_embeddings", .integer(128)), ("rms_norm_eps", .number(1e-5)),
            ("rope_theta", .number(500_000)), ("rope_scaling", .null), ("tie_word_embeddings", .bool(true)),
            ("vocab_size", .integer(100)), ("torch_dtype", .text("float16")), ("attention_bias", .bool(false)),
            ("mlp_bias", .bool(false)), ("hidden_act", .text("silu")),
        ]
        for (key, value) in want { #expect(config[key] == value, "\(key)") }
        // What a file need not say.
        sample.set("attention.head_count_kv", nil)
        sample.set("rope.freq_base", nil)
        sample.set("attention.key_length", .uint32(32))
        sample.set("attention.value_length", .uint32(32))
        sample.set("rope.dimension_count", .uint32(32))
        sample.add("output.weight", [64, 100], type: 8)
        let other = try sample.config()
        #expect(other["num_key_value_heads"] == .integer(4))
        #expect(other["rope_theta"]?.double == 10_000)
        #expect(other["head_dim"] == .integer(32))
        #expect(other["tie_word_embeddings"] == .bool(false))
        #expect(other["torch_dtype"] == .text("float32"), "two types of matrices")
    }

    @Test("Mistral comes as llama with a window; Qwen has its own architectures and biases")
    func otherArchitectures() throws {
        var mistral = Sample("llama")
        mistral.set("attention.sliding_window", .uint32(32))
        let config = try mistral.config()
        #expect(config["architectures"] == .array([.text("MistralForCausalLM")]))
        #expect(config["sliding_window"] == .integer(32))
        let qwen2 = try Sample("qwen2", biases: ["attn_q", "attn_k", "attn_v"], isTied: false).config()
        #expect(qwen2["architectures"] == .array([.text("Qwen2ForCausalLM")]))
        #expect(qwen2["model_type"] == .text("qwen2"))
        #expect(qwen2["use_sliding_window"] == .bool(false))
        #expect(qwen2["tie_word_embeddings"] == .bool(false))
        let qwen3 = try Sample("qwen3").config()
        #expect(qwen3["architectures"] == .array([.text("Qwen3ForCausalLM")]))
        #expect(qwen3["attention_bias"] == .bool(false))
        let biased = try Sample("llama", biases: ["attn_q", "attn_k", "attn_v", "attn_output"]).config()
        #expect(biased["attention_bias"] == .bool(true))
        #expect(
            Sample("llama", biases: ["attn_q", "attn_k", "attn_v"]).message()?.hasPrefix(
                "m.gguf: llama has biases of some of blk.0.attn_q") == true)
        #expect(Sample("qwen2").message() == "m.gguf: qwen2 has biases of none of q, k and v, expected all")
    }

    @Test("Scaled rotary frequencies: by keys, and Llama 3's by its tensor")
    func ropeScaling() throws {
        var sample = Sample("llama")
        sample.set("rope.scaling.type", .string("linear"))
        sample.set("rope.scaling.factor", .float32(4))
        #expect(try sample.config()["rope_scaling"] == ["rope_type": .text("linear"), "factor": .number(4)])
        sample.set("rope.scaling.type", .string("yarn"))
        #expect(sample.message()?.contains("llama.rope.scaling.original_context_length is missing") == true)
        sample.set("rope.scaling.original_context_length", .uint32(64))
        #expect(
            try sample.config()["rope_scaling"]
                == ["rope_type": .text("yarn"), "factor": .number(4), "original_max_position_embeddings": .integer(64)])
        sample.set("rope.scaling.type", .string("longrope"))
        #expect(sample.message() == "m.gguf: llama.rope.scaling.type is 'longrope', supported: none, linear, yarn")

        // As convert_hf_to_gguf.py computes it for Llama 3.2: theta 500,000, heads of 64, factor 32.
        var llama3 = Sample("llama")
        llama3.set("attention.key_length", .uint32(64))
        llama3.set("attention.value_length", .uint32(64))
        func scaled(_ original: Float) -> [Float] {
            (0..<32).map { pair in
                let wavelength = 2 * Float.pi * Float(pow(500_000, Double(pair) / 32))
                if wavelength < original / 4 { return 1 }
                if wavelength > original { return 32 }
                let smooth = (original / wavelength - 1) / 3
                return 1 / ((1 - smooth) / 32 + smooth)
            }
        }
        let (factors, otherFactors) = (scaled(8192), scaled(32))
        #expect(Set(factors).count > 3, "some waves lie between the two lengths")
        llama3.ropeFactors = factors
        #expect(
            try llama3.config()["rope_scaling"]
                == [
                    "rope_type": .text("llama3"), "factor": .number(32), "low_freq_factor": .number(1),
                    "high_freq_factor": .number(4), "original_max_position_embeddings": .integer(8192),
                ])
        llama3.ropeFactors = otherFactors
        #expect(try llama3.config()["rope_scaling"]?["original_max_position_embeddings"] == .integer(32))
        llama3.ropeFactors = [Float](repeating: 1, count: 32)
        #expect(try llama3.config()["rope_scaling"] == .null)
        llama3.ropeFactors = factors.reversed()
        #expect(llama3.message()?.hasPrefix("m.gguf: tensor 'rope_freqs.weight' is not Llama 3's scaling") == true)
        llama3.ropeFactors = Array(factors.dropLast())
        #expect(llama3.message()?.contains("has 31 numbers, expected 32") == true)
        llama3.ropeFactors = [.nan] + factors.dropFirst()
        #expect(llama3.message()?.contains("is not Llama 3's scaling") == true)
    }

    @Test(
        "What is not supported or does not fit is refused by name",
        arguments: [
            (
                "general.architecture", .string("mamba"),
                "general.architecture is 'mamba'; supported: llama, qwen2, qwen3, phi3, gemma"
            ),
            (
                "llama.expert_count", .uint32(8),
                "llama.expert_count is 8: mixtures of experts are not supported"
            ),
            ("llama.logit_scale", .float32(2), "the key llama.logit_scale is not supported"),
            ("llama.block_count", .uint32(0), "llama.block_count is 0, expected a whole number of 1 or more"),
            ("llama.block_count", .string("2"), "llama.block_count is '2', expected a whole number"),
            ("llama.block_count", nil, "llama.block_count is missing, expected a whole number"),
            (
                "llama.attention.head_count", .array(.uint32([4, 4])),
                "llama.attention.head_count is an array of 2 values, expected a whole number"
            ),
            ("llama.rope.dimension_count", .uint32(8), "llama.rope.dimension_count is 8, expected 16"),
            ("llama.attention.value_length", .uint32(8), "llama.attention.value_length is 8, expected 16"),
            ("llama.vocab_size", .uint32(99), "llama.vocab_size is 99, but token_embd.weight has 100 rows"),
            (
                "llama.attention.layer_norm_rms_epsilon", .float32(.nan),
                "llama.attention.layer_norm_rms_epsilon is nan, expected a finite number"
            ),
            ("llama.attention.layer_norm_rms_epsilon", nil, "llama.attention.layer_norm_rms_epsilon is missing"),
        ] as [(String, MetadataValue?, String)])
    func refusals(key: String, value: MetadataValue?, message: String) {
        var sample = Sample("llama")
        sample.metadata[key] = value
        #expect(sample.message()?.hasPrefix("m.gguf: " + message) == true, "\(sample.message() ?? "no error")")
    }

    @Test("A vocabulary that is larger than the embedding is refused")
    func vocabulary() {
        var sample = Sample("llama")
        sample.metadata["tokenizer.ggml.model"] = .string("llama")
        sample.metadata["tokenizer.ggml.tokens"] = .array(.string((0...100).map { "t\($0)" }))
        #expect(sample.message() == "m.gguf: tokenizer.ggml.tokens has 101 tokens, but token_embd.weight has 100 rows")
        sample.tensors.removeFirst()
        #expect(sample.message() == "m.gguf: there is no matrix token_embd.weight")
    }

    // As AutoConfig.from_pretrained(gguf_file:) reads it, but for what that leaves out (architectures, the type).
    @Test(
        "SmolLM2's config.json",
        .enabled(if: realModel() != nil, "tools/real_model.sh has not fetched the model"))
    func smolLM2() throws {
        let files = try GGUFTextFiles(try GGUFFile(path: try #require(realModel()).path))
        let bytes = try #require(try files.textFile("config.json"))
        let want = """
            {"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
            "eos_token_id": 2, "head_dim": 64, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.02,
            "intermediate_size": 1536, "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
            "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2,
            "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 100000.0, "tie_word_embeddings": true,
            "torch_dtype": "float32", "use_cache": true, "vocab_size": 49152}
            """
        #expect(
            try JSONValue.parse(bytes, file: "config.json") == JSONValue.parse(Array(want.utf8), file: "expected"))
    }
}
