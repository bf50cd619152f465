import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

private func half(_ value: Float) -> Data { Data(plainBytes([value], type: .f16)) }

/// Two heads of four, one pair of key and value heads, 32 columns; every type that is read.
private func sample(hasShape: Bool = true) -> (bytes: Data, expected: MergeFolders.Tensors) {
    var file = GGUFBytes()
    if hasShape {
        file.setLlama(width: 1, heads: 2, vocabulary: nil)
    } else {
        file.set("general.architecture", "llama")
        file.set("llama.block_count", UInt32(1))
    }
    file.set("llama.attention.head_count_kv", UInt32(1))
    file.set("llama.attention.key_length", UInt32(4))
    file.set("llama.attention.value_length", UInt32(4))
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

@Test("a GGUF file whose metadata gives no config.json is no base; cut anywhere it is an error, never a crash")
func refusesBadGGUF() throws {
    try withTemporaryFolder { folder in
        let (bytes, _) = sample(hasShape: false)
        let path = folder.appendingPathComponent("m.gguf")
        func merged() throws {
            _ = try MergeFolders.merge(
                "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"FOLDER/m.gguf\"}], \"parameters\": {\"weight\": 1}}",
                in: folder)
        }
        try bytes.write(to: path)
        let missing = "\(path.path): llama.embedding_length is missing, expected a whole number"
        #expect(mergeError(merged)?.message == missing)
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
            file.setLlama(heads: heads)
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

/// A Llama with one tensor of that name and type, `bytes` of it.
private func single(_ name: String, _ shape: [Int], type: UInt32, _ bytes: Data) -> Data {
    var file = GGUFBytes()
    file.setLlama()
    file.add(name, shape, type: type, bytes)
    return file.bytes
}

private func openError(_ bytes: Data, in folder: URL) throws -> MeraserError? {
    let path = folder.appendingPathComponent("m.gguf")
    try bytes.write(to: path)
    return mergeError { _ = try GGUFWeights(path: path.path) }
}

@Test("every ggml type is read or refused by its name; a scale that is not finite is refused by its tensor")
func namesGGMLTypes() throws {
    try withTemporaryFolder { folder in
        for type in GGMLType.allCases {
            let bytes = Data(repeating: 0, count: type.blockBytes * 256 / type.blockElements)
            let error = try openError(single("blk.0.attn_v.weight", [1, 256], type: type.rawValue, bytes), in: folder)
            if type.reading == .not {
                #expect(error?.kind == .badInput && error?.message.contains(type.name) == true, "\(type)")
            } else {
                #expect(error == nil, "\(type)")
                let short = bytes.dropLast(bytes.count > 32 ? 33 : 1)
                let cut = try openError(
                    single("blk.0.attn_v.weight", [1, 256], type: type.rawValue, short), in: folder)
                #expect(cut?.message.contains("incomplete") == true, "\(type)")
            }
            if type.blockElements > 1, type.reading != .not {
                let odd = try openError(single("blk.0.attn_v.weight", [1, 48], type: type.rawValue, bytes), in: folder)
                #expect(odd?.message.contains("multiple of \(type.blockElements)") == true, "\(type)")
            }
        }
        let unknown = try openError(single("output.weight", [1, 32], type: 77, Data(count: 64)), in: folder)
        #expect(unknown?.message.contains("number 77") == true)

        // d of the second block of a Q4_K row is infinite.
        var q4 = Data(repeating: 0x11, count: 288)
        q4.replaceSubrange(144..<146, with: [0x00, 0x7C])
        try single("blk.0.attn_v.weight", [1, 512], type: 12, q4).write(to: folder.appendingPathComponent("m.gguf"))
        try MergeFolders.write(
            folder.appendingPathComponent("zero"),
            [
                "model.embed_tokens.weight": ([1, 32], Array(repeating: 0, count: 32)),
                "model.layers.0.self_attn.v_proj.weight": ([1, 512], Array(repeating: 0, count: 512)),
            ])
        let error = mergeError {
            _ = try MergeFolders.merge(
                """
                {"merge_method": "linear", "parameters": {"weight": 1},
                 "models": [{"model": "FOLDER/zero"}, {"model": "FOLDER/m.gguf"}]}
                """, in: folder)
        }
        #expect(error?.kind == .badInput)
        #expect(error?.message.contains("v_proj.weight' has the value") == true, "\(error?.message ?? "")")
    }
}

@Test(
    "experts and what no Llama has are refused by name",
    arguments: [
        ("blk.0.ffn_gate_exps.weight", "experts"), ("blk.0.ffn_gate_inp.weight", "experts"),
        ("blk.0.ffn_up.3.weight", "experts"), ("blk.0.ffn_down_shexp.weight", "experts"),
        ("blk.0.attn_qkv.bias", "no counterpart"), ("blk.0.ssm_in.weight", "no counterpart"),
        ("blk.1.attn_q.weight", "no counterpart"), ("rope_factors_long.weight", "rope_factors_long.weight"),
    ])
func refusesTensors(name: String, word: String) throws {
    try withTemporaryFolder { folder in
        let error = try openError(single(name, [1, 32], type: 0, Data(count: 128)), in: folder)
        #expect(error?.kind == .badInput)
        #expect(
            error?.message.contains(name) == true && error?.message.contains(word) == true, "\(error?.message ?? "")")
        var mixture = GGUFBytes()
        mixture.set("general.architecture", "llama")
        mixture.set("llama.expert_count", UInt32(8))
        #expect(try openError(mixture.bytes, in: folder)?.message.contains("llama.expert_count") == true)
    }
}
