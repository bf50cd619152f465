import Base
import Foundation
import Quant
import TestSupport
import Testing

private let prefix = "base_model.model."

/// A folder with that configuration and those tensors.
private func writeAdapter(
    _ folder: URL, config: String?, tensors: [(name: String, shape: [Int], values: [Float])],
    metadata: [String: String] = [:]
) throws {
    if let config { try Data(config.utf8).write(to: folder.appendingPathComponent("adapter_config.json")) }
    try writeSafetensors(
        path: folder.appendingPathComponent("adapter_model.safetensors").path, floats: tensors, metadata: metadata,
        overwrite: true)
}

private func pair(
    _ path: String, rank: Int, k: Int, n: Int, infix: String = ""
) -> [(name: String, shape: [Int], values: [Float])] {
    var random = SeededRandom(seed: 7)
    return [
        ("\(prefix)\(path).lora_A\(infix).weight", [rank, k], random.gaussians(rank * k)),
        ("\(prefix)\(path).lora_B\(infix).weight", [n, rank], random.gaussians(n * rank)),
    ]
}

private let plainConfig =
    #"{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["c_attn"], "bias": "none"}"#

private func errorMessage(_ folder: URL) -> String {
    do {
        _ = try AdapterFile(path: folder.path)
        return "no error"
    } catch let error as MeraserError {
        return error.kind == .badInput ? error.message : "kind \(error.kind): \(error.message)"
    } catch {
        return "\(error)"
    }
}

@Suite("PEFT adapter folders")
struct PEFTAdapterTests {
    @Test("what is written reads back with the same numbers, scales and provenance")
    func roundTrip() throws {
        try withTemporaryFolder { folder in
            var random = SeededRandom(seed: 1)
            let sha = String(repeating: "0a", count: 32)
            let parents = [String(repeating: "1b", count: 32), String(repeating: "2c", count: 32)]
            let config = PEFTConfig(
                r: 4, loraAlpha: 8, loraDropout: 0.05, targets: .names(["q_proj", "up_proj"]),
                rankPattern: [("layers.1.q_proj", 2)], alphaPattern: [("up_proj", 3)],
                baseModelName: "/home/me/models/x")
            let factors = [("layers.0.q_proj", 4), ("layers.1.q_proj", 2), ("layers.1.up_proj", 4)].map {
                AdapterFile.Factors(
                    path: $0.0, a: random.gaussians($0.1 * 6), b: random.gaussians(5 * $0.1), rank: $0.1)
            }
            try AdapterFile.write(
                folder: folder.path, config: config, factors: factors,
                provenance: AdapterProvenance(baseSHA256: sha, parents: parents))
            let file = try AdapterFile(path: folder.path)
            #expect(file.modules.map(\.path) == factors.map(\.path))
            #expect(file.modules.map(\.scale) == [2, 4, 0.75])
            for (module, want) in zip(file.modules, factors) {
                #expect(try module.a.floats() == want.a)
                #expect(try module.b.floats() == want.b)
            }
            #expect(file.provenance.baseSHA256 == sha)
            #expect(file.provenance.parents == parents)
            #expect(file.config.baseModelName == "x", "a local path must not travel")
            var expected = config
            expected.baseModelName = "x"
            #expect(file.config == expected)
        }
    }

    @Test("the configuration is PEFT's: indented, sorted, with its core keys and no others")
    func configText() throws {
        let config = PEFTConfig(r: 8, loraAlpha: 16, loraDropout: 0.05, targets: .names(["q_proj", "v_proj"]))
        let text = config.json().serialized(indent: 2, sortedKeys: true)
        #expect(
            text == """
                {
                  "alpha_pattern": {},
                  "base_model_name_or_path": null,
                  "bias": "none",
                  "fan_in_fan_out": false,
                  "inference_mode": true,
                  "lora_alpha": 16,
                  "lora_dropout": 0.05,
                  "modules_to_save": null,
                  "peft_type": "LORA",
                  "r": 8,
                  "rank_pattern": {},
                  "target_modules": [
                    "q_proj",
                    "v_proj"
                  ],
                  "task_type": "CAUSAL_LM",
                  "use_dora": false,
                  "use_rslora": false
                }
                """)
    }

    @Test("any architecture's paths are read, with and without PEFT's adapter name, and rsLoRA scales by the root")
    func foreignPaths() throws {
        try withTemporaryFolder { folder in
            let config =
                #"{"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": true, "target_modules": "all-linear"}"#
            try writeAdapter(
                folder, config: config,
                tensors: pair("transformer.h.0.attn.c_attn", rank: 4, k: 3, n: 9, infix: ".default"))
            let file = try AdapterFile(path: folder.path)
            #expect(file.modules.map(\.path) == ["transformer.h.0.attn.c_attn"])
            #expect(file.modules.map(\.scale) == [3])
        }
    }

    @Test("patterns follow PEFT: the first key that matches the end of a path, as text or as an expression")
    func patterns() throws {
        let config = PEFTConfig(
            r: 8, loraAlpha: 16, targets: .pattern("all-linear"),
            rankPattern: [("layers.1.self_attn.q_proj", 2), ("q_proj", 4)],
            alphaPattern: [(#"layers\.[02]\..*proj"#, 5)])
        #expect(try config.rank(of: "model.layers.1.self_attn.q_proj") == 2)
        #expect(try config.rank(of: "model.layers.11.self_attn.q_proj") == 4)
        #expect(try config.rank(of: "model.layers.1.self_attn.xq_proj") == 8)
        #expect(try config.alpha(of: "model.layers.2.mlp.up_proj") == 5)
        #expect(try config.alpha(of: "model.layers.1.mlp.up_proj") == 16)
    }

    // Expected: PEFT 0.21's check_target_module_exists with the same configuration.
    @Test(
        "layers_to_transform means what it means to PEFT",
        arguments: [
            (#""layers_to_transform": [1, 3]"#, "model.layers.1.self_attn.c_attn", true),
            (#""layers_to_transform": [1, 3]"#, "model.layers.2.self_attn.c_attn", false),
            (#""layers_to_transform": 3"#, "model.layers.3.self_attn.c_attn", true),
            (#""layers_to_transform": []"#, "model.layers.2.self_attn.c_attn", true),
            (#""layers_to_transform": [3]"#, "model.layers.13.self_attn.c_attn", false),
            // The first number behind two names counts; one at the end of a path is no layer.
            (#""layers_to_transform": [3]"#, "model.layers.3.experts.7.c_attn", true),
            (#""layers_to_transform": [7]"#, "model.layers.3.experts.7.c_attn", false),
            (#""layers_to_transform": [0]"#, "h.0.c_attn", false),
            (#""layers_to_transform": [0]"#, "transformer.h.0.c_attn", true),
            (#""layers_to_transform": [7], "layers_pattern": "experts""#, "model.layers.3.experts.7.c_attn", true),
            (#""layers_to_transform": [7], "layers_pattern": ["x", "layers"]"#, "model.layers.7.c_attn", true),
            (#""layers_to_transform": [0], "layers_pattern": ["h"]"#, "h.0.c_attn", true),
            (#""layers_to_transform": [0], "layers_pattern": "layers""#, "transformer.h.0.c_attn", false),
        ])
    func layers(_ entry: String, _ path: String, _ isMeant: Bool) throws {
        try withTemporaryFolder { folder in
            let config = plainConfig.dropLast() + ", \(entry)}"
            try writeAdapter(folder, config: String(config), tensors: pair(path, rank: 2, k: 3, n: 4))
            let message = errorMessage(folder)
            #expect(message.contains(isMeant ? "no error" : "does not name it"), "\(message)")
        }
    }

    @Test(
        "a module that is named by its whole path is meant in any layer; a pattern of modules has no layers beside it")
    func layersBesidePaths() throws {
        let path = "model.layers.2.self_attn.c_attn"
        let config = PEFTConfig(r: 2, loraAlpha: 4, targets: .names([path, "q_proj"]), layersToTransform: [0])
        #expect(config.isTarget(path) && !config.isTarget("model.layers.2.self_attn.q_proj"))
        #expect(try PEFTConfig(json: config.json(), file: "f") == config)
        let text =
            #"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "all-linear", "layers_to_transform": [0]}"#
        let json = try JSONValue.parse(Array(text.utf8), file: "f")
        #expect(errorText { _ = try PEFTConfig(json: json, file: "f") }.contains("layers_to_transform"))
    }

    @Test(
        "what would change the arithmetic unseen is refused by name",
        arguments: [
            (#""fan_in_fan_out": true"#, "fan_in_fan_out"), (#""modules_to_save": "lm_head""#, "modules_to_save"),
            (#""modules_to_save": [""]"#, "modules_to_save"), (#""lora_bias": true"#, "lora_bias"),
            (#""trainable_token_indices": {"a": [1], "b": [2]}"#, "trainable_token_indices"),
            (#""init_lora_weights": "pissa""#, "init_lora_weights"), (#""lora_dropout": 2"#, "lora_dropout"),
            (#""rank_pattern": {"c_attn": 0}"#, "rank_pattern.c_attn"),
            (#""alpha_pattern": {"(a+)+b": 1}"#, "alpha_pattern"),
            (#""alpha_pattern": {"c_attn": "x"}"#, "alpha_pattern.c_attn"),
            (#""layer_replication": [[0, 4]]"#, "layer_replication"),
            (#""layers_to_transform": [0, -1]"#, "layers_to_transform"),
            (#""layers_to_transform": "0-3""#, "layers_to_transform"),
            (#""layers_pattern": "h""#, "layers_pattern"),
            (#""layers_to_transform": 0, "layers_pattern": "(a+)+""#, "layers_pattern"),
        ])
    func unsupported(_ entry: String, _ key: String) throws {
        try withTemporaryFolder { folder in
            let config = plainConfig.dropLast() + ", \(entry)}"
            try writeAdapter(folder, config: String(config), tensors: pair("h.0.c_attn", rank: 2, k: 3, n: 4))
            let message = errorMessage(folder)
            #expect(message.contains("adapter_config.json: \(key) "), "\(message)")
        }
    }

    @Test(
        "a wrong configuration is one clear line",
        arguments: [
            (#"{"peft_type": "IA3", "r": 2, "lora_alpha": 6, "target_modules": ["c_attn"]}"#, "peft_type is 'IA3'"),
            (#"{"peft_type": "LORA", "r": 0, "lora_alpha": 6, "target_modules": ["c_attn"]}"#, "r is 0"),
            (#"{"peft_type": "LORA", "lora_alpha": 6, "target_modules": ["c_attn"]}"#, "'r' is missing"),
            (#"{"peft_type": "LORA", "r": 2, "lora_alpha": 6}"#, "target_modules is missing"),
            (#"{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q"]}"#, "does not name it"),
            (
                #"{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["c_attn"], "bias": "all"}"#,
                "bias is 'all'"
            ),
            (#"{"peft_type": "LORA", "r": 2, "r": 2}"#, "duplicate key"),
            ("[1]", "expected an object"),
        ])
    func badConfig(_ config: String, _ expected: String) throws {
        try withTemporaryFolder { folder in
            try writeAdapter(folder, config: config, tensors: pair("h.0.c_attn", rank: 2, k: 3, n: 4))
            let message = errorMessage(folder)
            #expect(message.contains(expected), "\(message)")
            #expect(!message.contains("\n"))
        }
    }

    @Test("tensors that do not pair up, fit or make sense are one clear line")
    func badTensors() throws {
        let good = pair("h.0.c_attn", rank: 2, k: 3, n: 4)
        var nan = good
        nan[1].values[3] = .nan
        let cases: [([(name: String, shape: [Int], values: [Float])], String)] = [
            ([good[0]], "has no lora_B"), ([good[1]], "has no lora_A"),
            (good + [("\(prefix)h.0.c_attn.lora_magnitude_vector", [4], [1, 2, 3, 4])], "does not say use_dora"),
            (good + [("\(prefix)h.0.ln.weight", [2], [1, 2])], "h.0.ln.weight"),
            (good + [("lm_head.weight", [2, 1], [1, 2])], "lm_head.weight"),
            (good + pair("h.0.c_attn", rank: 2, k: 3, n: 4, infix: ".default"), "twice"),
            (pair("h.0.c_attn", rank: 3, k: 3, n: 4), "has shape [3, 3], expected [2, inputs]"),
            ([good[0], (good[1].name, [2, 4], good[1].values)], "has shape [2, 4], expected [outputs, 2]"),
            (nan, "not finite"), ([], "no tensors"),
        ]
        for (tensors, expected) in cases {
            try withTemporaryFolder { folder in
                try writeAdapter(folder, config: plainConfig, tensors: tensors)
                let message = errorMessage(folder)
                #expect(message.contains(expected), "\(message)")
            }
        }
    }

    @Test("a folder without weights, or with a pickle that is none, or without a configuration says so")
    func missingFiles() throws {
        try withTemporaryFolder { folder in
            #expect(errorMessage(folder).contains("no adapter_config.json"))
            try Data(plainConfig.utf8).write(to: folder.appendingPathComponent("adapter_config.json"))
            #expect(errorMessage(folder).contains("neither adapter_model.safetensors nor adapter_model.bin"))
            try Data([0x80]).write(to: folder.appendingPathComponent("adapter_model.bin"))
            #expect(errorMessage(folder).contains("before PyTorch 1.6"))
            try Data(PyTorchBytes().bytes).write(to: folder.appendingPathComponent("adapter_model.bin"))
            #expect(errorMessage(folder).contains("adapter_model.bin: tensor 'w' is not supported"))
        }
    }

    @Test("a DoRA has a magnitude for each output of every module, and lies on no model")
    func dora() throws {
        let config = plainConfig.dropLast() + #", "use_dora": true}"#
        let good = pair("h.0.c_attn", rank: 2, k: 3, n: 4)
        func magnitude(_ values: [Float], _ ending: String = "") -> (name: String, shape: [Int], values: [Float]) {
            ("\(prefix)h.0.c_attn.lora_magnitude_vector\(ending)", [values.count], values)
        }
        try withTemporaryFolder { folder in
            for ending in ["", ".weight", ".default.weight"] {
                try writeAdapter(folder, config: String(config), tensors: good + [magnitude([1, 2, 3, 4], ending)])
                let file = try AdapterFile(path: folder.path)
                #expect(try file.modules[0].magnitude?.floats() == [1, 2, 3, 4])
                let refusal = #expect(throws: MeraserError.self) { try file.requirePlain() }
                #expect(refusal?.message.contains("use_dora") == true)
                #expect(refusal?.message.contains("write it into the model with meraser export") == true)
            }
            for (tensors, expected) in [
                (good, "has no lora_magnitude_vector"), (good + [magnitude([1, 2, 3])], "has shape [3], expected [4]"),
                (good + [magnitude([1, 2, .infinity, 4])], "not finite"),
            ] {
                try writeAdapter(folder, config: String(config), tensors: tensors)
                #expect(errorMessage(folder).contains(expected))
            }
        }
    }

    @Test("tensors of modules_to_save are the model's own by name; each module that it names has some")
    func savedModules() throws {
        let good = pair("h.0.c_attn", rank: 2, k: 3, n: 4)
        func config(_ saved: String) -> String { plainConfig.dropLast() + ", \"modules_to_save\": \(saved)}" }
        let norm: (name: String, shape: [Int], values: [Float]) = ("\(prefix)h.0.ln_norm.weight", [2], [5, 6])
        try withTemporaryFolder { folder in
            // PEFT compares the ends of names.
            try writeAdapter(folder, config: config(#"["norm"]"#), tensors: good + [norm])
            let file = try AdapterFile(path: folder.path)
            #expect(try file.saved.mapValues { try $0.floats() } == ["h.0.ln_norm.weight": [5, 6]])
            #expect(file.config.modulesToSave == ["norm"])
            #expect(throws: MeraserError.self) { try file.requirePlain() }
            // An embedding is saved without being named where a vocabulary has grown.
            let embedding: (name: String, shape: [Int], values: [Float]) = ("\(prefix)lm_head.weight", [1, 2], [1, 2])
            try writeAdapter(folder, config: plainConfig, tensors: good + [embedding])
            #expect(try AdapterFile(path: folder.path).saved.keys.sorted() == ["lm_head.weight"])
            try writeAdapter(folder, config: config(#"["norm", "lm_head"]"#), tensors: good + [norm])
            #expect(errorMessage(folder).contains("names 'lm_head', which has no tensors"))
        }
    }

    @Test("a cut or flipped adapter never traps")
    func corrupted() throws {
        try withTemporaryFolder { folder in
            try writeAdapter(
                folder, config: plainConfig, tensors: pair("h.0.c_attn", rank: 2, k: 3, n: 4),
                metadata: ["meraser.base_sha256": String(repeating: "a", count: 64)])
            let url = folder.appendingPathComponent("adapter_model.safetensors")
            let whole = try Data(contentsOf: url)
            for length in stride(from: 0, to: whole.count, by: 7) {
                try whole.prefix(length).write(to: url)
                #expect(errorMessage(folder) != "no error", "cut to \(length) bytes")
            }
            for index in whole.indices {
                var bytes = whole
                bytes[index] ^= 0x10
                try bytes.write(to: url)
                _ = errorMessage(folder)
            }
            try writeAdapter(
                folder, config: nil, tensors: pair("h.0.c_attn", rank: 2, k: 3, n: 4),
                metadata: ["meraser.parents": "abc"])
            #expect(errorMessage(folder).contains("meraser.parents"))
        }
    }
}
