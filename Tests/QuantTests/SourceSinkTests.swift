import Base
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Quant

/// Numbers in memory as a source of computed weights, of a model that `TinyCheckpoint` describes.
private struct ComputedWeights: TensorSource {
    let folder: SafetensorsFolder
    let type: TensorType
    let factor: Float

    var path: String { "computed" }
    var tensorNames: [String] { folder.tensorNames }
    func textFile(_ name: String) throws -> [UInt8]? { try folder.textFile(name) }
    func entry(_ name: String) throws -> TensorEntry? {
        try folder.entry(name).map { TensorEntry(computed: name, shape: $0.shape, type: type, path: path) }
    }
    func rows(of name: String) throws -> any TensorRows {
        Rows(values: try folder.tensor(name).floats().map { $0 * factor }, columns: try tensorEntry(name).columns)
    }

    private struct Rows: TensorRows {
        let values: [Float]
        let columns: Int

        func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
            for (i, value) in values[rows.lowerBound * columns..<rows.upperBound * columns].enumerated() {
                target[i] = value
            }
        }
    }
}

@Suite("One pump from every source to every sink")
struct SourceSinkTests {
    static let pyTorch = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Fixtures/pytorch")

    /// All elements of a tensor, a few rows at a time.
    private func values(_ name: String, of source: any TensorSource) throws -> [Float] {
        let (entry, rows) = (try source.tensorEntry(name), try source.rows(of: name))
        var raw: [UInt8] = []
        return try [Float](unsafeUninitializedCapacity: entry.elementCount) { buffer, count in
            for first in stride(from: 0, to: entry.rows, by: 5) {
                guard let start = buffer.baseAddress else { return }
                let range = first..<min(first + 5, entry.rows)
                try rows.read(rows: range, into: start + first * entry.columns, raw: &raw)
            }
            count = entry.elementCount
        }
    }

    /// Writes the source as a folder and as MQF files, and compares every tensor with what the source gives.
    private func check(_ source: any TensorSource, in folder: URL) throws {
        let base = folder.appendingPathComponent("\(UUID().uuidString)").path
        var digests: [String: Set<String>] = [:]
        for threads in [1, 3] {
            var options = ConvertOptions()
            options.threads = threads
            options.maximumShardByteCount = 9_000
            options.overwrite = true
            let written = try writeModel(source, destination: base, options: options)
            #expect(written.fileNames.count > 1)
            let copy = try openTensorSource(path: base)
            for name in copy.tensorNames {
                let wanted = plainBytes(try values(name, of: source), type: try source.tensorEntry(name).plainType)
                let got = plainBytes(try values(name, of: copy), type: try source.tensorEntry(name).plainType)
                #expect(got == wanted, "\(source.path): \(name) in a folder")
            }
            digests["folder", default: []].insert(try copy.sha256())
            for type in [TensorType.f32, .q8_0] {
                options.type = type
                let file = try MQFFile(path: mqf(source, base + "-\(type.name).mqf", options))
                let twin = try MQFFile(path: mqf(copy, base + "-twin.mqf", options))
                // Tiles of that type are taken over, not quantized again from the numbers that the folder has.
                for name in file.tensorNames where try source.entry(name)?.exactType != type || type == .f32 {
                    let (a, b) = (try file.tensor(name), try twin.tensor(name))
                    let isSame = a.info.type == b.info.type && a.bytes.elementsEqual(b.bytes)
                    #expect(isSame, "\(source.path): \(name) as \(type.name)")
                }
                digests[type.name, default: []].insert(try file.sha256())
            }
        }
        #expect(digests.count == 3 && digests.values.allSatisfy { $0.count == 1 })
    }

    private func mqf(_ source: any TensorSource, _ path: String, _ options: ConvertOptions) throws -> String {
        _ = try writeModel(source, destination: path, options: options)
        return path
    }

    @Test("what a source gives is what a folder and an MQF file hold, for any number of threads")
    func everySource() throws {
        try withTemporaryFolder { folder in
            let tiny = folder.appendingPathComponent("tiny")
            try FileManager.default.createDirectory(at: tiny, withIntermediateDirectories: true)
            var checkpoint = TinyCheckpoint()
            checkpoint.type = .bf16
            try checkpoint.write(to: tiny)
            let safetensors = try SafetensorsFolder(path: tiny.path)
            try check(safetensors, in: folder)
            for name in safetensors.tensorNames {
                #expect(try values(name, of: safetensors) == safetensors.tensor(name).floats())
            }
            try check(ComputedWeights(folder: safetensors, type: .f32, factor: 1.5), in: folder)
            try check(ComputedWeights(folder: safetensors, type: .bf16, factor: 1.37), in: folder)
            try check(ComputedWeights(folder: safetensors, type: .f16, factor: 1.37), in: folder)

            var options = ConvertOptions()
            options.type = .nf4
            let mqf = try MQFFile(path: mqf(safetensors, folder.path + "/m.mqf", options))
            for name in mqf.tensorNames { #expect(try values(name, of: mqf) == mqf.tensor(name).floats()) }
            try check(mqf, in: folder)
            // Without a type, tiles stay what they are.
            let again = try MQFFile(path: self.mqf(mqf, folder.path + "/again.mqf", ConvertOptions()))
            for name in mqf.tensorNames {
                #expect(try again.tensor(name).bytes.elementsEqual(mqf.tensor(name).bytes), "\(name)")
            }

            let gguf = try write(Array(SmallGGUF().file.bytes), to: folder, "m.gguf")
            try check(try openTensorSource(path: gguf), in: folder)
            try check(try openTensorSource(path: Self.pyTorch.path), in: folder)
        }
    }

    @Test("a computed weight that its type cannot hold is named, and nothing is left")
    func overflow() throws {
        try withTemporaryFolder { folder in
            let tiny = folder.appendingPathComponent("tiny")
            try FileManager.default.createDirectory(at: tiny, withIntermediateDirectories: true)
            try TinyCheckpoint().write(to: tiny)
            let source = try SafetensorsFolder(path: tiny.path)
            for out in ["/out", "/out.mqf"] {
                let text = errorText {
                    _ = try writeModel(
                        ComputedWeights(folder: source, type: .f16, factor: 1e6), destination: folder.path + out,
                        options: ConvertOptions())
                }
                #expect(text.contains("has weights too large for f16 near row 0; choose f32 or bf16"), "\(text)")
                let infinite = errorText {
                    _ = try writeModel(
                        ComputedWeights(folder: source, type: .f32, factor: .infinity), destination: folder.path + out,
                        options: ConvertOptions())
                }
                #expect(infinite.contains("expected finite weights"), "\(infinite)")
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["tiny"])
        }
    }

    @Test("files of torch.save are their safetensors twin: strides, offsets, shared storages, three types, shards")
    func pyTorchTwin() throws {
        let twin = try SafetensorsFolder(path: Self.pyTorch.path + "/twin")
        for path in ["", "/shards", "/pytorch_model.bin"] {
            let source = try openTensorSource(path: Self.pyTorch.path + path)
            if path != "/pytorch_model.bin" { #expect(source.tensorNames == twin.tensorNames) }
            for name in source.tensorNames where name != "position_ids" {
                #expect(try source.tensorEntry(name).exactType == twin.tensor(name).info.type, "\(name)")
                #expect(try values(name, of: source) == twin.tensor(name).floats(), "\(path) \(name)")
            }
            #expect(errorText { _ = try source.entry("position_ids") }.contains("has dtype int64, expected float32"))
            try withTemporaryFolder { folder in
                for word in ["converting to", "read from"] {
                    let said = Mutex<[String]>([])
                    let cache = ModelCache(folder: folder.path + "/cache") { line in said.withLock { $0.append(line) } }
                    let store = try openWeightStore(path: Self.pyTorch.path + path, cache: cache)
                    let notices = said.withLock { $0 }
                    #expect(notices.count == 1 && notices[0].contains(word))
                    for name in store.tensorNames {
                        #expect(try store.tensor(name).floats() == twin.tensor(name).floats(), "\(path) \(name)")
                    }
                }
            }
        }
    }
}
