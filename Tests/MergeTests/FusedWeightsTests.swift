import Base
import Foundation
import Kernels
import Merge
import Quant
import TestSupport
import Testing

private typealias Tensor = (name: String, shape: [Int], values: [Float])

/// Adapters that hold more than B · A, written into a model. What PEFT computes of them: PipelineTests,
/// `FusedAdapterTests`.
@Suite("Fused weights") struct FusedWeightsTests {
    private let prefix = "base_model.model."
    private let embedding = "model.embed_tokens.weight"
    private let module = "model.layers.1.self_attn.q_proj"

    /// A PEFT folder with those tensors.
    private func adapter(_ folder: URL, _ name: String, _ tensors: [Tensor], config: String = "") throws -> AdapterFile
    {
        let path = folder.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
        let text = #"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]\#(config)}"#
        _ = try write(Array(text.utf8), to: path, "adapter_config.json")
        try writeSafetensors(
            path: path.appendingPathComponent("adapter_model.safetensors").path,
            floats: tensors.map { ("\(prefix)\($0.name)", $0.shape, $0.values) }, metadata: [:], overwrite: true)
        return try AdapterFile(path: path.path)
    }

    private func pair(seed: UInt64, magnitude: [Float]? = nil) -> [Tensor] {
        var random = SeededRandom(seed: seed)
        let factors: [Tensor] = [
            ("\(module).lora_A.weight", [1, 24], random.gaussians(24)),
            ("\(module).lora_B.weight", [24, 1], random.gaussians(24)),
        ]
        return factors + (magnitude.map { [("\(module).lora_magnitude_vector", [24], $0)] } ?? [])
    }

    private func fuse(_ model: URL, _ adapters: [AdapterFile], _ out: URL) throws -> any WeightStore {
        var options = HuggingFaceExportOptions()
        options.dtype = .f32
        options.overwrite = true
        _ = try exportHuggingFace(
            store: openWeightStore(path: model.path), adapters: adapters, destination: out.path, options: options,
            kernels: KernelContext(threads: 2))
        return try openWeightStore(path: out.path)
    }

    @Test("a row of a DoRA has the length that its magnitude says, in the direction of the sum")
    func dora() throws {
        try withTemporaryFolder { folder in
            let tensors = MergeFolders.tensors(seed: 1)
            let model = folder.appendingPathComponent("model")
            try MergeFolders.write(model, tensors)
            let lengths = (0..<24).map { 0.5 + Float($0) / 10 }
            let dora = try adapter(folder, "dora", pair(seed: 2, magnitude: lengths), config: #", "use_dora": true"#)
            let plain = try adapter(folder, "plain", pair(seed: 3))
            let base = try #require(tensors["\(module).weight"]).values.map(Double.init)
            func added(_ weights: [Double], _ adapter: AdapterFile) throws -> [Double] {
                let (a, b) = (try adapter.modules[0].a.floats(), try adapter.modules[0].b.floats())
                return weights.indices.map { weights[$0] + 2 * Double(b[$0 / 24]) * Double(a[$0 % 24]) }
            }
            func scaled(_ weights: [Double]) -> [Double] {
                weights.indices.map { i in
                    let row = weights[i / 24 * 24..<(i / 24 + 1) * 24]
                    return weights[i] * Double(lengths[i / 24]) / row.reduce(0) { $0 + $1 * $1 }.squareRoot()
                }
            }
            for (order, want) in [
                ([dora], scaled(try added(base, dora))),
                ([dora, plain], try added(scaled(try added(base, dora)), plain)),
                ([plain, dora], scaled(try added(try added(base, plain), dora))),
            ] {
                let fused = try fuse(model, order, folder.appendingPathComponent("out"))
                expectClose(try fused.tensor("\(module).weight").floats(), want.map { Float($0) }, absolute: 2e-6)
            }
        }
    }

    @Test(
        "a saved embedding or head ends the tie: the other keeps its numbers, as in PEFT",
        arguments: [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
    func tied(saved: [String]) throws {
        try withTemporaryFolder { folder in
            let tensors = MergeFolders.tensors(seed: 4)
            let model = folder.appendingPathComponent("model")
            let config = MergeFolders.config.dropLast(2) + ", \"tie_word_embeddings\": true, \"vocab_size\": 37}\n"
            try MergeFolders.write(model, tensors, config: String(config))
            var random = SeededRandom(seed: 5)
            let own = try #require(tensors[embedding]).values
            let new = ["embed_tokens": random.gaussians(37 * 24), "lm_head": random.gaussians(37 * 24)]
            let names = ["embed_tokens": embedding, "lm_head": "lm_head.weight"]
            let held: [Tensor] = saved.map { (names[$0] ?? "", [37, 24], new[$0] ?? []) }
            let list = saved.map { "\"\($0)\"" }.joined(separator: ", ")
            let adapter = try adapter(folder, "a", pair(seed: 6) + held, config: ", \"modules_to_save\": [\(list)]")
            let fused = try fuse(model, [adapter], folder.appendingPathComponent("out"))
            for (module, name) in names {
                #expect(try fused.tensor(name).floats() == (saved.contains(module) ? new[module] : own), "\(name)")
            }
            let written = try fused.config().json
            #expect(written["tie_word_embeddings"]?.bool == false && written["vocab_size"]?.int == 37)
            #expect(try fused.tensor("model.norm.weight").floats() == tensors["model.norm.weight"]?.values)
        }
    }

    @Test("what is saved replaces what lay below it, and later adapters add to it; other shapes are refused")
    func order() throws {
        try withTemporaryFolder { folder in
            let tensors = MergeFolders.tensors(seed: 7)
            let model = folder.appendingPathComponent("model")
            try MergeFolders.write(model, tensors)
            var random = SeededRandom(seed: 8)
            let values = random.gaussians(24 * 24)
            let saving = ", \"modules_to_save\": [\"q_proj\"]"
            let plain = try adapter(folder, "plain", pair(seed: 9))
            let whole = try adapter(folder, "whole", [("\(module).weight", [24, 24], values)], config: saving)
            let out = folder.appendingPathComponent("out")
            #expect(try fuse(model, [plain, whole], out).tensor("\(module).weight").floats() == values)
            let (a, b) = (try plain.modules[0].a.floats(), try plain.modules[0].b.floats())
            let want = values.indices.map { values[$0] + 2 * b[$0 / 24] * a[$0 % 24] }
            expectClose(try fuse(model, [whole, plain], out).tensor("\(module).weight").floats(), want, absolute: 1e-6)
            for (name, shape, expected) in [
                ("\(module).weight", [25, 24], "has shape [25, 24], in"),
                ("model.x.q_proj.weight", [24, 24], "is not in"),
            ] {
                let bad = try adapter(
                    folder, "bad", [(name, shape, random.gaussians(shape[0] * shape[1]))], config: saving)
                let error = mergeError { _ = try fuse(model, [bad], folder.appendingPathComponent("no")) }
                #expect(error?.kind == .badInput && error?.message.contains(expected) == true)
                #expect(!FileManager.default.fileExists(atPath: folder.path + "/no"))
            }
        }
    }
}
