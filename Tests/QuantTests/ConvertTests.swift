import Base
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Quant

@Suite("Converter")
struct ConvertTests {
    /// Converts tinychat with those types and hands both stores to `body`.
    private func withTinychat(
        _ type: TensorType, threads: Int = 2, _ body: (SafetensorsFolder, MQFFile, ConvertReport) throws -> Void
    ) throws {
        try withTemporaryFolder { folder in
            var options = ConvertOptions()
            options.type = type
            options.embedType = type
            options.headType = type
            options.threads = threads
            let path = folder.appendingPathComponent("t.mqf").path
            let report = try convert(source: tinychatFolder().path, destination: path, options: options)
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(names == ["t.mqf"])
            try body(try SafetensorsFolder(path: tinychatFolder().path), try MQFFile(path: path), report)
        }
    }

    @Test("tinychat as bf16 and f32 has the source's values, bit for bit", arguments: [TensorType.bf16, .f32])
    func exact(type: TensorType) throws {
        try withTinychat(type) { source, file, report in
            try file.verify()
            #expect(Set(file.tensorNames) == Set(source.tensorNames))
            #expect(report.warnings == [])
            #expect(report.byteCount == file.byteCount)
            for name in source.tensorNames {
                let want = try source.tensor(name)
                let got = try file.tensor(name)
                #expect(got.info.shape == want.info.shape)
                #expect(got.info.type == (want.info.shape.count == 1 ? .f32 : type))
                let (gotBits, wantBits) = (got.floats().map(\.bitPattern), want.floats().map(\.bitPattern))
                #expect(gotBits == wantBits, "\(name)")
                if got.info.type == want.info.type { #expect(got.bytes.elementsEqual(want.bytes), "\(name)") }
            }
        }
    }

    /// Uniform rounding with step Δ has an error of Δ²/12. q8_0's step is amax/127; for Gaussian weights amax of 32 is about
    /// 2.07σ on average, so the relative error is 2.07 / 127 / √12 = 0.0047. 4 bits: q4_0's step is amax/8, 0.075 plus clipping,
    /// less what the search for scales gains. Real weights have heavier tails: 25 % more. Halving a step would fall below the
    /// lower bounds.
    @Test(
        "quantized tinychat is as close to the source as its bits allow",
        arguments: [
            (TensorType.q8_0, 0.004, 0.0065), (.q4_0, 0.06, 0.1), (.iq4_nl, 0.05, 0.085), (.nf4, 0.05, 0.09),
        ])
    func errors(type: TensorType, low: Double, high: Double) throws {
        try withTinychat(type) { source, file, _ in
            for name in source.tensorNames {
                let (got, want) = (try file.tensor(name), try source.tensor(name))
                let error = relativeL2(got.floats(), want.floats())
                if want.info.shape.count == 1 {
                    #expect(error == 0, "\(name)")
                } else {
                    #expect(error > low && error < high, "\(name): \(error)")
                }
            }
        }
    }

    @Test("one and three threads give the same file")
    func threads() throws {
        var digests: [String] = []
        for threads in [1, 3] {
            try withTinychat(.iq4_nl, threads: threads) { _, file, _ in digests.append(try file.sha256()) }
        }
        #expect(digests[0] == digests[1])
    }

    @Test("metadata and Hugging Face's files travel along")
    func metadata() throws {
        try withTinychat(.bf16) { source, file, _ in
            let metadata = file.metadata
            #expect(metadata.string("general.architecture") == "llama")
            #expect(metadata.string("general.name") == "tinychat")
            #expect(metadata.int("general.file_type") == 32)
            #expect(metadata.int("llama.context_length") == 1024)
            #expect(metadata.int("llama.embedding_length") == 256)
            #expect(metadata.int("llama.block_count") == 6)
            #expect(metadata.int("llama.feed_forward_length") == 704)
            #expect(metadata.int("llama.attention.head_count") == 8)
            #expect(metadata.int("llama.attention.head_count_kv") == 4)
            #expect(metadata.int("llama.rope.dimension_count") == 32)
            #expect(metadata.float("llama.rope.freq_base") == 10_000)
            #expect(metadata.float("llama.attention.layer_norm_rms_epsilon") == Double(Float(1e-5)))
            #expect(metadata.int("llama.vocab_size") == 4096)
            let identity = try source.sha256()
            #expect(metadata.string("mqf.source.sha256") == identity)
            for name in HuggingFaceFiles.names {
                let (got, want) = (try file.textFile(name), try source.textFile(name))
                #expect(got == want, "\(name)")
            }
        }
    }

    @Test("embedding and head are q8_0 beside 4 bits, unless asked for")
    func defaults() throws {
        var options = ConvertOptions()
        options.dryRun = true
        func types(_ options: ConvertOptions) throws -> [TensorType?] {
            let report = try convert(source: tinychatFolder().path, destination: "unused.mqf", options: options)
            let types = Dictionary(uniqueKeysWithValues: report.tensors.map { ($0.name, $0.type) })
            return ["model.embed_tokens", "lm_head", "model.layers.5.mlp.down_proj", "model.norm"].map {
                types[$0 + ".weight"]
            }
        }
        #expect(try types(options) == [.q8_0, .q8_0, .iq4_nl, .f32])
        options.type = .bf16
        #expect(try types(options) == [.bf16, .bf16, .bf16, .f32])
        options.type = .q4_0
        options.headType = .f16
        options.embedType = .nf4
        #expect(try types(options) == [.nf4, .f16, .q4_0, .f32])
    }

    @Test("a dry run plans the same size and writes nothing")
    func dryRun() throws {
        try withTemporaryFolder { folder in
            var options = ConvertOptions()
            options.type = .f16
            options.dryRun = true
            let path = folder.appendingPathComponent("t.mqf").path
            let plan = try convert(source: tinychatFolder().path, destination: path, options: options)
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(left == [])
            options.dryRun = false
            _ = try convert(source: tinychatFolder().path, destination: path, options: options)
            let file = try MQFFile(path: path)
            #expect(plan.byteCount == file.byteCount)
            #expect(plan.tensors.map(\.name) == file.tensorNames)
        }
    }

    @Test("progress rises to the end; an interruption leaves nothing")
    func progress() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("t.mqf").path
            let seen = Mutex<[Int]>([])
            var options = ConvertOptions()
            options.type = .bf16
            options.threads = 2
            let report = try convert(
                source: tinychatFolder().path, destination: path, options: options,
                progress: { progress in
                    seen.withLock { $0.append(progress.doneBytes) }
                })
            let values = seen.withLock { $0 }
            #expect(values == values.sorted())
            #expect(values.last == report.sourceByteCount)

            options.overwrite = true
            let before = try sha256Hex(ofFile: path)
            let text = errorText(.interrupted) {
                _ = try convert(
                    source: tinychatFolder().path, destination: path, options: options, isInterrupted: { true })
            }
            #expect(text == "interrupted; \(path) was not written")
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(left == ["t.mqf"])
            let after = try sha256Hex(ofFile: path)
            #expect(after == before)
        }
    }

    @Test("an existing destination is refused")
    func existing() throws {
        try withTemporaryFolder { folder in
            let path = try write([1], to: folder, "t.mqf")
            let text = errorText(.usage) {
                _ = try convert(source: tinychatFolder().path, destination: path, options: ConvertOptions())
            }
            #expect(text == "\(path) exists; choose another name or pass `overwrite`")
        }
    }
}
