import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("What the converter refuses")
struct ConvertRefusalTests {
    /// The error of converting a spoilt checkpoint, the folder's path written as D; expects that nothing is left behind.
    private func refusal(
        _ kind: MeraserError.Kind = .badInput, options: ConvertOptions = ConvertOptions(),
        sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout TinyCheckpoint) -> Void
    ) throws -> String {
        var checkpoint = TinyCheckpoint()
        change(&checkpoint)
        return try withTemporaryFolder { folder in
            let source = folder.appendingPathComponent("source")
            let out = folder.appendingPathComponent("out")
            for url in [source, out] {
                try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
            }
            try checkpoint.write(to: source)
            let text = errorText(kind, sourceLocation: sourceLocation) {
                _ = try convert(source: source.path, destination: out.path + "/m.mqf", options: options)
            }
            let left = try FileManager.default.contentsOfDirectory(atPath: out.path)
            #expect(left == [], sourceLocation: sourceLocation)
            return text.replacingOccurrences(of: source.path, with: "D")
        }
    }

    /// The report and the file of converting a checkpoint.
    private func converted(
        _ checkpoint: TinyCheckpoint, _ options: ConvertOptions = ConvertOptions(),
        _ body: (MQFFile, ConvertReport) throws -> Void
    ) throws {
        try withTemporaryFolder { folder in
            try checkpoint.write(to: folder)
            let path = folder.path + "/m.mqf"
            let report = try convert(source: folder.path, destination: path, options: options)
            let file = try MQFFile(path: path)
            try file.verify()
            try body(file, report)
        }
    }

    @Test("an unknown architecture")
    func architecture() throws {
        let supported =
            "supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Phi3ForCausalLM, "
            + "GemmaForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM, GPTNeoXForCausalLM, GPTJForCausalLM, "
            + "Olmo2ForCausalLM, GraniteForCausalLM, SmolLM3ForCausalLM, StableLmForCausalLM, "
            + "Starcoder2ForCausalLM, BertForSequenceClassification, RobertaForSequenceClassification"
        #expect(
            try refusal { $0.config["architectures"] = "[\"GPT2LMHeadModel\"]" }
                == "D/config.json: the architecture is GPT2LMHeadModel; \(supported)")
        #expect(
            try refusal { $0.config["architectures"] = nil } == "D/config.json: the architecture is none; \(supported)")
        #expect(
            try refusal { $0.config["quantization_config"] = "{\"quant_method\":\"bitsandbytes\"}" }
                == "D/config.json: the checkpoint is quantized already (quant_method bitsandbytes); packed weights "
                + "are read of awq, bitsandbytes, gptq in safetensors; else convert from the original in f16, bf16 or f32"
        )
    }

    @Test("impossible numbers in config.json")
    func config() throws {
        func text(_ key: String, _ value: String?) throws -> String { try refusal { $0.config[key] = value } }
        let (whole, range) = ("expected a whole number from 1 to", "expected a number from 1.0 to 1000000000000.0")
        #expect(
            try text("hidden_size", nil)
                == "D/config.json: 'hidden_size' is missing, \(whole) 65536")
        #expect(
            try text("hidden_size", "0") == "D/config.json: 'hidden_size' is 0, \(whole) 65536"
        )
        #expect(try text("hidden_size", "1e3") == "D/config.json: 'hidden_size' is a number, expected an integer")
        #expect(
            try text("vocab_size", "99999999999").hasSuffix(
                "'vocab_size' is 99999999999, \(whole) 4194304"))
        #expect(
            try text("num_hidden_layers", "1000000").hasSuffix(
                "'num_hidden_layers' is 1000000, \(whole) 1024"))
        #expect(
            try text("num_key_value_heads", "5").hasSuffix(
                "'num_key_value_heads' is 5, \(whole) 4"))
        #expect(
            try text("num_key_value_heads", "3").hasSuffix(
                "'num_attention_heads' is 4, no multiple of 'num_key_value_heads' 3"))
        #expect(try text("num_attention_heads", "6").contains("'hidden_size' is 64, no multiple of"))
        #expect(try text("rms_norm_eps", "0").hasSuffix("'rms_norm_eps' is 0.0, expected a number from 1e-30 to 1.0"))
        #expect(
            try text("rope_theta", "-1").hasSuffix(
                "'rope_theta' is -1.0, expected a number from 1.0 to 1000000000000.0"))
        #expect(try text("rope_theta", "1e300").hasSuffix(range))
        #expect(try text("hidden_size", "{").hasPrefix("D/config.json:1:"))
    }

    @Test("what no command could run")
    func notServed() throws {
        func text(_ key: String, _ value: String) throws -> String { try refusal { $0.config[key] = value } }
        #expect(
            try text("rope_scaling", #"{"rope_type": "ntk", "factor": 4.0}"#)
                == "D/config.json: 'rope_scaling.rope_type' is 'ntk', supported: default, linear, llama3, dynamic, yarn, "
                + "longrope")
        #expect(
            try text("rope_scaling", #"{"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0]}"#)
                == "D/config.json: 'rope_scaling.short_factor' has 1 numbers, expected one for each of 8 pairs")
        #expect(try text("partial_rotary_factor", "0.5").hasSuffix("'partial_rotary_factor' is 0.5, supported here: 1"))
        #expect(
            try text("hidden_act", "\"quick_gelu\"").hasPrefix(
                "D/config.json: 'hidden_act' is 'quick_gelu', supported: silu, swish, gelu,"))
        #expect(
            try text("eos_token_id", "-1")
                == "D: config.json: 'eos_token_id' is not a token id below vocab_size 40")
        #expect(try text("head_dim", "15").hasSuffix("rotated in pairs; expected an even number of them"))
        #expect(try text("pretraining_tp", "2").hasSuffix("'pretraining_tp' is 2, supported: 1"))
    }

    @Test("missing tensors and wrong shapes")
    func tensors() throws {
        let name = "model.layers.0.self_attn.k_proj.weight"
        #expect(
            try refusal { $0.tensors[name] = nil }
                == "D: tensor '\(name)' is missing; config.json demands it with shape [32, 64]")
        #expect(
            try refusal { $0.tensors[name] = ([64, 32], [Float](repeating: 0, count: 2048)) }
                == "D: tensor '\(name)' has shape [64, 32], config.json demands [32, 64]")
        #expect(
            try refusal { $0.tensors["lm_head.weight"] = nil }
                == "D: tensor 'lm_head.weight' is missing; config.json demands it with shape [40, 64]")
        #expect(
            try refusal { $0.config["attention_bias"] = "true" }
                == "D: tensor 'model.layers.0.self_attn.q_proj.bias' is missing; config.json demands it with shape [64]"
        )
    }

    @Test("weights that are not finite or do not fit")
    func values() throws {
        let name = "model.layers.0.mlp.down_proj.weight"
        for value in [Float.nan, .infinity, -.infinity] {
            let text = try refusal { $0.tensors[name]?.values[96 * 3 + 5] = value }
            #expect(
                text
                    == "D/model.safetensors: tensor '\(name)' has the value \(value) in row 3, column 5, expected finite "
                    + "weights")
        }
        for type in [TensorType.iq4_nl, .q8_0, .f16] {
            var options = ConvertOptions()
            options.type = type
            let text = try refusal(options: options) { $0.tensors[name]?.values[96 * 3 + 5] = 1e30 }
            #expect(
                text.hasPrefix("D/model.safetensors: tensor '\(name)' has weights too large for \(type.name) near row ")
            )
        }
    }

    @Test("files that are no text")
    func files() throws {
        #expect(
            try refusal { $0.files["chat_template.jinja"] = [0xFF] } == "D/chat_template.jinja is not valid UTF-8")
        #expect(
            try refusal { $0.files["tokenizer.json"] = Array("{\"a\":1".utf8) }
                .hasPrefix("D/tokenizer.json:1:7: invalid JSON"))
        try withTemporaryFolder { folder in
            try TinyCheckpoint().write(to: folder)
            try FileManager.default.removeItem(at: folder.appendingPathComponent("config.json"))
            let text = errorText {
                _ = try convert(source: folder.path, destination: folder.path + "/m", options: ConvertOptions())
            }
            #expect(
                text
                    == "\(folder.path) has no config.json; expected the folder of a Hugging Face model, an MQF or a GGUF file"
            )
        }
    }

    @Test("a tied head: no tensor of its own, a redundant one is left out, two types are a usage error")
    func tied() throws {
        var checkpoint = TinyCheckpoint()
        checkpoint.config["tie_word_embeddings"] = "true"
        try converted(checkpoint) { file, report in
            #expect(!file.hasTensor("lm_head.weight"))
            #expect(report.warnings == [])
        }
        checkpoint.tensors["lm_head.weight"] = nil
        var options = ConvertOptions()
        options.headType = .bf16
        try converted(checkpoint, options) { file, _ in
            let type = try file.tensor("model.embed_tokens.weight").info.type
            #expect(type == .bf16)
        }
        options.embedType = .q8_0
        let text = try refusal(.usage, options: options) { $0 = checkpoint }
        #expect(text.hasSuffix("but `embed_type` is q8_0 and `head_type` bf16; give one of them"))
    }

    @Test("columns that fill no tile become bf16, with a warning")
    func ragged() throws {
        try converted(TinyCheckpoint(hidden: 40)) { file, report in
            let type = try file.tensor("model.layers.0.self_attn.q_proj.weight").info.type
            #expect(type == .bf16)
            let fits = try file.tensor("model.layers.0.mlp.down_proj.weight").info.type
            #expect(fits == .iq4_nl)
            #expect(report.warnings.count == 8)
            #expect(
                report.warnings.contains(
                    "tensor 'model.layers.0.self_attn.q_proj.weight' has 40 columns, no multiple of 32: stored as bf16 "
                        + "instead of iq4_nl"))
        }
    }

    @Test("rotary buffers are ignored, other extra tensors are left out with a warning")
    func extra() throws {
        var checkpoint = TinyCheckpoint()
        checkpoint.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ([8], [Float](repeating: .nan, count: 8))
        try converted(checkpoint) { _, report in #expect(report.warnings == []) }
        checkpoint.tensors["v_head.weight"] = ([1], [1])
        checkpoint.tensors["v_head.bias"] = ([1], [1])
        checkpoint.files["tokenizer.json"] = nil
        try converted(checkpoint) { file, report in
            #expect(file.tensors.count == 12)
            #expect(
                report.warnings == [
                    "tensor 'v_head.bias' and 1 more left out: the architecture has no such tensor",
                    "there is no tokenizer.json: commands that read text will not work with this model",
                ])
        }
    }

    @Test("biases, missing head counts and rope_parameters of newer files")
    func variants() throws {
        var checkpoint = TinyCheckpoint()
        checkpoint.config["attention_bias"] = "true"
        checkpoint.config["rope_parameters"] = "{\"rope_theta\": 500000.0, \"rope_type\": \"default\"}"
        for (name, count) in [("q", 64), ("k", 32), ("v", 32), ("o", 64)] {
            checkpoint.tensors["model.layers.0.self_attn.\(name)_proj.bias"] = (
                [count], [Float](repeating: 1, count: count)
            )
        }
        try converted(checkpoint) { file, _ in
            #expect(file.metadata.float("llama.rope.freq_base") == 500_000)
            let type = try file.tensor("model.layers.0.self_attn.k_proj.bias").info.type
            #expect(type == .f32)
        }
        checkpoint = TinyCheckpoint()
        checkpoint.config["architectures"] = "[\"MistralForCausalLM\"]"
        checkpoint.config["sliding_window"] = "16"
        checkpoint.config["head_dim"] = "16"
        checkpoint.type = .bf16
        try converted(checkpoint) { file, _ in
            #expect(file.metadata.int("llama.attention.sliding_window") == 16)
            #expect(file.metadata.int("llama.attention.head_count_kv") == 2)
        }
    }

    @Test("a file size limit in the middle of the conversion is one line, and nothing is left")
    func fileSizeLimit() async {
        await #expect(processExitsWith: .success) {
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit(rlim_cur: 20_000, rlim_max: 20_000)
            try withTemporaryFolder { folder in
                try FileManager.default.createDirectory(
                    at: folder.appendingPathComponent("out"), withIntermediateDirectories: false)
                try TinyCheckpoint().write(to: folder)
                #expect(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
                let path = folder.path + "/out/m.mqf"
                let text = errorText(.runtime) {
                    _ = try convert(source: folder.path, destination: path, options: ConvertOptions())
                }
                #expect(
                    text
                        == "cannot write \(path): the file would exceed the largest size that is allowed here (ulimit -f)"
                )
                let left = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/out")
                #expect(left == [])
            }
        }
    }
}
