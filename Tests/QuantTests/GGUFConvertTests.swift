import CKernels
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Quant

/// One layer of Llama's layout in several of ggml's types: hidden 64, two heads of 32, one of keys, 96 channels.
struct SmallGGUF {
    static let types: [(name: String, shape: [Int], type: GGMLType)] = [
        ("token_embd.weight", [40, 64], .q8_0), ("output_norm.weight", [64], .f32),
        ("blk.0.attn_norm.weight", [64], .f32), ("blk.0.attn_q.weight", [64, 64], .q8_0),
        ("blk.0.attn_k.weight", [32, 64], .q4_0), ("blk.0.attn_v.weight", [32, 64], .iq4_nl),
        ("blk.0.attn_output.weight", [64, 64], .f16), ("blk.0.ffn_norm.weight", [64], .f32),
        ("blk.0.ffn_gate.weight", [96, 64], .q4_1), ("blk.0.ffn_up.weight", [96, 64], .bf16),
        ("blk.0.ffn_down.weight", [64, 96], .q5_0),
    ]
    var file = GGUFBytes()

    init(spoilt: String? = nil) {
        var random = SeededRandom(seed: 11)
        file.set("general.architecture", "llama")
        for (key, value) in [
            ("block_count", 1), ("context_length", 64), ("embedding_length", 64), ("feed_forward_length", 96),
            ("attention.head_count", 2), ("attention.head_count_kv", 1),
        ] {
            file.set("llama.\(key)", UInt32(value))
        }
        file.set("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
        for (name, shape, type) in Self.types {
            var bytes = Data()
            for _ in 0..<shape.reduce(1, *) / type.blockElements {
                if let plain = type.plain {
                    bytes += Data(plainBytes([Float(Int(random.next() % 64)) / 32 - 1], type: plain))
                } else {
                    var block = (0..<type.blockBytes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                    let scale = Float16(0.01 * Double(random.next() % 8 + 1)).bitPattern
                    for place in type == .q4_1 ? [0, 2] : [0] {
                        (block[place], block[place + 1]) = (UInt8(scale & 255), UInt8(scale >> 8))
                    }
                    if name == spoilt { (block[0], block[1]) = (0, 0x7C) }
                    bytes += Data(block)
                }
            }
            file.add(name, shape, type: type.rawValue, bytes)
        }
    }
}

@Suite("A GGUF file as a model")
struct GGUFConvertTests {
    /// The file and its conversion.
    private func converted(_ options: ConvertOptions, _ body: (GGUFWeights, MQFFile, ConvertReport) throws -> Void)
        throws
    {
        try withTemporaryFolder { folder in
            let path = folder.path + "/m.gguf"
            try SmallGGUF().file.bytes.write(to: URL(fileURLWithPath: path))
            let report = try convert(source: path, destination: folder.path + "/m.mqf", options: options)
            let file = try MQFFile(path: folder.path + "/m.mqf")
            try file.verify()
            try body(try GGUFWeights(path: path), file, report)
        }
    }

    private func floats(_ tensor: GGUFTensor) throws -> [Float] {
        var raw: [UInt8] = []
        return try [Float](unsafeUninitializedCapacity: tensor.rows * tensor.columns) { buffer, count in
            if let start = buffer.baseAddress { try tensor.read(rows: 0..<tensor.rows, into: start, raw: &raw) }
            count = tensor.rows * tensor.columns
        }
    }

    @Test("types that MQF has are taken over bit for bit, q and k in Hugging Face's order; others become q8_0")
    func types() throws {
        for threads in [1, 3] {
            var options = ConvertOptions()
            options.threads = threads
            try converted(options) { weights, file, _ in
                for tensor in weights.tensors {
                    let view = try file.tensor(tensor.name)
                    let (wanted, got) = (try floats(tensor), view.floats())
                    switch tensor.type.reading {
                    case .exactly(let type):
                        #expect(view.info.type == type, "\(tensor.name)")
                        #expect(got == wanted, "\(tensor.name)")
                    case .requantizing:
                        #expect(view.info.type == .q8_0, "\(tensor.name)")
                        #expect(relativeL2(got, wanted) < 0.005, "\(tensor.name)")
                    case .not: Issue.record("\(tensor.name) is not read")
                    }
                }
            }
        }
    }

    @Test("a type that was asked for holds for all matrices, whatever the file has")
    func chosenType() throws {
        var options = ConvertOptions()
        options.type = .bf16
        try converted(options) { weights, file, report in
            for tensor in weights.tensors where tensor.shape.count == 2 {
                let view = try file.tensor(tensor.name)
                #expect(view.info.type == .bf16)
                #expect(relativeL2(view.floats(), try floats(tensor)) < 0.004, "\(tensor.name)")
            }
            #expect(report.sourceByteCount == weights.tensors.reduce(0) { $0 + $1.byteCount })
        }
    }

    @Test("a scale that is not finite is named, exact or requantized, and nothing is left")
    func spoilt() throws {
        for (name, theirs) in [("blk.0.attn_k.weight", "k_proj"), ("blk.0.ffn_gate.weight", "gate_proj")] {
            try withTemporaryFolder { folder in
                let path = folder.path + "/m.gguf"
                try SmallGGUF(spoilt: name).file.bytes.write(to: URL(fileURLWithPath: path))
                let text = errorText {
                    _ = try convert(source: path, destination: folder.path + "/m.mqf", options: ConvertOptions())
                }
                #expect(text.contains(theirs) && text.contains("expected finite weights"), "\(text)")
                let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
                #expect(left == ["m.gguf"])
            }
        }
    }

    @Test("opened as a model it lies in the cache, once for its contents, until that is cleaned")
    func cache() throws {
        try withTemporaryFolder { folder in
            let said = Mutex<[String]>([])
            let cache = ModelCache(folder: folder.path + "/cache") { line in said.withLock { $0.append(line) } }
            for name in ["a.gguf", "b.gguf"] {
                try SmallGGUF().file.bytes.write(to: folder.appendingPathComponent(name))
            }
            for name in ["a.gguf", "b.gguf"] {
                let store = try openWeightStore(path: "\(folder.path)/\(name)", cache: cache)
                #expect(try DecoderSpec(of: store).head.isTied)
                #expect(store.tensorNames.count == SmallGGUF.types.count)
            }
            let notices = said.withLock { $0 }
            #expect(notices.count == 2 && notices[0].contains("converting") && notices[1].contains("read from"))
            #expect(cache.entries().map(\.name) == ["a.gguf"])
            try cache.clean()
            #expect(cache.entries().isEmpty)
        }
    }

    @Test("opened exactly it holds every number of the file, and is another file in the cache than the usual one")
    func exactly() throws {
        try withTemporaryFolder { folder in
            let cache = ModelCache(folder: folder.path + "/cache")
            let path = folder.path + "/m.gguf"
            try SmallGGUF().file.bytes.write(to: URL(fileURLWithPath: path))
            let weights = try GGUFWeights(path: path)
            let store = try openWeightStore(path: path, exactly: true, cache: cache)
            for tensor in weights.tensors {
                #expect(try store.tensor(tensor.name).floats() == floats(tensor), "\(tensor.name)")
            }
            let isRequantized = weights.tensors.contains {
                if case .requantizing = $0.type.reading { true } else { false }
            }
            _ = try openWeightStore(path: path, cache: cache)
            #expect(cache.entries().count == (isRequantized ? 2 : 1))
        }
    }
}
