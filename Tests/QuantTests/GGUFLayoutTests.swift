import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Names and orders of tensors in GGUF files")
struct GGUFLayoutTests {
    @Test("rows lie where llama.cpp's converter puts them")
    func orders() {
        func places(_ order: GGUFRowOrder, _ count: Int) -> [Int] {
            (0..<count).map { order.place(of: $0, count: count) }
        }
        #expect(places(.asStored, 4) == [0, 1, 2, 3])
        // A head's halves a b c and x y z are a x b y c z.
        #expect(places(.pairs(heads: 2), 12) == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11])
        // Two heads of two: q0 q0 k0 k0 v0 v0 q1 q1 … are q0 q0 q1 q1 k0 k0 ….
        #expect(places(.blocksOfHeads(2), 12) == [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11])
        for order in [GGUFRowOrder.pairs(heads: 3), .blocksOfHeads(4), .blocksOfHeads(1)] {
            #expect(places(order, 24).sorted() == Array(0..<24))
        }
        #expect(GGUFRowOrder.pairs(heads: .max).divisor == nil && GGUFRowOrder.blocksOfHeads(0).divisor == nil)
    }

    /// The tensors of a file, and its error.
    private func open(_ file: GGUFBytes) throws -> (values: [String: [Float]], error: String) {
        try withTemporaryFolder { folder in
            let path = folder.path + "/m.gguf"
            try file.bytes.write(to: URL(fileURLWithPath: path))
            var values: [String: [Float]] = [:]
            do {
                for tensor in try GGUFWeights(path: path).tensors {
                    var raw: [UInt8] = []
                    var target = [Float](repeating: 0, count: tensor.rows * tensor.columns)
                    try tensor.read(rows: 0..<tensor.rows, into: &target, raw: &raw)
                    values[tensor.name] = target
                }
                return (values, "")
            } catch let error as MeraserError {
                #expect(error.kind == .badInput)
                return (values, error.message)
            }
        }
    }

    private func floats(_ values: [Float]) -> Data { Data(plainBytes(values, type: .f32)) }

    @Test("queries, keys and values in one tensor (--fuse-qkv) come apart, biases too")
    func fusedQueries() throws {
        func file(rows: Int) -> GGUFBytes {
            var file = GGUFBytes()
            // Two heads of two, one of keys.
            file.setLlama(hidden: 4, heads: 2)
            file.set("llama.attention.head_count_kv", UInt32(1))
            file.add("blk.0.attn_qkv.weight", [rows, 4], type: 0, floats((0..<4 * rows).map { Float($0 / 4) }))
            file.add("blk.0.attn_qkv.bias", [rows], type: 0, floats((0..<rows).map { Float($0) }))
            file.add("blk.0.attn_output.bias", [4], type: 0, Data(count: 16))
            return file
        }
        let (values, error) = try open(file(rows: 8))
        #expect(error.isEmpty, "\(error)")
        for (name, rows) in [("q", [0, 1, 2, 3]), ("k", [4, 5]), ("v", [6, 7])] as [(String, [Float])] {
            #expect(values["model.layers.0.self_attn.\(name)_proj.bias"] == rows)
            #expect(values["model.layers.0.self_attn.\(name)_proj.weight"] == rows.flatMap { [$0, $0, $0, $0] })
        }
        for rows in [4, 7, 12] {
            #expect(try open(file(rows: rows)).error.contains("expected 8 rows"), "\(rows)")
        }
    }

    @Test("norms of 1 + w lose the 1, norms with weights for each head are rows of a matrix")
    func norms() throws {
        var stable = GGUFBytes()
        stable.set("general.architecture", "stablelm")
        for (key, value) in [
            ("block_count", 1), ("context_length", 8), ("embedding_length", 4), ("feed_forward_length", 4),
            ("attention.head_count", 2), ("rope.dimension_count", 2),
        ] {
            stable.set("stablelm.\(key)", UInt32(value))
        }
        stable.set("stablelm.attention.layer_norm_epsilon", Float(1e-5))
        stable.add("token_embd.weight", [1, 4], type: 0, Data(count: 16))
        stable.add("blk.0.attn_q_norm.weight", [2, 2], type: 0, floats([1, 2, 3, 4]))
        let values = try open(stable).values
        #expect(values["model.layers.0.self_attn.q_layernorm.norms.0.weight"] == [1, 2])
        #expect(values["model.layers.0.self_attn.q_layernorm.norms.1.weight"] == [3, 4])

        #expect(try open(gemma()).values["model.norm.weight"] == [-1, 0, 0.5, 1])
    }

    private func gemma(_ change: (inout GGUFBytes) -> Void = { _ in }) -> GGUFBytes {
        var file = GGUFBytes()
        file.set("general.architecture", "gemma3")
        for (key, value) in [
            ("context_length", 8), ("embedding_length", 4), ("feed_forward_length", 4), ("attention.head_count", 1),
        ] {
            file.set("gemma3.\(key)", UInt32(value))
        }
        file.set("gemma3.attention.layer_norm_rms_epsilon", Float(1e-6))
        file.add("token_embd.weight", [1, 4], type: 0, Data(count: 16))
        file.add("output_norm.weight", [4], type: 0, floats([0, 1, 1.5, 2]))
        var changed = file
        change(&changed)
        if changed.bytes == file.bytes { file.set("gemma3.block_count", UInt32(1)) } else { file = changed }
        return file
    }

    private func windows(_ change: (inout GGUFBytes) -> Void) throws -> [Int] {
        try withTemporaryFolder { folder in
            let path = folder.path + "/m.gguf"
            try gemma {
                $0.set("gemma3.block_count", UInt32(7))
                change(&$0)
            }.bytes.write(to: URL(fileURLWithPath: path))
            return try DecoderSpec(
                config: ConfigReader(of: try GGUFTextFiles(try GGUFFile(path: path)))
            ).layers.map(\.attention.window)
        }
    }

    @Test("which layers of Gemma 3 have a window: by period, five of six where nothing is said; none without a window")
    func windows() throws {
        #expect(try windows { _ in } == [0, 0, 0, 0, 0, 0, 0])
        #expect(try windows { $0.set("gemma3.attention.sliding_window", UInt32(3)) } == [3, 3, 3, 3, 3, 0, 3])
        #expect(
            try windows {
                $0.set("gemma3.attention.sliding_window", UInt32(3))
                $0.set("gemma3.attention.sliding_window_pattern", UInt32(2))
            } == [3, 0, 3, 0, 3, 0, 3])
    }

    @Test("what an architecture has no key for, and a number of layers that no model has, are refused by name")
    func refusals() throws {
        let cap = try open(
            gemma { file in
                file.set("gemma3.block_count", UInt32(1))
                file.set("gemma3.attn_logit_softcapping", Float(50))
            }
        ).error
        #expect(cap.contains("the key gemma3.attn_logit_softcapping is not supported"), "\(cap)")
        let layers = try open(gemma { $0.set("gemma3.block_count", UInt32.max) }).error
        #expect(layers.contains("gemma3.block_count is 4294967295, expected at most 1024"), "\(layers)")
        let missing = try open(gemma { $0.add("blk.0.attn_qkv.weight", [1, 4], type: 0, Data(count: 16)) }).error
        #expect(missing.contains("gemma3.block_count is missing"), "\(missing)")
        let wrong = try open(
            gemma { file in
                file.set("gemma3.block_count", UInt32(1))
                file.set("gemma3.rope.dimension_count", UInt32(2))
            }
        ).error
        #expect(wrong.contains("gemma3.rope.dimension_count is 2, expected 4"), "\(wrong)")
    }
}
