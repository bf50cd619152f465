import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

private let configText = """
    {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
     "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16}
    """

private func tinyConfig() throws -> DecoderSpec {
    try DecoderSpec(json: Array(configText.utf8), file: "config.json")
}

private func randomAdapter(_ config: LoRAConfig, modules: [ModuleKey]? = nil, seed: UInt64) throws -> LoRAAdapter {
    let model = try tinyConfig()
    let adapter =
        try modules.map { LoRAAdapter(config: config, modules: $0, for: try tinyConfig()) }
        ?? LoRAAdapter(config: config, for: model)
    var random = SeededRandom(seed: seed)
    for i in 0..<adapter.parameters.count { adapter.parameters[0, i] = random.gaussian() }
    return adapter
}

/// scale · B · A in double, row-major [N, K].
private func product(_ factors: LoRAFactors) -> [Double] {
    var result = [Double](repeating: 0, count: factors.b.rows * factors.a.columns)
    for n in 0..<factors.b.rows {
        for k in 0..<factors.a.columns {
            var sum = 0.0
            for i in 0..<factors.rank { sum += Double(factors.b[n, i]) * Double(factors.a[i, k]) }
            result[n * factors.a.columns + k] = Double(factors.scale) * sum
        }
    }
    return result
}

@Suite("LoRA adapters on disk and in stacks")
struct LoRAAdapterPEFTTests {
    @Test("a saved adapter loads with the same bits, also when only some layers are adapted")
    func roundTrip() throws {
        let model = try tinyConfig()
        let some = [
            ModuleKey(layer: 1, projection: .down_proj), ModuleKey(layer: 0, projection: .q_proj),
        ]
        var config = LoRAConfig(r: 3, loraAlpha: 7, targetModules: [.q_proj, .down_proj], useRSLoRA: true)
        config.rankPattern[some[0]] = 2
        config.alphaPattern[some[0]] = 5
        for modules in [some, nil] {
            let adapter = try randomAdapter(config, modules: modules, seed: 3)
            adapter.provenance = AdapterProvenance(baseSHA256: String(repeating: "c", count: 64))
            try withTemporaryFolder { folder in
                try adapter.save(folder: folder.path, model: model, baseModelName: "tiny")
                let loaded = try LoRAAdapter(path: folder.path, for: model)
                #expect(loaded.modules == adapter.modules)
                #expect(loaded.config == adapter.config)
                #expect(loaded.provenance == adapter.provenance)
                #expect(loaded.parameters.toArray() == adapter.parameters.toArray())
                #expect(loaded.sha256?.count == 64)
                let names = try AdapterFile(path: folder.path).config.targets
                #expect(
                    names == .names(modules == nil ? ["down_proj", "q_proj"] : adapter.modules.map { model[$0].path }))
            }
        }
    }

    @Test("layers to transform: modules of these layers alone, and PEFT's word for them on disk")
    func layers() throws {
        let model = try tinyConfig()
        var config = LoRAConfig(r: 3, loraAlpha: 7, targetModules: [.q_proj, .down_proj])
        config.layersToTransform = [1]
        let adapter = try randomAdapter(config, seed: 5)
        #expect(
            adapter.modules == [Projection.q_proj, .down_proj].map { ModuleKey(layer: 1, projection: $0) }
                && adapter.lowestLayer == 1)
        try withTemporaryFolder { folder in
            try adapter.save(folder: folder.path, model: model, baseModelName: "tiny")
            let file = try AdapterFile(path: folder.path)
            #expect(file.config.targets == .names(["down_proj", "q_proj"]) && file.config.layersToTransform == [1])
            let loaded = try LoRAAdapter(file, for: model)
            #expect(loaded.config == config && loaded.parameters.toArray() == adapter.parameters.toArray())
        }
        let refused = errorText(.usage) { try model.requireLayers([0, 2]) }
        #expect(refused.contains("no layer 2") && refused.contains("layers 0 to 1"))
        // Numbers of a module do not depend on which others are adapted.
        let all = LoRAAdapter(config: LoRAConfig(r: 3, targetModules: [.q_proj]), for: model)
        all.initialize(seed: 9)
        config.targetModules = [.q_proj]
        let upper = LoRAAdapter(config: config, for: model)
        upper.initialize(seed: 9)
        let key = ModuleKey(layer: 1, projection: .q_proj)
        #expect(upper[key]?.a.toArray() == all[key]?.a.toArray())
    }

    @Test("an adapter of another model is refused with the shapes")
    func wrongModel() throws {
        let other = try DecoderSpec(
            json: Array(
                configText.replacingOccurrences(of: "\"intermediate_size\": 12", with: "\"intermediate_size\": 20").utf8
            ),
            file: "config.json")
        let shallow = try DecoderSpec(
            json: Array(
                configText.replacingOccurrences(of: "\"num_hidden_layers\": 2", with: "\"num_hidden_layers\": 1").utf8),
            file: "config.json")
        let adapter = try randomAdapter(LoRAConfig(r: 2, targetModules: [.up_proj]), seed: 1)
        try withTemporaryFolder { folder in
            try adapter.save(folder: folder.path, model: try tinyConfig(), baseModelName: nil)
            let message = { (model: DecoderSpec) -> String in
                do {
                    _ = try LoRAAdapter(path: folder.path, for: model)
                    return "no error"
                } catch { return "\(error)" }
            }
            #expect(message(other).contains("has shape [12, 2], expected [20, 2]"))
            #expect(message(shallow).contains("model.layers.1.mlp.up_proj"))
        }
    }

    @Test("stacked adapters become one that computes the same sum", arguments: [true, false])
    func concatenation(sameScale: Bool) throws {
        let model = try tinyConfig()
        let first = try randomAdapter(LoRAConfig(r: 3, loraAlpha: 6, targetModules: [.q_proj, .v_proj]), seed: 1)
        let second = try randomAdapter(
            LoRAConfig(r: 2, loraAlpha: sameScale ? 4 : 3, targetModules: [.q_proj, .up_proj], useRSLoRA: false),
            seed: 2)
        let sum = LoRAAdapter.concatenate([first, second], for: model)
        #expect(sum.modules == Set(first.modules + second.modules).sorted())
        for module in sum.modules {
            let factors = try #require(sum[module])
            let parts = [first[module], second[module]].compactMap { $0 }
            #expect(factors.rank == parts.reduce(0) { $0 + $1.rank })
            let got = product(factors)
            let want = parts.map(product).reduce([Double](repeating: 0, count: got.count)) {
                zip($0, $1).map { $0 + $1 }
            }
            // Exact where the scales agree; else each number of B was rounded once.
            let scale = want.map(abs).max() ?? 0
            for (a, b) in zip(got, want) { #expect(abs(a - b) <= (sameScale ? 1e-12 : 1e-6) * scale) }
        }
        try withTemporaryFolder { folder in
            try sum.save(folder: folder.path, model: model, baseModelName: nil)
            let loaded = try LoRAAdapter(path: folder.path, for: model)
            #expect(loaded.parameters.toArray() == sum.parameters.toArray())
            for module in sum.modules { #expect(loaded[module]?.scale == sum[module]?.scale) }
        }
    }

    @Test("initialisation: B zero, A uniform in ±1/√K, the same for a module whatever else is adapted")
    func initialization() throws {
        let model = try tinyConfig()
        let one = LoRAAdapter(config: LoRAConfig(r: 64, targetModules: [.down_proj]), for: model)
        let all = LoRAAdapter(config: LoRAConfig(r: 64, targetModules: Set(Projection.allCases)), for: model)
        one.initialize(seed: 42)
        all.initialize(seed: 42)
        let key = ModuleKey(layer: 1, projection: .down_proj)
        let factors = try #require(one[key])
        let a = factors.a.toArray()
        #expect(a == all[key]?.a.toArray())
        #expect(factors.b.toArray().allSatisfy { $0 == 0 })
        let bound = 1 / 12.0.squareRoot()
        #expect(a.allSatisfy { abs(Double($0)) <= bound })
        // 768 samples of U(-b, b): mean 0 ± b/√(3·768), variance b²/3 with relative deviation √(4/5/768) = 3.2 %.
        let mean = a.reduce(0.0) { $0 + Double($1) } / Double(a.count)
        let variance = a.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(a.count)
        #expect(abs(mean) < 4 * bound / (3.0 * 768).squareRoot())
        #expect(abs(variance / (bound * bound / 3) - 1) < 0.13)
        #expect(a != one[ModuleKey(layer: 0, projection: .down_proj)]?.a.toArray())
        one.initialize(seed: 43)
        #expect(a != one[key]?.a.toArray())
    }

    @Test("an adapter without its base or its parents is refused by their hash; PEFT's own are accepted")
    func provenance() throws {
        let base = String(repeating: "b", count: 64)
        let model = try tinyConfig()
        try withTemporaryFolder { folder in
            func saved(_ name: String, _ provenance: AdapterProvenance, seed: UInt64) throws -> LoRAAdapter {
                let adapter = try randomAdapter(LoRAConfig(r: 2), seed: seed)
                adapter.provenance = provenance
                let url = folder.appendingPathComponent(name)
                try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
                try adapter.save(folder: url.path, model: model, baseModelName: nil)
                return try LoRAAdapter(path: url.path, for: model)
            }
            let free = try saved("free", AdapterProvenance(), seed: 1)
            let erase = try saved("erase", AdapterProvenance(baseSHA256: base), seed: 2)
            let parent = try #require(erase.sha256)
            let recover = try saved("recover", AdapterProvenance(baseSHA256: base, parents: [parent]), seed: 3)
            func message(_ stack: [LoRAAdapter], _ actual: String = base) -> String {
                do {
                    try AdapterProvenance.validate(
                        stack.map { ("adapter", $0.sha256, $0.provenance) }, base: "m.mqf"
                    ) { actual }
                    return ""
                } catch { return "\(error)" }
            }
            #expect(message([erase, recover]) == "")
            #expect(message([free, erase, free, recover]) == "")
            #expect(message([free], "other") == "")
            #expect(message([recover]).contains(parent))
            #expect(message([recover, erase]).contains(parent))
            #expect(message([erase], "other").contains(base))
            let source = String(repeating: "d", count: 64)
            let converted = try saved("converted", AdapterProvenance(baseSHA256: base, sourceSHA256: source), seed: 4)
            #expect(converted.provenance.sourceSHA256 == source)
            #expect(message([converted], source) == "", "the checkpoint that the base was converted from")
            #expect(message([converted]) == "" && message([converted], "other").contains(base))
        }
    }
}
