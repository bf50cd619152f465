import Base
import Quant
import Testing

/// What config.json says becomes the spec, and what is not served is refused by name.
@Suite("Architectures")
struct ArchitectureTests {
    /// A config of that architecture with sizes that all of Llama's layout have, and those members.
    private func spec(_ name: String, _ members: String = "", layers: Int = 4, hidden: Int = 32) throws -> DecoderSpec {
        let sizes = """
            "architectures": ["\(name)"], "vocab_size": 40, "hidden_size": \(hidden), "num_attention_heads": 4,
            "num_key_value_heads": 2, "num_hidden_layers": \(layers), "intermediate_size": 48,
            "max_position_embeddings": 64
            """
        let rest = members.isEmpty ? "" : ", " + members
        return try DecoderSpec(json: Array("{\(sizes)\(rest)}".utf8), file: "config.json")
    }

    private func gptJ(_ members: String) throws -> DecoderSpec {
        let text = """
            {"architectures": ["GPTJForCausalLM"], "vocab_size": 40, "n_embd": 32, "n_head": 4, "n_layer": 2,
            "n_positions": 64, \(members)}
            """
        return try DecoderSpec(json: Array(text.utf8), file: "config.json")
    }

    private func refusal(_ body: () throws -> DecoderSpec) -> String {
        do {
            _ = try body()
            return "nothing was refused"
        } catch {
            return "\(error)"
        }
    }

    @Test("windows and rotary thetas of layers by pattern and by type")
    func layerTypes() throws {
        let pattern = try spec("Gemma3ForCausalLM", #""sliding_window": 7, "head_dim": 8"#, layers: 7)
        #expect(pattern.layers.map(\.attention.window) == [7, 7, 7, 7, 7, 0, 7])
        #expect(pattern.layers.map { $0.attention.rotary?.theta } == [1e4, 1e4, 1e4, 1e4, 1e4, 1e6, 1e4])
        let named = try spec(
            "Gemma2ForCausalLM",
            #""sliding_window": 5, "layer_types": ["full_attention", "sliding_attention"], "head_dim": 8"#, layers: 2)
        #expect(named.layers.map(\.attention.window) == [0, 5])
        #expect(try spec("Gemma2ForCausalLM", "\"head_dim\": 8").layers.map(\.attention.window) == [4096, 0, 4096, 0])
        let own = """
            "rope_parameters": {"full_attention": {"rope_theta": 5e5, "rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_theta": 2e4, "rope_type": "default"}}, "head_dim": 8
            """
        let both = try spec("Gemma3ForCausalLM", own, layers: 6)
        #expect(both.layers[5].attention.rotary?.theta == 5e5 && both.layers[0].attention.rotary?.theta == 2e4)
        #expect(both.layers[5].attention.rotary?.scaling == .linear(factor: 8))
        #expect(both.layers[0].attention.rotary?.scaling == RotaryScaling.none)
        let without = try spec("SmolLM3ForCausalLM")
        #expect(without.layers.map { $0.attention.rotary == nil } == [false, false, false, true])
    }

    @Test("factors, caps and defaults that transformers has")
    func numbers() throws {
        let gemma = try spec("Gemma2ForCausalLM", "\"query_pre_attn_scalar\": 64")
        #expect(gemma.layers[0].attention.scale == 0.125 && gemma.layers[0].attention.softCap == 50)
        #expect(gemma.head.output == .softCapped(at: 30) && gemma.head.isTied)
        #expect(gemma.layers[0].attention.headDim == 256)
        #expect(gemma.embedding.scale == Float(32).squareRoot() && gemma.finalNorm.kind == .rmsOffset)
        let plain = try spec(
            "Gemma2ForCausalLM", #""attn_logit_softcapping": null, "final_logit_softcapping": null, "head_dim": 8"#)
        #expect(plain.layers[0].attention.softCap == nil && plain.head.output == .plain)
        let granite = try spec(
            "GraniteForCausalLM", #""logits_scaling": 8.0, "residual_multiplier": 0.5, "embedding_multiplier": 12.0"#)
        #expect(granite.head.output == .scaled(by: 0.125) && granite.embedding.scale == 12)
        #expect(granite.layers[0].attention.scale == 1)
        if case .sequential(_, _, let multiplier) = granite.layers[0].wiring {
            #expect(multiplier == 0.5)
        } else {
            Issue.record("another wiring")
        }
        let phi = try spec("Phi3ForCausalLM", "\"partial_rotary_factor\": 0.75")
        #expect(phi.layers[0].attention.rotary?.width == 6 && phi.pruneObstacle != nil)
        #expect(phi.modules.prefix(4).map { phi[$0].name } == ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])
        #expect(phi.modules(of: [.v_proj, .q_proj]).count == 4)
        // Five of the 20 features of a head are rotated: transformers turns six, with frequencies of fifths.
        let neoX = try spec("GPTNeoXForCausalLM", "\"rotary_pct\": 0.25", hidden: 80)
        let rotary = neoX.layers[0].attention.rotary
        #expect(rotary?.width == 6 && rotary?.divisor == 5)
        let odd = try spec("StableLmForCausalLM", "\"qk_layernorm\": true, \"use_parallel_residual\": true")
        #expect(odd.layers[1].attention.kNorm?.weights.last == "model.layers.1.self_attn.k_layernorm.norms.1.weight")
        #expect(odd.layers[0].wiring.mlpNorm == nil && odd.layers[0].wiring.isParallel)
    }

    @Test("rotary scalings")
    func scalings() throws {
        let dynamic = try spec("LlamaForCausalLM", #""rope_scaling": {"type": "dynamic", "factor": 2.0}"#)
        #expect(dynamic.maxPositionEmbeddings == 128 && dynamic.hasLengthDependentRotary)
        let old = #""rope_scaling": {"type": "yarn", "short_factor": [1, 2, 3, 4], "long_factor": [5, 6, 7, 8]}"#
        let scaling = try spec("Phi3ForCausalLM", old).layers[0].attention.rotary?.scaling
        let long = RotaryScaling.longrope(
            short: [1, 2, 3, 4], long: [5, 6, 7, 8], originalContext: 4096, attentionFactor: 1)
        #expect(scaling == long)
    }

    @Test("names of adapters' modules are Llama's or the architecture's own")
    func moduleNames() throws {
        #expect(Projection(moduleName: "query_key_value") == .qkv_proj && Projection(moduleName: "fc_in") == .up_proj)
        #expect(Projection(moduleName: "dense") == .o_proj && Projection(moduleName: "lm_head") == nil)
        let neoX = try spec("GPTNeoXForCausalLM")
        try neoX.requireModules(of: [.q_proj])
        try neoX.requireModules(of: Projection.parts)
        #expect(throws: MeraserError.self) { try neoX.requireModules(of: [.gate_proj]) }
        // Fused modules take the place of the first part that they stand for: no other module's place changes.
        #expect(ModuleKey(layer: 2, projection: .qkv_proj).site == 14)
        #expect(ModuleKey(layer: 2, projection: .gate_up_proj).site == 18)
    }

    @Test("what is not served is refused by name")
    func refusals() {
        let cases: [(name: String, members: String, text: String)] = [
            ("Gemma3ForCausalLM", #""use_bidirectional_attention": true"#, "'use_bidirectional_attention' is true"),
            ("Gemma3ForCausalLM", #""attn_logit_softcapping": 50.0"#, "'attn_logit_softcapping' is set"),
            ("GemmaForCausalLM", #""hidden_act": "gelu", "hidden_activation": "gelu_new""#, "'hidden_activation'"),
            ("Gemma2ForCausalLM", #""layer_types": ["full_attention"]"#, "'layer_types' has 1 entries"),
            ("Gemma2ForCausalLM", #""layer_types": ["a", "b", "c", "d"]"#, "'layer_types' holds 'a'"),
            ("StableLmForCausalLM", #""head_dim": 16"#, "'head_dim' is 16"),
            ("SmolLM3ForCausalLM", #""no_rope_layers": [1, 0]"#, "'no_rope_layers' has 2 entries"),
            ("SmolLM3ForCausalLM", #""no_rope_layers": [1, 0, 2, 1]"#, "'no_rope_layers' holds 2"),
            ("GPTNeoXForCausalLM", #""rotary_pct": 2.0"#, "'rotary_pct' is 2.0"),
            ("GPTNeoXForCausalLM", #""hidden_act": "mish""#, "'hidden_act' is 'mish'"),
            ("Phi3ForCausalLM", #""rope_scaling": {"type": "su", "short_factor": [1]}"#, "has 1 numbers"),
            ("GraniteForCausalLM", #""residual_multiplier": "x""#, "'residual_multiplier' is a string"),
            ("LlamaForCausalLM", #""rope_scaling": {"rope_type": "yarn"}"#, "'rope_scaling.factor' is missing"),
            ("MixtralForCausalLM", "", "the architecture is MixtralForCausalLM"),
        ]
        for (name, members, text) in cases {
            let message = refusal { try spec(name, members) }
            #expect(message.contains(text), "\(name) \(members): \(message)")
        }
        #expect(refusal { try gptJ(#""rotary_dim": 5"#) }.contains("'rotary_dim' is 5, expected an even number"))
        #expect(refusal { try gptJ(#""rotary_dim": 64"#) }.contains("'rotary_dim' is 64"))
    }
}
