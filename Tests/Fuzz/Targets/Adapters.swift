import Base
import Model
import Quant

extension FuzzTarget {
    /// Readers of what a model is and of adapters.
    static let adapters = [config, peft, adapter]

    /// config.json, a zero byte and generation_config.json.
    private static let config = FuzzTarget(
        "config",
        texts: [
            """
            {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}, "max_position_embeddings": 128, "tie_word_embeddings": true,
            "eos_token_id": [1, 2], "hidden_act": "silu"}\u{0}{"eos_token_id": 1}
            """,
            """
            {"architectures": ["Gemma3ForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 100, "rms_norm_eps": 1e-6,
            "sliding_window": 32, "sliding_window_pattern": 2, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "query_pre_attn_scalar": 16, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 128}
            """,
            """
            {"architectures": ["BertForSequenceClassification"], "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 128,
            "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "id2label": {"0": "no", "1": "yes"}}
            """,
        ],
        read: { bytes, _ in
            let files = parts(bytes, 2)
            let json = files[0] ?? []
            if let encoder = try? EncoderSpec(json: json, file: "config.json") {
                try FuzzFinding.require(encoder.labels.count <= 4096, "labels without a bound")
                return
            }
            let spec = try DecoderSpec(json: json, file: "config.json")
            _ = spec.tensors.count
            _ = spec.modules(of: Set(Projection.allCases)).count
            _ = try StopTokens.read(path: "m", vocabularySize: spec.vocabSize) {
                $0 == "config.json" ? json : files[1]
            }
        })

    private static let peft = FuzzTarget(
        "peft",
        texts: [
            """
            {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "bias": "none",
            "lora_dropout": 0.05, "fan_in_fan_out": false, "inference_mode": true, "use_rslora": true,
            "rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"^q_proj$": 3},
            "layers_to_transform": [0, 1], "layers_pattern": "layers", "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "m", "modules_to_save": null, "init_lora_weights": true}
            """,
            #"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ".*\\.(q|v)_proj", "use_dora": true}"#,
        ],
        read: { bytes, _ in
            let config = try PEFTConfig(
                json: try JSONValue.parse(bytes, file: "adapter_config.json"), file: "adapter_config.json")
            let module = "model.layers.1.self_attn.q_proj"
            if config.isTarget(module) {
                _ = try config.rank(of: module)
                _ = try config.exactScale(of: module)
            }
            // What it is written as is read again.
            _ = try PEFTConfig(json: config.json(), file: "written")
        })

    /// adapter_config.json, a zero byte and a file of safetensors.
    private static let adapter = FuzzTarget(
        "adapter",
        seeds: { scratch in
            let config =
                #"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"], "bias": "none"}"#
            let weights = try scratch.made("seed.safetensors") { path in
                let module = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
                try writeSafetensors(
                    path: path,
                    floats: [
                        ("\(module)A.weight", [1, 4], [1, 2, 3, 4]), ("\(module)B.weight", [3, 1], [1, 2, 3]),
                    ],
                    metadata: ["format": "pt"])
            }
            return [Array(config.utf8) + [0] + weights]
        },
        read: { bytes, scratch in
            let files = parts(bytes, 2)
            _ = try scratch.file("adapter/adapter_config.json", files[0] ?? [])
            _ = try scratch.file("adapter/adapter_model.safetensors", files[1] ?? [])
            let adapter = try AdapterFile(path: "\(scratch.path)/adapter")
            for module in adapter.modules {
                _ = try module.a.floats()
                _ = try module.b.floats()
            }
        })
}
