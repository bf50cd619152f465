import Base

/// The weights of a GGUF file of the Llama family, or of all its parts, under Hugging Face's names and in Hugging Face's
/// order of rows. Immutable and thread-safe.
///
/// Source of names and order: llama.cpp, convert_hf_to_gguf.py. The architecture `llama` has the rows of q and k in pairs
/// for its rotary embedding; `qwen2` and `qwen3` have them as they are.
public struct GGUFWeights: Sendable {
    /// The path as given.
    public let path: String
    /// All tensors, in the order of the files.
    public let tensors: [GGUFTensor]

    /// Architectures that are read.
    static let architectures = ["llama", "qwen2", "qwen3"]

    /// Opens a file; of a file in parts the first is named, and the others are found beside it.
    ///
    /// Errors (`badInput`): another architecture, a mixture of experts, a tensor without a counterpart in Hugging Face's
    /// models, an element type that is not read, data beyond the file's end, or a part that is missing or another model's.
    public init(path: String) throws { try self.init(GGUFParts(path: path), path: path) }

    /// The weights of files that are open; `path` is the model's name for errors. Errors as above.
    init(_ parts: GGUFParts, path: String) throws {
        let metadata = parts.files[0].metadata
        let architecture = metadata.string("general.architecture") ?? "none"
        guard Self.architectures.contains(architecture) else {
            throw MeraserError.badInput(
                "\(path): the architecture is \(quoted(architecture)); the weights of "
                    + "\(Self.architectures.joined(separator: ", ")) can be read from GGUF files")
        }
        if let experts = metadata.int("\(architecture).expert_count"), experts > 0 {
            throw MeraserError.badInput(
                "\(path): '\(architecture).expert_count' is \(experts): mixtures of experts (MoE) are not read")
        }
        let heads = metadata.int("\(architecture).attention.head_count") ?? 0
        let keyHeads = metadata.int("\(architecture).attention.head_count_kv") ?? heads
        let isPaired = architecture == "llama"
        tensors = try parts.files.flatMap { gguf in
            let file = try MappedFile(path: gguf.path)
            let ends = gguf.tensors.dropFirst().map { gguf.dataOffset + $0.offset } + [file.count]
            return try zip(gguf.tensors, ends).compactMap { info, end -> GGUFTensor? in
                // What llama.cpp computes from config.json's rope_scaling.
                guard info.name != "rope_freqs.weight" else { return nil }
                guard let name = Self.huggingFaceName(info.name) else {
                    throw MeraserError.badInput("\(gguf.path): tensor \(quoted(info.name)) \(Self.reason(info.name))")
                }
                var pairedHeads: Int?
                if isPaired, info.name.contains(".attn_q.") { pairedHeads = heads }
                if isPaired, info.name.contains(".attn_k.") { pairedHeads = keyHeads }
                let start = gguf.dataOffset + info.offset
                return try GGUFTensor(
                    name: name, info: info, file: file, bytes: start..<max(start, end), pairedHeads: pairedHeads)
            }
        }
        self.path = path
    }

    private static let layerNames = [
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    ]

    /// `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`; nil for a name that is not known.
    static func huggingFaceName(_ name: String) -> String? {
        switch name {
        case "token_embd.weight": return "model.embed_tokens.weight"
        case "output_norm.weight": return "model.norm.weight"
        case "output.weight": return "lm_head.weight"
        default: break
        }
        let parts = name.split(separator: ".")
        guard parts.count == 4, parts[0] == "blk", let layer = Int(parts[1]), layer >= 0,
            let module = layerNames[String(parts[2])], ["weight", "bias"].contains(parts[3])
        else { return nil }
        return "model.layers.\(layer).\(module).\(parts[3])"
    }

    /// Why a tensor of that name is not read.
    private static func reason(_ name: String) -> String {
        let module = name.split(separator: ".").dropFirst(2).first ?? ""
        if module.hasSuffix("_exps") || module.hasSuffix("_shexp") || module.hasPrefix("ffn_gate_inp")
            || module.hasPrefix("ffn_") && name.split(separator: ".").count == 5
        {
            return "belongs to a mixture of experts (MoE), which is not read"
        }
        if module.hasPrefix("attn_qkv") { return "holds q, k and v fused in one, which is not read" }
        return "has no counterpart in a Hugging Face model"
    }
}
