import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// A Llama of two layers: 4 query heads on 2 key and value heads of 8, 64 channels.
private func model(_ folder: URL, type: TensorType = .f32) throws -> any WeightStore {
    var random = SeededRandom(seed: 8)
    var tensors: MergeFolders.Tensors = [:]
    func add(_ name: String, _ shape: [Int]) { tensors[name] = (shape, random.gaussians(shape.reduce(1, *))) }
    add("model.embed_tokens.weight", [40, 32])
    add("lm_head.weight", [40, 32])
    add("model.norm.weight", [32])
    for layer in 0..<2 {
        let p = "model.layers.\(layer)."
        add(p + "input_layernorm.weight", [32])
        add(p + "post_attention_layernorm.weight", [32])
        add(p + "self_attn.q_proj.weight", [32, 32])
        add(p + "self_attn.k_proj.weight", [16, 32])
        add(p + "self_attn.v_proj.weight", [16, 32])
        add(p + "self_attn.o_proj.weight", [32, 32])
        add(p + "mlp.gate_proj.weight", [64, 32])
        add(p + "mlp.up_proj.weight", [64, 32])
        add(p + "mlp.down_proj.weight", [32, 64])
    }
    try MergeFolders.write(folder, tensors, type: type)
    let config = """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40}
        """
    try Data(config.utf8).write(to: folder.appendingPathComponent("config.json"))
    return try openWeightStore(path: folder.path)
}

@Test(
    "magnitude scores are sums over the rows and columns of a part", arguments: [PruneMethod.magnitudeL1, .magnitudeL2])
func scoresAreSums(method: PruneMethod) throws {
    try withTemporaryFolder { folder in
        let store = try model(folder.appendingPathComponent("m"))
        let spec = try DecoderSpec(of: store)
        let scores = try pruneScores(of: store, spec: spec, method: method, seed: 1, threads: 2)
        func value(_ x: Float) -> Double { method == .magnitudeL1 ? Double(abs(x)) : Double(x) * Double(x) }
        for layer in 0..<2 {
            func matrix(_ name: String) throws -> [Float] {
                try store.tensor("model.layers.\(layer).\(name).weight").floats()
            }
            let (gate, up, down) = (try matrix("mlp.gate_proj"), try matrix("mlp.up_proj"), try matrix("mlp.down_proj"))
            for channel in [0, 17, 63] {
                var want = 0.0
                for i in 0..<32 {
                    want += value(gate[channel * 32 + i]) + value(up[channel * 32 + i]) + value(down[i * 64 + channel])
                }
                #expect(abs(scores[layer].channels[channel] - want) < 1e-9 * want)
            }
            let (q, k) = (try matrix("self_attn.q_proj"), try matrix("self_attn.k_proj"))
            let (v, o) = (try matrix("self_attn.v_proj"), try matrix("self_attn.o_proj"))
            for group in 0..<2 {
                var want = 0.0
                for i in group * 16..<(group + 1) * 16 {
                    for j in 0..<32 { want += value(q[i * 32 + j]) + value(o[j * 32 + i]) }
                }
                for i in group * 8..<(group + 1) * 8 {
                    for j in 0..<32 { want += value(k[i * 32 + j]) + value(v[i * 32 + j]) }
                }
                #expect(abs(scores[layer].groups[group] - want) < 1e-9 * want)
            }
        }
    }
}

@Test("the lowest scores go: in each layer the same number, or the lowest shares over all layers")
func lowestScoresGo() throws {
    let scores = [
        PruneScores(groups: [4, 1, 3, 2], channels: (0..<96).map { Double($0 * 37 % 96) }),
        PruneScores(groups: [1, 1, 1, 1], channels: (0..<96).map { Double($0) + 1 }),
    ]
    var options = PruneOptions()
    options.ratio = 0.5
    let plan = try PrunePlan(scores: scores, options: options)
    #expect(plan.isUniform && plan.layers[0].groups == [0, 2] && plan.layers[1].groups == [0, 1])
    // 48 of 96 would stay, but widths that are multiples of 32 stay such.
    #expect(plan.layers[0].channels.count == 64)
    #expect(plan.layers[0].channels.allSatisfy { scores[0].channels[$0] >= 32 })
    #expect(plan.layers[1].channels == Array(32..<96))

    options.layers = 1...1
    let one = try PrunePlan(scores: scores, options: options)
    #expect(!one.isUniform && one.layers[0].channels.count == 96 && one.layers[1].channels == Array(48..<96))

    options.layers = nil
    options.scope = .global
    options.mlp = false
    let global = try PrunePlan(scores: scores, options: options)
    // Shares of 0.4 0.1 0.3 0.2 and four times 0.25: the four lowest are 0.1, 0.2 and two of 0.25.
    #expect(global.layers[0].groups == [0, 2] && global.layers[1].groups == [0, 1])
    options.ratio = 1
    #expect(throws: MeraserError.self) { try PrunePlan(scores: scores, options: options) }
    options.ratio = 0.5
    options.layers = 1...2
    #expect(throws: MeraserError.self) { try PrunePlan(scores: scores, options: options) }
}

@Test("removed parts leave smaller tensors and a config.json that says so, as a folder and as MQF")
func removesParts() throws {
    try withTemporaryFolder { folder in
        let store = try model(folder.appendingPathComponent("m"))
        let all = PrunePlan.Layer(groups: [1], channels: Array(32..<64))
        let plan = try plan(keeping: all)
        let out = folder.appendingPathComponent("out").path
        let report = try pruneModel(
            store, plan: plan, destination: out, dtype: nil, conversion: ConvertOptions())
        let pruned = try openWeightStore(path: out)
        #expect(report.warnings.isEmpty && report.parameterCount < report.sourceParameterCount)
        let spec = try DecoderSpec(of: pruned)
        #expect(spec.layers[0].attention.heads == 2 && spec.layers[0].attention.keyValueHeads == 1)
        #expect(spec.layers[0].attention.headDim == 8 && spec.layers[0].mlp.width == 32)
        let name = "model.layers.1.self_attn.o_proj.weight"
        let (full, cut) = (try store.tensor(name).floats(), try pruned.tensor(name).floats())
        #expect(try pruned.tensor(name).info.shape == [32, 16])
        var want: [Float] = []
        for row in 0..<32 { want += full[row * 32 + 16..<row * 32 + 32] }
        #expect(cut == want)
        let up = "model.layers.0.mlp.up_proj.weight"
        let upper = Array(try store.tensor(up).floats()[1024...])
        #expect(try pruned.tensor(up).floats() == upper)

        var conversion = ConvertOptions()
        conversion.type = .q8_0
        let mqf = folder.appendingPathComponent("out.mqf").path
        _ = try pruneModel(store, plan: plan, destination: mqf, dtype: nil, conversion: conversion)
        let converted = folder.appendingPathComponent("converted.mqf").path
        _ = try convert(source: out, destination: converted, options: conversion)
        for name in pruned.tensorNames {
            let (a, b) = (
                try openWeightStore(path: mqf).tensor(name), try openWeightStore(path: converted).tensor(name)
            )
            #expect(Array(a.bytes) == Array(b.bytes), "\(name)")
        }
    }
}

@Test("where layers keep different numbers, what goes becomes zero")
func zeroesParts() throws {
    try withTemporaryFolder { folder in
        let store = try model(folder.appendingPathComponent("m"))
        var options = PruneOptions()
        options.ratio = 0.5
        options.layers = 1...1
        let spec = try DecoderSpec(of: store)
        let scores = try pruneScores(of: store, spec: spec, method: .random, seed: 3, threads: 1)
        let plan = try PrunePlan(scores: scores, options: options)
        let out = folder.appendingPathComponent("out").path
        let report = try pruneModel(store, plan: plan, destination: out, dtype: nil, conversion: ConvertOptions())
        #expect(report.warnings.count == 1 && report.parameterCount == report.sourceParameterCount)
        let pruned = try openWeightStore(path: out)
        for name in store.tensorNames
        where !name.contains("layers.1.mlp.down") && !name.contains("layers.1.self_attn.o") {
            #expect(Array(try pruned.tensor(name).bytes) == Array(try store.tensor(name).bytes))
        }
        let down = try pruned.tensor("model.layers.1.mlp.down_proj.weight").floats()
        var zero: [Int] = []
        for column in 0..<64 {
            let values = (0..<32).map { down[$0 * 64 + column] }
            if values.allSatisfy({ $0 == 0 }) { zero.append(column) }
        }
        let gone = Set(0..<64).subtracting(plan.layers[1].channels).sorted()
        #expect(zero == gone && zero.count == 32)
    }
}

/// A plan in which both layers keep the same parts: scores of 1 there, of 0 elsewhere.
private func plan(keeping layer: PrunePlan.Layer) throws -> PrunePlan {
    let scores = PruneScores(
        groups: (0..<2).map { layer.groups.contains($0) ? 1 : 0 },
        channels: (0..<64).map { layer.channels.contains($0) ? 1 : 0 })
    var options = PruneOptions()
    options.ratio = 0.5
    let plan = try PrunePlan(scores: [scores, scores], options: options)
    try #require(plan.layers == [layer, layer])
    return plan
}
