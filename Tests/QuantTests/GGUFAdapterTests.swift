import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

/// An adapter file of the tiny checkpoint's architecture with some keys and tensors.
private func adapter(
    keys: [(String, String)] = [
        ("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", "llama"),
    ],
    alpha: Float? = 6, _ tensors: [(name: String, shape: [Int], values: [Float])]
) -> Data {
    var file = GGUFBytes()
    for (key, value) in keys { file.set(key, value) }
    if let alpha { file.set("adapter.lora.alpha", alpha) }
    for tensor in tensors {
        file.add(tensor.name, tensor.shape, type: 0, tensor.values.withUnsafeBytes { Data($0) })
    }
    return file.bytes
}

private func pair(_ name: String, rank: Int, n: Int, k: Int = 64) -> [(name: String, shape: [Int], values: [Float])] {
    [
        ("\(name).lora_a", [rank, k], (0..<rank * k).map { Float($0) }),
        ("\(name).lora_b", [n, rank], (0..<n * rank).map { Float($0) }),
    ]
}

/// The tiny checkpoint's description: 4 heads of 16 and 2 for keys, hidden 64.
private func tinySpec(_ changes: [String: String] = [:]) throws -> DecoderSpec {
    let config = TinyCheckpoint().config.merging(changes) { $1 }.map { "\"\($0.key)\": \($0.value)" }
    return try DecoderSpec(json: Array("{\(config.joined(separator: ", "))}".utf8), file: "config.json")
}

@Suite("GGUF adapters")
struct GGUFAdapterTests {
    private func message(_ bytes: Data, _ folder: URL, for spec: DecoderSpec? = nil) throws -> String {
        let path = try write(Array(bytes), to: folder, "a.gguf")
        do {
            _ = try AdapterFile(path: path, for: spec ?? tinySpec())
            return "no error"
        } catch let error as MeraserError {
            return error.kind == .badInput ? error.message : "kind \(error.kind)"
        }
    }

    @Test("ranks and scales are each module's own, and the rows of q and k come back into Hugging Face's order")
    func read() throws {
        try withTemporaryFolder { folder in
            let tensors =
                pair("blk.0.attn_k.weight", rank: 2, n: 32) + pair("blk.0.ffn_down.weight", rank: 3, n: 64, k: 96)
            let path = try write(Array(adapter(tensors)), to: folder, "a.gguf")
            let file = try AdapterFile(path: path, for: tinySpec())
            #expect(file.modules.map(\.path) == ["model.layers.0.mlp.down_proj", "model.layers.0.self_attn.k_proj"])
            #expect(file.modules.map(\.rank) == [3, 2] && file.modules.map(\.scale) == [2, 3])
            #expect(file.sha256 == (try sha256Hex(ofFile: path)))
            #expect(try file.modules[0].b.floats() == tensors[3].values, "rows that are not rotated stay")
            #expect(try file.modules[1].a.floats() == tensors[0].values)
            // w.reshape(2, 2, 8, r).swapaxes(1, 2) went into the file: its row 16h + 2i + j is row 16h + 8j + i.
            let b = try file.modules[1].b.floats()
            for row in 0..<32 {
                let (head, half, i) = (row / 16, row / 8 % 2, row % 8)
                let stored = 16 * head + 2 * i + half
                #expect(b[2 * row] == Float(2 * stored) && b[2 * row + 1] == Float(2 * stored + 1))
            }
            // An alpha of 0 stands for a factor of 1.
            let one = try write(Array(adapter(alpha: 0, tensors)), to: folder, "b.gguf")
            #expect(try AdapterFile(path: one, for: tinySpec()).modules.map(\.scale) == [1, 1])
        }
    }

    @Test("modules that the file has in one tensor have one A and each its rows of B")
    func fused() throws {
        try withTemporaryFolder { folder in
            let tensors = pair("blk.0.attn_qkv.weight", rank: 1, n: 128)
            let file = try AdapterFile(path: write(Array(adapter(tensors)), to: folder, "a.gguf"), for: tinySpec())
            let names = ["k_proj", "q_proj", "v_proj"]
            #expect(file.modules.map(\.path) == names.map { "model.layers.0.self_attn.\($0)" })
            for module in file.modules { #expect(try module.a.floats() == tensors[0].values) }
            #expect(try file.modules[0].b.floats().min() == 64 && file.modules[0].b.floats().max() == 95)
            #expect(try file.modules[2].b.floats() == (96..<128).map { Float($0) }, "v is not rotated")
        }
    }

    @Test("what is no adapter of the model is one clear line")
    func bad() throws {
        try withTemporaryFolder { folder in
            let good = pair("blk.0.attn_q.weight", rank: 2, n: 64)
            let keys = [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", "llama")]
            func without(_ key: String, _ value: String? = nil) -> [(String, String)] {
                keys.compactMap { $0.0 == key ? value.map { (key, $0) } : $0 }
            }
            let cases: [(Data, String)] = [
                (
                    adapter(keys: without("general.type", "model"), good),
                    "'general.type' is 'model', expected 'adapter'"
                ),
                (adapter(keys: without("general.type"), good), "'general.type' is missing"),
                (adapter(keys: without("adapter.type", "ia3"), good), "'adapter.type' is 'ia3'"),
                (
                    adapter(keys: without("general.architecture", "qwen2"), good),
                    "is 'qwen2', expected that of the model"
                ),
                (adapter(alpha: nil, good), "'adapter.lora.alpha' is missing"),
                (adapter(alpha: .nan, good), "'adapter.lora.alpha' is missing or no number"),
                (adapter(keys: keys + [("adapter.alora.invocation_tokens", "x")], good), "only some tokens switch on"),
                (adapter([good[0]]), "has no lora_b"), (adapter([good[1]]), "has no lora_a"),
                (adapter([]), "no tensors"),
                (adapter([("blk.0.attn_q.weight", [2], [1, 2])]), "is no factor of a LoRA"),
                (adapter(pair("blk.1.attn_q.weight", rank: 2, n: 64)), "is on no module that"),
                (adapter(pair("token_embd.weight", rank: 2, n: 64)), "is on no module"),
                (adapter(pair("blk.0.attn_q.weight", rank: 2, n: 32)), "belongs to another model"),
                (
                    adapter([good[0], (good[1].name, [64, 1], [Float](repeating: 1, count: 64))]),
                    "expected [outputs, 2]"
                ),
                (adapter([good[0], (good[1].name, [64, 2], [Float](repeating: .nan, count: 128))]), "not finite"),
            ]
            for (bytes, expected) in cases {
                let text = try message(bytes, folder)
                #expect(text.contains(expected) && text.contains("a.gguf"), "\(text)")
            }
            let path = try write(Array(adapter(good)), to: folder, "a.gguf")
            #expect(throws: MeraserError.self, "its rows need a model") { try AdapterFile(path: path) }
        }
    }

    @Test("a cut or flipped file never traps")
    func corrupted() throws {
        try withTemporaryFolder { folder in
            let whole = adapter(pair("blk.0.attn_q.weight", rank: 1, n: 64))
            for length in stride(from: 0, to: whole.count, by: 13) { _ = try message(whole.prefix(length), folder) }
            for index in whole.indices {
                var bytes = whole
                bytes[index] ^= 0x10
                _ = try message(bytes, folder)
            }
        }
    }
}
