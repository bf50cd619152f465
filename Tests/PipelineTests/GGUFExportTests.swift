import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing

@testable import Pipeline

@Suite("Exporting GGUF files")
struct GGUFExportTests {
    private static let text = "User: What's 12 + 30?\nAssistant: 42, i.e. 'forty-two' — naïve café.\n\n  Done."

    private func logits(_ model: OpenedModel, _ text: String) throws -> [Float] {
        let session = model.session()
        var result: [Float] = []
        try session.forEachLogits(of: try session.hiddenStates(PackedBatch([model.tokenizer.encode(text)]))) {
            result += $1.toArray()
        }
        return result
    }

    /// A PEFT folder with Gaussian factors of two modules of tinychat.
    private func writeAdapter(_ folder: URL) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var random = SeededRandom(seed: 3)
        let modules = [("model.layers.1.self_attn.k_proj", 128, 256), ("model.layers.4.mlp.down_proj", 256, 704)]
        try AdapterFile.write(
            folder: folder.path,
            config: PEFTConfig(
                r: 4, loraAlpha: 6, loraDropout: 0, useRSLoRA: true, targets: .names(modules.map(\.0))),
            factors: modules.map { path, rows, columns in
                AdapterFile.Factors(
                    path: path, a: random.gaussians(4 * columns, scale: 0.1), b: random.gaussians(rows * 4, scale: 0.1),
                    rank: 4)
            })
    }

    @Test("tinychat with an adapter comes back from its GGUF file: ids, template, stop set, and logits to the bit")
    func tinychat() throws {
        try withTemporaryFolder { folder in
            let kernels = try KernelContext(threads: 2)
            try writeAdapter(folder.appendingPathComponent("a"))
            let fused = try FusedModel(
                path: tinychatFolder().path, adapterPaths: [folder.path + "/a"], transfer: false)
            var options = GGUFExportOptions()
            options.dtype = .f32
            let path = folder.path + "/m.gguf"
            let (_, warnings) = try fused.exportGGUF(destination: path, options: options, kernels: kernels)
            #expect(warnings.isEmpty)
            var folderOptions = HuggingFaceExportOptions()
            folderOptions.dtype = .f32
            _ = try exportHuggingFace(
                store: fused.store, adapters: fused.adapters, destination: folder.path + "/hf", options: folderOptions,
                kernels: kernels)
            let wanted = try OpenedModel(path: folder.path + "/hf", kernels: kernels)
            let store = try openWeightStore(path: path, cache: ModelCache(folder: folder.path + "/cache"))
            let got = try OpenedModel(
                AdaptedModel(store: store, adapterPaths: [], kernels: kernels, compute: nil, transfer: false))
            #expect(got.tokenizer.encode(Self.text) == wanted.tokenizer.encode(Self.text))
            #expect(try logits(got, Self.text) == logits(wanted, Self.text))
            let chat = (try got.chat?("Hello"), try wanted.chat?("Hello"))
            #expect(chat.0 == chat.1 && chat.0 != nil)
            #expect(got.transformer.stopTokens == wanted.transformer.stopTokens)
            let types = try StoredTypes(store)
            #expect(types.main == .f32)
        }
    }

    @Test("types stay what they are, what an adapter touches is rounded to its own, and nf4 becomes q8_0")
    func types() throws {
        try withTemporaryFolder { folder in
            let kernels = try KernelContext(threads: 2)
            for type in [TensorType.iq4_nl, .nf4] {
                let mqf = "\(folder.path)/\(type.name).mqf"
                var convertOptions = ConvertOptions()
                convertOptions.type = type
                _ = try convert(source: tinychatFolder().path, destination: mqf, options: convertOptions)
                let adapter = folder.appendingPathComponent("a-\(type.name)")
                try writeAdapter(adapter)
                let fused = try FusedModel(path: mqf, adapterPaths: [adapter.path], transfer: false)
                let path = "\(folder.path)/\(type.name).gguf"
                let (report, warnings) = try fused.exportGGUF(
                    destination: path, options: GGUFExportOptions(), kernels: kernels)
                let stored: TensorType = type == .nf4 ? .q8_0 : type
                #expect(warnings.isEmpty == (type != .nf4))
                #expect(report.tensors.filter { $0.shape.count == 2 }.allSatisfy { [stored, .q8_0].contains($0.type) })
                let back = try openWeightStore(path: path, cache: ModelCache(folder: folder.path + "/cache"))
                for name in ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight"] {
                    let (mine, theirs) = (try back.tensor(name), try fused.store.tensor(name))
                    #expect(mine.info.type == stored)
                    let isTouched = name.contains("k_proj")
                    if type == .iq4_nl { #expect((mine.floats() == theirs.floats()) != isTouched, "\(name)") }
                }
            }
        }
    }
}
