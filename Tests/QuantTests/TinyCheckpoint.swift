import Foundation
import TestSupport

@testable import Quant

/// A one-layer Llama checkpoint with seeded weights whose parts the tests spoil.
struct TinyCheckpoint {
    var config: [String: String] = [
        "architectures": "[\"LlamaForCausalLM\"]", "hidden_size": "64", "intermediate_size": "96",
        "num_hidden_layers": "1", "num_attention_heads": "4", "num_key_value_heads": "2", "vocab_size": "40",
        "rms_norm_eps": "1e-5", "tie_word_embeddings": "false",
    ]
    var tensors: [String: (shape: [Int], values: [Float])] = [:]
    var type = TensorType.f32
    var files: [String: [UInt8]] = ["tokenizer.json": Array("{}".utf8)]

    init(hidden: Int = 64) {
        config["hidden_size"] = "\(hidden)"
        let shape: [String: [Int]] = [
            "model.embed_tokens.weight": [40, hidden], "lm_head.weight": [40, hidden], "model.norm.weight": [hidden],
            "model.layers.0.input_layernorm.weight": [hidden],
            "model.layers.0.post_attention_layernorm.weight": [hidden],
            "model.layers.0.self_attn.q_proj.weight": [hidden, hidden],
            "model.layers.0.self_attn.k_proj.weight": [hidden / 2, hidden],
            "model.layers.0.self_attn.v_proj.weight": [hidden / 2, hidden],
            "model.layers.0.self_attn.o_proj.weight": [hidden, hidden],
            "model.layers.0.mlp.gate_proj.weight": [96, hidden], "model.layers.0.mlp.up_proj.weight": [96, hidden],
            "model.layers.0.mlp.down_proj.weight": [hidden, 96],
        ]
        var random = SeededRandom(seed: 7)
        for (name, shape) in shape.sorted(by: { $0.key < $1.key }) {
            tensors[name] = (shape, random.gaussians(shape.reduce(1, *), scale: 0.1))
        }
    }

    /// Writes the Hugging Face folder.
    func write(to folder: URL) throws {
        let members = config.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
        try Data("{\(members.joined(separator: ", "))}".utf8).write(to: folder.appendingPathComponent("config.json"))
        for (name, bytes) in files { try Data(bytes).write(to: folder.appendingPathComponent(name)) }
        let path = folder.appendingPathComponent("model.safetensors").path
        let sorted = tensors.sorted { $0.key < $1.key }
        let writer = try SafetensorsWriter(
            path: path, tensors: sorted.map { TensorDeclaration(name: $0.key, type: type, shape: $0.value.shape) },
            overwrite: true)
        for (name, tensor) in sorted {
            if type == .bf16 {
                let bits = tensor.values.map { UInt16($0.bitPattern >> 16) }
                try bits.withUnsafeBytes { try writer.write(name, $0) }
            } else {
                try tensor.values.withUnsafeBytes { try writer.write(name, $0) }
            }
        }
        try writer.finish()
    }
}
