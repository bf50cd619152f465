import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

private func open(_ path: String) throws -> OpenedModel {
    try OpenedModel(path: path, kernels: try KernelContext(threads: 2), compute: .f32)
}

private func logits(_ model: OpenedModel, _ tokens: [Int32]) throws -> [Float] {
    let session = model.session()
    return try session.logits(try session.hiddenStates(PackedBatch([tokens]))).toArray()
}

/// tinychat with columns of some tensors multiplied: what goes is a part's way into the residual stream.
private func writeScaled(_ folder: URL, _ factors: [String: [Int: Float]]) throws -> OpenedModel {
    let store = try openWeightStore(path: tinychatFolder().path)
    try FileManager.default.copyItem(at: tinychatFolder(), to: folder)
    try FileManager.default.removeItem(at: folder.appendingPathComponent("model.safetensors"))
    let tensors = try store.tensorNames.map { name in
        let view = try store.tensor(name)
        var values = view.floats()
        for (column, factor) in factors[name] ?? [:] {
            for row in 0..<view.info.rows { values[row * view.info.columns + column] *= factor }
        }
        return (name: name, shape: view.info.shape, values: values)
    }
    try writeSafetensors(path: folder.appendingPathComponent("model.safetensors").path, floats: tensors)
    return try open(folder.path)
}

private let tokens: [Int32] = [1, 40, 77, 301, 12, 9, 500, 63, 250, 31, 7, 88]

@Test("a pruned model computes what the whole one computes with the same heads and channels silenced")
func prunedForward() throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: tinychatFolder().path)
        let spec = try DecoderSpec(of: store)
        let scores = try pruneScores(of: store, spec: spec, method: .magnitudeL2, seed: 0, threads: 2)
        var options = PruneOptions()
        options.ratio = 0.3
        let plan = try PrunePlan(scores: scores, options: options)
        #expect(plan.isUniform && plan.layers[0].channels.count < spec.layers[0].mlp.width)
        #expect(plan.layers[0].groups.count < spec.layers[0].attention.keyValueHeads)
        let out = folder.appendingPathComponent("pruned").path
        _ = try pruneModel(store, plan: plan, destination: out, dtype: .f32, conversion: ConvertOptions())

        var factors: [String: [Int: Float]] = [:]
        let width = spec.layers[0].attention.groupSize * spec.layers[0].attention.headDim
        for (index, layer) in plan.layers.enumerated() {
            let channels = (0..<spec.layers[0].mlp.width).filter { !layer.channels.contains($0) }
            let columns = (0..<spec.layers[0].attention.keyValueHeads).filter { !layer.groups.contains($0) }
                .flatMap { $0 * width..<($0 + 1) * width }
            factors["model.layers.\(index).mlp.down_proj.weight"] = Dictionary(
                uniqueKeysWithValues: channels.map { ($0, 0) })
            factors["model.layers.\(index).self_attn.o_proj.weight"] = Dictionary(
                uniqueKeysWithValues: columns.map { ($0, 0) })
        }
        let silenced = try writeScaled(folder.appendingPathComponent("silenced"), factors)
        // The same sums without their zero terms, in another order of vector lanes: fp32 noise as of the goldens.
        expectClose(try logits(try open(out), tokens), try logits(silenced, tokens), absolute: 5e-5)
        let whole = try logits(try open(tinychatFolder().path), tokens)
        #expect(relativeL2(try logits(silenced, tokens), whole) > 0.01)
    }
}

@Test("taylor scores are the derivative of the loss with respect to a factor on the part")
func taylorIsTheDerivative() throws {
    try withTemporaryFolder { folder in
        let model = try open(tinychatFolder().path)
        let sample = try #require(TrainingSample(tokens: tokens, isLabel: tokens.map { _ in true }))
        let data = EncodedDataset(samples: [sample], sha256: "")
        let scores = try model.taylorScores(on: data)
        let spec = try DecoderSpec(of: model.transformer.store)
        func loss(_ name: String, _ factors: [String: [Int: Float]]) throws -> Double {
            let scaled = try writeScaled(folder.appendingPathComponent(name), factors)
            let nll = try #require(try scaled.session().negativeLogLikelihoods([tokens]).first)
            return nll.reduce(0) { $0 + Double($1) } / Double(tokens.count - 1)
        }
        let width = spec.layers[0].attention.groupSize * spec.layers[0].attention.headDim
        for layer in [0, spec.numHiddenLayers - 1] {
            let channel = try #require(
                scores[layer].channels.indices.max { scores[layer].channels[$0] < scores[layer].channels[$1] })
            let group = try #require(
                scores[layer].groups.indices.max { scores[layer].groups[$0] < scores[layer].groups[$1] })
            let cases = [
                ("model.layers.\(layer).mlp.down_proj.weight", [channel], scores[layer].channels[channel]),
                (
                    "model.layers.\(layer).self_attn.o_proj.weight", Array(group * width..<(group + 1) * width),
                    scores[layer].groups[group]
                ),
            ]
            for (name, columns, score) in cases {
                let step: Float = 0.02
                func factors(_ factor: Float) -> [String: [Int: Float]] {
                    [name: Dictionary(uniqueKeysWithValues: columns.map { ($0, factor) })]
                }
                let above = try loss("\(name)+", factors(1 + step))
                let below = try loss("\(name)-", factors(1 - step))
                let derivative = abs(above - below) / Double(2 * step)
                // Noise of the loss in fp32 (1e-6) over the step, and the difference's own error of second order.
                #expect(abs(derivative - score) < 0.03 * score + 1e-4, "\(name): \(derivative), score \(score)")
            }
        }
    }
}

/// Small models of other architectures (tools/check_architectures.py).
private func small(_ name: String) -> URL {
    packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/small/\(name)")
}

private func logits(_ store: any WeightStore) throws -> [Float] {
    let session = InferenceSession(model: try Transformer(store: store, kernels: try KernelContext(threads: 2)))
    return try session.logits(try session.hiddenStates(PackedBatch([tokens.map { $0 % 48 }]))).toArray()
}

@Test(
    "models of other architectures: pruned, they compute what they compute with the same parts silenced",
    arguments: ["gemma", "gemma2", "gemma3", "granite", "smollm3", "starcoder2"])
func prunedArchitectures(name: String) throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: small(name).path)
        let spec = try DecoderSpec(of: store)
        let scores = try pruneScores(of: store, spec: spec, method: .magnitudeL2, seed: 0, threads: 2)
        var options = PruneOptions()
        options.ratio = 0.4
        // Of one group of heads none can go.
        options.attention = spec.layers[0].attention.keyValueHeads > 1
        let plan = try PrunePlan(scores: scores, options: options)
        #expect(plan.layers[0].channels.count < spec.layers[0].mlp.width)
        let out = folder.appendingPathComponent("pruned").path
        _ = try pruneModel(store, plan: plan, destination: out, dtype: .f32, conversion: ConvertOptions())

        var silent: [String: Set<Int>] = [:]
        for (kept, layer) in zip(plan.layers, spec.layers) {
            let width = layer.attention.groupSize * layer.attention.headDim
            silent[layer.mlp.down.weight] = Set(0..<layer.mlp.width).subtracting(kept.channels)
            silent[layer.attention.output.weight] = Set(
                (0..<layer.attention.keyValueHeads).filter { !kept.groups.contains($0) }
                    .flatMap { $0 * width..<($0 + 1) * width })
        }
        let silenced = folder.appendingPathComponent("silenced")
        try FileManager.default.copyItem(at: small(name), to: silenced)
        try FileManager.default.removeItem(at: silenced.appendingPathComponent("model.safetensors"))
        let tensors = try store.tensorNames.map { name in
            let view = try store.tensor(name)
            var values = view.floats()
            for i in values.indices where silent[name]?.contains(i % view.info.columns) == true { values[i] = 0 }
            return (name: name, shape: view.info.shape, values: values)
        }
        try writeSafetensors(path: silenced.appendingPathComponent("model.safetensors").path, floats: tensors)
        let got = try logits(try openWeightStore(path: out))
        expectClose(got, try logits(try openWeightStore(path: silenced.path)), absolute: 5e-5, name)
        #expect(relativeL2(got, try logits(store)) > 0.01, "\(name): nothing was silenced")
    }
}

@Test(
    "models whose heads cannot go are refused by name, with the reason",
    arguments: [
        ("phi3", "Phi3ForCausalLM cannot be pruned: its queries, keys and values are one module"),
        ("gpt_neox", "GPTNeoXForCausalLM cannot be pruned: its queries, keys and values are one module"),
        ("gptj", "GPTJForCausalLM cannot be pruned: its config.json does not say how wide a head is"),
        ("olmo2", "Olmo2ForCausalLM cannot be pruned: its queries and keys are normed over all heads together"),
        ("stablelm", "StableLmForCausalLM cannot be pruned: its config.json does not say how wide a head is"),
    ])
func unprunable(name: String, reason: String) throws {
    let text = errorText { try DecoderSpec(of: try openWeightStore(path: small(name).path)).requirePrunable("m") }
    #expect(text.contains(reason), "\(text)")
}
