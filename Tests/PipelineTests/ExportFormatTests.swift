import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing

@testable import Pipeline

@Suite("What leaves the house beside the model")
struct ExportFormatTests {
    /// Two adapters of different kinds and ranks, the second with an alpha of its own for one module.
    private func writeAdapters(_ folder: URL) throws -> [String] {
        var random = SeededRandom(seed: 9)
        let layers = (0..<2).map { "model.layers.\($0)" }
        func write(_ name: String, _ config: PEFTConfig, _ modules: [(String, Int, Int, Int)]) throws -> String {
            let url = folder.appendingPathComponent(name)
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            try AdapterFile.write(
                folder: url.path, config: config,
                factors: modules.map { path, rows, columns, rank in
                    AdapterFile.Factors(
                        path: path, a: random.gaussians(rank * columns, scale: 0.1),
                        b: random.gaussians(rows * rank, scale: 0.1), rank: rank)
                })
            return url.path
        }
        let q = layers.map { "\($0).self_attn.q_proj" }
        let k = "\(layers[1]).self_attn.k_proj"
        return [
            try write(
                "a", PEFTConfig(r: 4, loraAlpha: 3, useRSLoRA: true, targets: .names(q)), q.map { ($0, 256, 256, 4) }),
            try write(
                "b",
                PEFTConfig(
                    r: 2, loraAlpha: 5, targets: .names([q[0], k]), rankPattern: [(k, 3)], alphaPattern: [(k, 7)]),
                [(q[0], 256, 256, 2), (k, 128, 256, 3)]),
        ]
    }

    private func logits(_ model: OpenedModel) throws -> [Float] {
        var result: [Float] = []
        let session = model.session()
        try session.forEachLogits(of: try session.hiddenStates(PackedBatch([(0..<12).map { Int32($0 * 331 % 4096) }])))
        {
            result += $1.toArray()
        }
        return result
    }

    @Test("adapters of several ranks, rsLoRA and alphas as one GGUF adapter give the stack's logits")
    func ggufLoRA() throws {
        try withTemporaryFolder { folder in
            let kernels = try KernelContext(threads: 2)
            let paths = try writeAdapters(folder)
            let stack = try OpenedModel(path: tinychatFolder().path, adapterPaths: paths, kernels: kernels)
            let file = folder.path + "/a.gguf"
            #expect(try stack.exportGGUFLoRA(destination: file, overwrite: false) == 6)
            let read = try GGUFFile(path: file)
            #expect(
                read.metadata.float("adapter.lora.alpha") == 0 && read.metadata.string("general.name") == "tinychat")
            #expect(read.tensors.map(\.name).contains("blk.1.attn_k.weight.lora_b"))
            let joined = try OpenedModel(path: tinychatFolder().path, adapterPaths: [file], kernels: kernels)
            let (wanted, got) = (try logits(stack), try logits(joined))
            expectClose(got, wanted, absolute: 2e-4, "logits")
            #expect(try logits(OpenedModel(path: tinychatFolder().path, kernels: kernels)) != wanted)
            // One adapter of one scale stays what it is, to the bit.
            let one = try OpenedModel(path: tinychatFolder().path, adapterPaths: [paths[0]], kernels: kernels)
            _ = try one.exportGGUFLoRA(destination: file, overwrite: true)
            let (mine, theirs) = (
                try AdapterFile(path: file, for: one.transformer.spec), try AdapterFile(path: paths[0])
            )
            #expect(mine.modules.map(\.path) == theirs.modules.map(\.path) && mine.modules[0].scale == 1.5)
            for (a, b) in zip(mine.modules, theirs.modules) {
                #expect(try a.b.floats() == b.b.floats())
                #expect(try a.a.floats() == b.a.floats())
            }
        }
    }

    @Test("an adapter of an MQF file names what that was made of, is accepted there, and goes onto its weights exactly")
    func base() throws {
        try withTemporaryFolder { folder in
            let kernels = try KernelContext(threads: 2)
            let mqf = folder.path + "/m.mqf"
            _ = try convert(source: tinychatFolder().path, destination: mqf, options: ConvertOptions())
            let stack = try OpenedModel(path: mqf, adapterPaths: try writeAdapters(folder), kernels: kernels)
            let peft = folder.path + "/peft"
            _ = try stack.exportPEFT(destination: peft, overwrite: false)
            let adapter = try AdapterFile(path: peft)
            #expect(adapter.config.baseModelName == "tinychat")
            #expect(adapter.provenance.baseSHA256 == (try openWeightStore(path: mqf).sha256()))
            #expect(adapter.provenance.sourceSHA256 == (try openWeightStore(path: tinychatFolder().path).sha256()))
            _ = try OpenedModel(path: tinychatFolder().path, adapterPaths: [peft], kernels: kernels)
            _ = try stack.exportPEFT(destination: folder.path + "/named", base: "org/name", overwrite: false)
            #expect(try AdapterFile(path: folder.path + "/named").config.baseModelName == "org/name")

            let (source, other) = (tinychatFolder().path, folder.path + "/other")
            func exported(_ model: FusedModel, _ name: String) throws -> [Float] {
                var options = HuggingFaceExportOptions()
                options.dtype = .f32
                _ = try exportHuggingFace(
                    store: model.store, adapters: model.adapters, destination: folder.path + "/" + name,
                    options: options, kernels: kernels)
                return try openWeightStore(path: folder.path + "/" + name)
                    .tensor("model.layers.1.self_attn.k_proj.weight").floats()
            }
            let exact = try exported(FusedModel(path: source, adapterPaths: [peft], transfer: false), "direct")
            #expect(
                try exported(FusedModel(path: mqf, adapterPaths: [peft], transfer: false, base: source), "based")
                    == exact)
            #expect(try exported(FusedModel(path: mqf, adapterPaths: [peft], transfer: false), "dequantized") != exact)

            try FileManager.default.copyItem(atPath: source, toPath: other)
            try FileHandle(forWritingTo: URL(fileURLWithPath: other + "/config.json")).seekToEndAndWrite(" ")
            #expect(
                errorText { _ = try FusedModel(path: mqf, adapterPaths: [peft], transfer: false, base: other) }
                    .contains("is not what"))
        }
    }

    @Test(
        "an Ollama folder is a model, a Modelfile and a card; the fused and rounded model is measured beside its parts")
    func ollama() throws {
        try withTemporaryFolder { folder in
            let kernels = try KernelContext(threads: 2)
            let paths = try writeAdapters(folder)
            let fused = try FusedModel(path: tinychatFolder().path, adapterPaths: paths, transfer: false)
            let card = ModelCard(
                .ollama, baseModel: "tinychat", folder: nil, adapters: fused.adapters, weights: "rounded once to q8_0",
                command: ["meraser", "export", "--out", "/home/me/secret/out"])
            #expect(
                !card.document.text.contains("/home/me") && card.document.text.contains("rsLoRA of rank 4, alpha 3"))
            var options = GGUFExportOptions()
            options.dtype = .q8_0
            let out = folder.path + "/out"
            let (_, warnings) = try fused.exportOllama(
                destination: out, options: options, documents: [card.document], kernels: kernels)
            #expect(warnings.isEmpty || warnings == ["the chat template takes no system message: Ollama leaves it out"])
            let names = try FileManager.default.contentsOfDirectory(atPath: out).sorted()
            #expect(names == [".meraser.json", "Modelfile", "README.md", "model.gguf"])
            let modelfile = try String(contentsOfFile: out + "/Modelfile", encoding: .utf8)
            #expect(modelfile.hasPrefix("FROM ./model.gguf\nTEMPLATE \"\"\"") && modelfile.contains("PARAMETER stop"))
            #expect(modelfile.contains("### Instruction:\n{{ .Content }}"))

            let parts = try OpenedModel(path: tinychatFolder().path, adapterPaths: paths, kernels: kernels)
            let written = try OpenedModel(
                AdaptedModel(
                    store: openWeightStore(path: out + "/model.gguf", cache: ModelCache(folder: folder.path + "/c")),
                    adapterPaths: [], kernels: kernels, compute: .f32, transfer: false))
            let text = folder.path + "/t.txt"
            try String(repeating: "### Instruction:\nSay hello.\n\n### Response:\nHello there.\n\n", count: 12)
                .write(toFile: text, atomically: true, encoding: .utf8)
            let report = try QuantizationReport(of: written, unfused: parts, key: nil, data: text)
            let kl = try #require(report.json["source"]?["ppl"]?["kl"]?["mean"]?.double)
            #expect(kl > 0 && kl < 0.05 && report.json["type"]?.string == "q8_0")
        }
    }

    @Test("a card takes the license from the base's own card, if it is a plain word")
    func license() throws {
        try withTemporaryFolder { folder in
            for (text, wanted) in [
                ("---\nlanguage: en\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
                ("---\nlicense: [a, b]\n---\n", nil), ("license: mit\n", nil), ("---\nlicense: mit\n", nil),
            ] as [(String, String?)] {
                try text.write(toFile: folder.path + "/README.md", atomically: true, encoding: .utf8)
                #expect(ModelCard.license(folder.path) == wanted, "\(text)")
            }
            #expect(ModelCard.license(folder.path + "/none") == nil)
        }
    }
}

extension FileHandle {
    fileprivate func seekToEndAndWrite(_ text: String) throws {
        try seekToEnd()
        try write(contentsOf: Data(text.utf8))
        try close()
    }
}
