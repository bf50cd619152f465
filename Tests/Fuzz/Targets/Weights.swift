import Base
import Foundation
import Model
import Quant
import TestSupport

extension FuzzTarget {
    /// Readers of weights.
    static let weights = [mqf, safetensors, index, gguf, pyTorch, packed]

    /// The checksums of header, metadata and directory are made right first: what is behind them is to be reached.
    private static let mqf = FuzzTarget(
        "mqf", maximumLength: 12288,
        seeds: { scratch in
            [
                try scratch.made("seed.mqf") { path in
                    var metadata = Metadata()
                    metadata["general.name"] = .string("tiny")
                    metadata["mqf.file.config.json"] = .string("{}")
                    metadata["list"] = .array(.uint32([1, 2]))
                    let tensors = [
                        TensorDeclaration(name: "a", type: .f32, shape: [3]),
                        TensorDeclaration(name: "b", type: .q8_0, shape: [2, 32]),
                    ]
                    let writer = try MQFWriter(path: path, metadata: metadata, tensors: tensors)
                    for (index, tensor) in writer.tensors.enumerated() {
                        try [UInt8](repeating: 0, count: tensor.byteCount).withUnsafeBytes {
                            try writer.write(tensor: index, at: 0, $0)
                        }
                    }
                    try writer.finish()
                }
            ]
        },
        read: { bytes, scratch in
            let path = try scratch.file("m.mqf", withRightChecksums(bytes))
            let file = try MQFFile(path: path)
            for name in file.files.map(\.name) { _ = try file.textFile(name) }
            try readAll(file)
            try file.verify()
        })

    private static let safetensors = FuzzTarget(
        "safetensors",
        seeds: { scratch in
            [
                try scratch.made("seed.safetensors") {
                    try writeSafetensors(
                        path: $0,
                        floats: [("a", [3], [1, 2, 3]), ("b.weight", [2, 2], [1, 2, 3, 4])], metadata: ["format": "pt"])
                }
            ]
        },
        read: { bytes, scratch in try readAll(openTensorSource(path: scratch.file("m.safetensors", bytes))) })

    private static let index = FuzzTarget(
        "index",
        texts: [
            #"{"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#
        ],
        read: { bytes, scratch in
            for (name, tensor) in [("1", "a"), ("2", "b")] {
                let shard = "index/model-\(name).safetensors"
                if access("\(scratch.path)/\(shard)", R_OK) != 0 {
                    _ = try scratch.file(
                        shard,
                        Array(#"{"\#(tensor)":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.utf8).framed
                            + [UInt8](repeating: 0, count: 8))
                }
            }
            _ = try scratch.file("index/model.safetensors.index.json", bytes)
            let source = try openTensorSource(path: "\(scratch.path)/index")
            try readAll(source)
            _ = try source.sha256()
        })

    private static let gguf = FuzzTarget(
        "gguf", maximumLength: 8192,
        seeds: { _ in
            var model = GGUFBytes()
            model.setLlama()
            var spoken = GGUFBytes()
            spoken.set("tokenizer.ggml.model", "gpt2")
            spoken.set("tokenizer.ggml.pre", "qwen2")
            spoken.set("tokenizer.ggml.tokens", ["a", "b", "ab", "<e>"])
            spoken.set("tokenizer.ggml.token_type", [1, 1, 1, 3] as [Int32])
            spoken.set("tokenizer.ggml.merges", ["a b"])
            spoken.set("tokenizer.ggml.eos_token_id", UInt32(3))
            spoken.set("tokenizer.chat_template", "{{ messages[0].content }}")
            spoken.setLlama(vocabulary: 4)
            spoken.add("blk.0.attn_q.weight", [32, 32], type: 8, Data(count: 34 * 32))
            return [Array(model.bytes), Array(spoken.bytes)]
        },
        read: { bytes, scratch in
            let path = try scratch.file("m.gguf", bytes)
            let source = try openTensorSource(path: path)
            try readAll(source)
            for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
                _ = try source.textFile(name)
            }
            if try source.textFile("tokenizer.json") != nil { try use(try Tokenizer(store: source)) }
        })

    private static let pyTorch = FuzzTarget(
        "pytorch",
        seeds: { _ in
            [
                PyTorchBytes().bytes, PyTorchBytes(shape: [2, 2], strides: [1, 3], offset: 1).bytes,
                PyTorchBytes(shape: [6], strides: [1], count: 6).bytes,
            ]
        },
        read: { bytes, scratch in try readAll(openTensorSource(path: scratch.file("m.bin", bytes))) })

    /// config.json, a zero byte and a file of safetensors.
    private static let packed = FuzzTarget(
        "packed", maximumLength: 8192,
        seeds: { scratch in
            let gptq =
                #"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": false}}"#
            let header =
                #"{"l.qweight":{"dtype":"I32","shape":[4,8],"data_offsets":[0,128]},"#
                + #""l.qzeros":{"dtype":"I32","shape":[1,1],"data_offsets":[128,132]},"#
                + #""l.scales":{"dtype":"F16","shape":[1,8],"data_offsets":[132,148]},"#
                + #""l.g_idx":{"dtype":"I32","shape":[32],"data_offsets":[148,276]}}"#
            return [Array(gptq.utf8) + [0] + Array(header.utf8).framed + [UInt8](repeating: 0, count: 276)]
        },
        read: { bytes, scratch in
            let files = parts(bytes, 2)
            _ = try scratch.file("packed/config.json", files[0] ?? [])
            _ = try scratch.file("packed/model.safetensors", files[1] ?? [])
            try readAll(openTensorSource(path: "\(scratch.path)/packed"))
        })
}

/// Reads every tensor that has a type, row by row, and asks about all the others.
private func readAll(_ source: any TensorSource) throws {
    var raw: [UInt8] = []
    for name in source.tensorNames {
        guard let entry = try source.entry(name) else { continue }
        let rows = try source.rows(of: name)
        var values = [Float](repeating: 0, count: entry.columns)
        for row in 0..<entry.rows {
            try values.withUnsafeMutableBufferPointer {
                guard let target = $0.baseAddress else { return }
                try rows.read(rows: row..<row + 1, into: target, raw: &raw)
            }
        }
    }
}

extension [UInt8] {
    /// The header of a safetensors file with its length before it.
    fileprivate var framed: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } + self }
}

/// The CRCs of an MQF file's header, metadata and directory written anew, where its lengths allow it.
private func withRightChecksums(_ file: [UInt8]) -> [UInt8] {
    var file = file
    func number(_ place: Int) -> Int { (0..<4).reduce(0) { $0 | Int(file[place + $1]) << (8 * $1) } }
    func put(_ place: Int, _ range: Range<Int>) {
        let sum = file[range].withUnsafeBytes { crc32c($0) }
        for index in 0..<4 { file[place + index] = UInt8(truncatingIfNeeded: sum >> (8 * index)) }
    }
    guard file.count >= 64 else { return file }
    let metadataEnd = 64 + number(40)
    let directoryEnd = metadataEnd + number(44)
    if directoryEnd <= file.count {
        put(48, 64..<metadataEnd)
        put(52, metadataEnd..<directoryEnd)
    }
    put(60, 0..<60)
    return file
}
