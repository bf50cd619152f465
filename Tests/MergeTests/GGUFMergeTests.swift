import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// A GGUF file being put together, by the letter of ggml's gguf.h.
private struct GGUFBytes {
    private var keys = Data()
    private var keyCount = 0
    private var infos = Data()
    private var tensorCount = 0
    private var data = Data()

    private static func integer<T: FixedWidthInteger>(_ value: T) -> Data {
        withUnsafeBytes(of: value.littleEndian) { Data($0) }
    }

    private static func text(_ value: String) -> Data { integer(UInt64(value.utf8.count)) + Data(value.utf8) }

    mutating func set(_ key: String, _ value: UInt32) {
        keys += Self.text(key) + Self.integer(UInt32(4)) + Self.integer(value)
        keyCount += 1
    }

    mutating func set(_ key: String, wide value: UInt64) {
        keys += Self.text(key) + Self.integer(UInt32(10)) + Self.integer(value)
        keyCount += 1
    }

    mutating func set(_ key: String, _ value: String) {
        keys += Self.text(key) + Self.integer(UInt32(8)) + Self.text(value)
        keyCount += 1
    }

    mutating func add(_ name: String, _ shape: [Int], type: UInt32, _ bytes: Data) {
        infos += Self.text(name) + Self.integer(UInt32(shape.count))
        for dimension in shape.reversed() { infos += Self.integer(UInt64(dimension)) }
        infos += Self.integer(type) + Self.integer(UInt64(data.count))
        tensorCount += 1
        data += bytes
        while data.count % 32 != 0 { data.append(0) }
    }

    var bytes: Data {
        var result = Data("GGUF".utf8) + Self.integer(UInt32(3))
        result += Self.integer(UInt64(tensorCount)) + Self.integer(UInt64(keyCount)) + keys + infos
        while result.count % 32 != 0 { result.append(0) }
        return result + data
    }
}

private func half(_ value: Float) -> Data { Data(plainBytes([value], type: .f16)) }

/// Two heads of four, one pair of key and value heads, 32 columns; every type that is read.
private func sample() -> (bytes: Data, expected: MergeFolders.Tensors) {
    var file = GGUFBytes()
    file.set("general.architecture", "llama")
    file.set("llama.attention.head_count", 2)
    file.set("llama.attention.head_count_kv", 1)
    var random = SeededRandom(seed: 4)
    var expected: MergeFolders.Tensors = [:]

    // q8_0: a scale of 1/2 and whole numbers. Rows of a head are interleaved: 0 2 1 3 of Hugging Face's.
    var quants: [[Int8]] = []
    var q = Data()
    for _ in 0..<8 {
        let row = (0..<32).map { _ in Int8(truncatingIfNeeded: random.next() % 255) }
        quants.append(row)
        q += half(0.5) + Data(row.map { UInt8(bitPattern: $0) })
    }
    file.add("blk.0.attn_q.weight", [8, 32], type: 8, q)
    let places = [0, 2, 1, 3, 4, 6, 5, 7]
    expected["model.layers.0.self_attn.q_proj.weight"] = (
        [8, 32], places.flatMap { quants[$0].map { 0.5 * Float($0) } }
    )

    // q4_0: weight j is the low half of byte j, weight j + 16 the high one, minus 8.
    let nibbles = (0..<16).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    file.add("blk.0.attn_v.weight", [1, 32], type: 2, half(0.25) + Data(nibbles))
    let low = nibbles.map { 0.25 * (Float($0 & 15) - 8) }
    expected["model.layers.0.self_attn.v_proj.weight"] = ([1, 32], low + nibbles.map { 0.25 * (Float($0 >> 4) - 8) })

    // iq4_nl: a codebook.
    let table: [Float] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
    file.add("blk.0.ffn_up.weight", [1, 32], type: 20, half(2) + Data(nibbles))
    expected["model.layers.0.mlp.up_proj.weight"] = (
        [1, 32], nibbles.map { 2 * table[Int($0 & 15)] } + nibbles.map { 2 * table[Int($0 >> 4)] }
    )

    for (name, theirs, type, id) in [
        ("token_embd.weight", "model.embed_tokens.weight", TensorType.f16, 1 as UInt32),
        ("output_norm.weight", "model.norm.weight", .f32, 0), ("output.weight", "lm_head.weight", .bf16, 30),
    ] {
        let shape = name == "output_norm.weight" ? [32] : [3, 32]
        let values = (0..<shape.reduce(1, *)).map { _ in Float(Int(random.next() % 64)) / 8 }
        file.add(name, shape, type: id, Data(plainBytes(values, type: type)))
        expected[theirs] = (shape, values)
    }
    return (file.bytes, expected)
}

@Test("a GGUF file merges under Hugging Face's names, rows in Hugging Face's order, every type decoded")
func mergesGGUF() throws {
    try withTemporaryFolder { folder in
        let (bytes, expected) = sample()
        try bytes.write(to: folder.appendingPathComponent("m.gguf"))
        try MergeFolders.write(
            folder.appendingPathComponent("zero"), expected.mapValues { ($0.shape, $0.values.map { _ in 0 }) })
        let store = try MergeFolders.merge(
            """
            {"merge_method": "task_arithmetic", "base_model": "FOLDER/zero", "parameters": {"weight": 1},
             "models": [{"model": "FOLDER/m.gguf"}]}
            """, in: folder)
        #expect(Set(store.tensorNames) == Set(expected.keys))
        for (name, tensor) in expected { #expect(try store.tensor(name).floats() == tensor.values, "\(name)") }
    }
}

@Test("a GGUF file alone has no config.json, and one that is cut anywhere is an error, never a crash")
func refusesBadGGUF() throws {
    try withTemporaryFolder { folder in
        let (bytes, _) = sample()
        let path = folder.appendingPathComponent("m.gguf")
        func merged() throws {
            _ = try MergeFolders.merge(
                "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"FOLDER/m.gguf\"}], \"parameters\": {\"weight\": 1}}",
                in: folder)
        }
        try bytes.write(to: path)
        #expect(mergeError(merged)?.message.contains("config.json") == true)
        for count in stride(from: 0, to: bytes.count, by: 37) {
            try bytes.prefix(count).write(to: path)
            #expect(mergeError(merged)?.kind == .badInput, "cut to \(count) bytes")
        }
        // A flipped byte may give another model, but never a crash.
        for index in stride(from: 0, to: 700, by: 3) {
            var changed = bytes
            changed[index] ^= 0x55
            try changed.write(to: path)
            #expect(mergeError(merged) != nil)
        }
    }
}

@Test(
    "numbers of a GGUF file whose products or sums overflow are bad input, never a trap",
    arguments: [
        0, 0x8000_0000, 0x2000_0000_0000_0000, 0x4000_0000_0000_0000, 0x4000_0000_0000_0001, 0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF,
    ] as [UInt64])
func overflowingGGUF(number: UInt64) throws {
    try withTemporaryFolder { folder in
        let path = folder.appendingPathComponent("m.gguf")
        func expectRefused(_ what: String, _ file: GGUFBytes) throws {
            try file.bytes.write(to: path)
            let error = #expect(throws: MeraserError.self, "\(what)") { try GGUFWeights(path: path.path) }
            #expect(error?.kind == .badInput && error?.message.hasPrefix(path.path) == true, "\(what): \(error as Any)")
        }
        func file(heads: UInt64) -> GGUFBytes {
            var file = GGUFBytes()
            file.set("general.architecture", "llama")
            file.set("llama.attention.head_count", wide: heads)
            return file
        }
        for (name, shape) in [("blk.0.attn_q.weight", [8, 32]), ("blk.0.attn_k.bias", [32])] {
            var heads = file(heads: number)
            heads.add(name, shape, type: 0, Data(count: shape.reduce(4, *)))
            try expectRefused("heads of \(name)", heads)
        }
        for type in [0, 1, 2, 8, 20, 30] as [UInt32] {
            for shape in [[1, Int(clamping: number)], [Int(clamping: number), 32], [Int(clamping: number)]] {
                var large = file(heads: 1)
                large.add("output.weight", shape, type: type, Data(count: 64))
                try expectRefused("shape \(shape) of type \(type)", large)
            }
        }
    }
}
