import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// A Llama of one layer as a GGUF file, f32, without a tokenizer.
private func gguf(seed: UInt64) -> [UInt8] {
    var file = GGUFBytes()
    file.set("general.architecture", "llama")
    for (key, value) in [
        ("block_count", 1), ("context_length", 64), ("embedding_length", 32), ("feed_forward_length", 24),
        ("attention.head_count", 2), ("attention.head_count_kv", 1),
    ] { file.set("llama.\(key)", UInt32(value)) }
    file.set("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
    var random = SeededRandom(seed: seed)
    for (name, shape) in [
        ("token_embd", [16, 32]), ("output", [16, 32]), ("output_norm", [32]), ("blk.0.attn_norm", [32]),
        ("blk.0.attn_q", [32, 32]), ("blk.0.attn_k", [16, 32]), ("blk.0.attn_v", [16, 32]),
        ("blk.0.attn_output", [32, 32]), ("blk.0.ffn_norm", [32]), ("blk.0.ffn_gate", [24, 32]),
        ("blk.0.ffn_up", [24, 32]), ("blk.0.ffn_down", [32, 24]),
    ] {
        let values = random.gaussians(shape.reduce(1, *), scale: 0.1)
        file.add("\(name).weight", shape, type: 0, Data(plainBytes(values, type: .f32)))
    }
    return Array(file.bytes)
}

/// All elements of a tensor.
private func values(_ name: String, of source: any TensorSource) throws -> [Float] {
    let (entry, rows) = (try source.tensorEntry(name), try source.rows(of: name))
    var (values, raw) = ([Float](repeating: 0, count: entry.elementCount), [UInt8]())
    try values.withUnsafeMutableBufferPointer {
        try rows.read(rows: 0..<entry.rows, into: #require($0.baseAddress), raw: &raw)
    }
    return values
}

@Test("a GGUF file, a folder of torch.save and a cache folder merge, each of them as the base too")
func mergesEverySource() throws {
    try withTemporaryFolder { folder in
        let file = try write(gguf(seed: 1), to: folder, "m.gguf")
        let pickles = packageRoot().appendingPathComponent("Tests/QuantTests/Fixtures/pytorch").path
        let cache = folder.appendingPathComponent("models--org--m")
        let snapshot = cache.appendingPathComponent("snapshots/abc")
        try FileManager.default.createDirectory(at: snapshot, withIntermediateDirectories: true)
        for name in ["config.json", "model.safetensors"] {
            try FileManager.default.createSymbolicLink(
                atPath: snapshot.path + "/" + name, withDestinationPath: "\(pickles)/twin/\(name)")
        }
        let models = [file, pickles, cache.path]
        let sources = try models.map { try openTensorSource(path: $0) }
        for (base, path) in models.enumerated() {
            let weights = [0.5, 0.25, 0.25]
            let list = zip(models, weights).map { "{\"model\": \"\($0)\", \"parameters\": {\"weight\": \($1)}}" }
            let order = [list[base]] + list.indices.filter { $0 != base }.map { list[$0] }
            let store = try MergeFolders.merge(
                "{\"merge_method\": \"linear\", \"dtype\": \"float32\", \"models\": [\(order.joined(separator: ", "))]}",
                in: folder, out: "out-\(base)")
            let config = try store.config().json
            #expect(config["hidden_size"]?.int == 32 && config["torch_dtype"]?.string == "float32", "\(path)")
            #expect(store.tensorNames == sources[0].tensorNames.sorted(), "\(path)")
            for name in store.tensorNames {
                let parts = try sources.map { try values(name, of: $0) }
                let wanted = parts[0].indices.map { 0.5 * parts[0][$0] + 0.25 * parts[1][$0] + 0.25 * parts[2][$0] }
                expectClose(try store.tensor(name).floats(), wanted, absolute: 1e-6, "\(path): \(name)")
            }
        }
    }
}

@Test("a GGUF file alone makes a folder and an MQF file with its numbers")
func mergesOneGGUF() throws {
    try withTemporaryFolder { folder in
        let file = try write(gguf(seed: 2), to: folder, "m.gguf")
        let source = try openTensorSource(path: file)
        for out in ["out", "out.mqf"] {
            let recipe = try MergeFolders.recipe(
                """
                {"merge_method": "passthrough", "slices": [{"sources": [{"model": "FOLDER/m.gguf", "layer_range": [0, 1]}]}]}
                """, in: folder)
            var options = MergeOptions()
            options.conversion.type = .f32
            let path = folder.appendingPathComponent(out).path
            let report = try mergeModels(recipe, destination: path, options: options)
            #expect(report.warnings.filter { !$0.contains("tokenizer") }.isEmpty, "\(report.warnings)")
            let store = try openWeightStore(path: path)
            #expect(try DecoderSpec(of: store).hiddenSize == 32)
            for name in source.tensorNames {
                #expect(try store.tensor(name).floats() == values(name, of: source), "\(name)")
            }
        }
    }
}
