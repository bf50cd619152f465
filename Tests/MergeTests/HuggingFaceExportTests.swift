import Base
import Foundation
import Kernels
import Merge
import Quant
import TestSupport
import Testing

private var kernels: KernelContext { get throws { try KernelContext(threads: 1) } }

/// A PEFT folder with Gaussian factors for two modules of tinychat, of different shapes.
private func writeAdapter(_ folder: URL, seed: UInt64) throws -> AdapterFile {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    var random = SeededRandom(seed: seed)
    let rank = 4
    let modules = [("model.layers.1.self_attn.k_proj", 128, 256), ("model.layers.4.mlp.down_proj", 256, 704)]
    let factors = modules.map { path, rows, columns in
        AdapterFile.Factors(
            path: path, a: random.gaussians(rank * columns, scale: 0.1), b: random.gaussians(rows * rank, scale: 0.1),
            rank: rank)
    }
    let config = PEFTConfig(
        r: rank, loraAlpha: 6, loraDropout: 0, useRSLoRA: false, targets: .names(modules.map(\.0)), rankPattern: [],
        alphaPattern: [], baseModelName: nil)
    try AdapterFile.write(folder: folder.path, config: config, factors: factors)
    return try AdapterFile(path: folder.path)
}

/// W + Σ scale · B · A in double precision.
private func reference(_ tensor: TensorView, _ adapters: [AdapterFile]) throws -> [Float] {
    var result = tensor.floats().map(Double.init)
    for module in adapters.flatMap(\.modules) where module.path + ".weight" == tensor.info.name {
        let (a, b) = (try module.a.floats(), try module.b.floats())
        let columns = module.a.columns
        for row in 0..<module.b.rows {
            for k in 0..<module.rank {
                let factor = Double(module.scale) * Double(b[row * module.rank + k])
                for column in 0..<columns {
                    result[row * columns + column] += factor * Double(a[k * columns + column])
                }
            }
        }
    }
    return result.map { Float($0) }
}

@Test("an f32 export holds W + Σ scale·B·A of every tensor, and the other files as they are")
func exportsFusedWeights() throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: tinychatFolder().path)
        let adapters = [
            try writeAdapter(folder.appendingPathComponent("a"), seed: 1),
            try writeAdapter(folder.appendingPathComponent("b"), seed: 2),
        ]
        let out = folder.appendingPathComponent("out").path
        var options = HuggingFaceExportOptions()
        options.dtype = .f32
        options.maximumShardByteCount = 8_000_000
        let report = try exportHuggingFace(
            store: store, adapters: adapters, destination: out, options: options, kernels: kernels)
        #expect(report.fileNames.count > 1)
        let copy = try openWeightStore(path: out)
        #expect(copy.tensorNames.sorted() == store.tensorNames.sorted())
        for name in store.tensorNames {
            let got = try copy.tensor(name)
            #expect(got.info.shape == (try store.tensor(name).info.shape))
            // Two products of rank 4 and one sum in fp32: 9 roundings of terms below 1, 2⁻²⁴ each.
            expectClose(got.floats(), try reference(store.tensor(name), adapters), absolute: 9 * 6e-8, name)
        }
        for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
            #expect(try copy.textFile(name) == store.textFile(name))
        }
        let config = try JSONValue.parse(try #require(try copy.textFile("config.json")), file: "config.json")
        #expect((config["dtype"] ?? config["torch_dtype"])?.string == "float32")
        #expect(config["hidden_size"]?.int == 256)
    }
}

@Test("an export has the same bytes for any number of threads", arguments: [ExportType.bf16, .f32])
func exportsTheSameOnAnyThreads(dtype: ExportType) throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: tinychatFolder().path)
        let adapters = [try writeAdapter(folder.appendingPathComponent("a"), seed: 1)]
        var options = HuggingFaceExportOptions()
        options.dtype = dtype
        let files = try [1, 2, 3, 5, 7].map { threads in
            let out = folder.appendingPathComponent("out-\(threads)")
            _ = try exportHuggingFace(
                store: store, adapters: adapters, destination: out.path, options: options,
                kernels: KernelContext(threads: threads))
            return try Data(contentsOf: out.appendingPathComponent("model.safetensors"))
        }
        for file in files[1...] { #expect(file == files[0]) }
    }
}

@Test("a bf16 export without adapters gives back the checkpoint's own bytes")
func exportsUnchangedWeights() throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: tinychatFolder().path)
        let out = folder.appendingPathComponent("out").path
        _ = try exportHuggingFace(
            store: store, adapters: [], destination: out, options: HuggingFaceExportOptions(), kernels: kernels)
        let copy = try openWeightStore(path: out)
        for name in store.tensorNames {
            #expect(Array(try copy.tensor(name).bytes) == Array(try store.tensor(name).bytes), "\(name)")
        }
    }
}

@Test("an adapter of another model is refused with both shapes, and nothing is left behind")
func refusesForeignAdapter() throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: tinychatFolder().path)
        let adapterFolder = folder.appendingPathComponent("adapter")
        try FileManager.default.createDirectory(at: adapterFolder, withIntermediateDirectories: true)
        let path = "model.layers.0.self_attn.q_proj"
        let config = PEFTConfig(
            r: 2, loraAlpha: 2, loraDropout: 0, useRSLoRA: false, targets: .names([path]), rankPattern: [],
            alphaPattern: [], baseModelName: nil)
        let factors = AdapterFile.Factors(
            path: path, a: [Float](repeating: 1, count: 2 * 64), b: [Float](repeating: 1, count: 32 * 2), rank: 2)
        try AdapterFile.write(folder: adapterFolder.path, config: config, factors: [factors])
        let adapter = try AdapterFile(path: adapterFolder.path)
        let out = folder.appendingPathComponent("out").path
        let error = try #require(throws: MeraserError.self) {
            try exportHuggingFace(
                store: store, adapters: [adapter], destination: out, options: HuggingFaceExportOptions(),
                kernels: kernels)
        }
        #expect(error.kind == .badInput)
        #expect(error.message.contains("[32, 64]") && error.message.contains("[256, 256]"), "\(error.message)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["adapter"])
    }
}

@Test("weights beyond f16 are refused by name, and an interrupted export leaves nothing behind")
func refusesOverflowAndInterruption() throws {
    try withTemporaryFolder { folder in
        let store = try openWeightStore(path: tinychatFolder().path)
        let adapterFolder = folder.appendingPathComponent("adapter")
        try FileManager.default.createDirectory(at: adapterFolder, withIntermediateDirectories: true)
        let path = "model.layers.0.self_attn.q_proj"
        let config = PEFTConfig(
            r: 1, loraAlpha: 1, loraDropout: 0, useRSLoRA: false, targets: .names([path]), rankPattern: [],
            alphaPattern: [], baseModelName: nil)
        let factors = AdapterFile.Factors(
            path: path, a: [Float](repeating: 300, count: 256), b: [Float](repeating: 300, count: 256), rank: 1)
        try AdapterFile.write(folder: adapterFolder.path, config: config, factors: [factors])
        let adapter = try AdapterFile(path: adapterFolder.path)
        let out = folder.appendingPathComponent("out").path
        var options = HuggingFaceExportOptions()
        options.dtype = .f16
        let overflow = try #require(throws: MeraserError.self) {
            try exportHuggingFace(
                store: store, adapters: [adapter], destination: out, options: options, kernels: kernels)
        }
        #expect(overflow.kind == .badInput && overflow.message.contains("\(path).weight"), "\(overflow.message)")
        let interrupted = try #require(throws: MeraserError.self) {
            try exportHuggingFace(
                store: store, adapters: [], destination: out, options: HuggingFaceExportOptions(),
                kernels: kernels, isInterrupted: { true })
        }
        #expect(interrupted.kind == .interrupted)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["adapter"])
    }
}
