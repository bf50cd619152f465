import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

private let fixtures = packageRoot().appendingPathComponent("Tests/QuantTests/Fixtures/packed")

/// A safetensors file in memory, any part of which tests spoil.
private struct RawSafetensors {
    struct Tensor {
        var dtype: String
        var shape: [Int]
        var bytes: [UInt8]
    }
    var tensors: [String: Tensor] = [:]

    init(_ path: String) throws {
        let file = try SafetensorsFile(path: path)
        for entry in file.entries {
            let bytes = file.file.withBytes { Array($0[entry.offset..<entry.offset + entry.byteCount]) }
            tensors[entry.name] = Tensor(dtype: entry.dtype, shape: entry.shape, bytes: bytes)
        }
    }

    var bytes: [UInt8] {
        var (header, data): ([String], [UInt8]) = ([], [])
        for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
            let end = data.count + tensor.bytes.count
            header.append(
                "\"\(name)\":{\"dtype\":\"\(tensor.dtype)\",\"shape\":\(tensor.shape),\"data_offsets\":[\(data.count),\(end)]}"
            )
            data += tensor.bytes
        }
        let text = Array("{\(header.joined(separator: ","))}".utf8)
        return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text + data
    }
}

/// All rows of a tensor.
private func floats(_ source: any TensorSource, _ name: String, rows: Range<Int>? = nil) throws -> [Float] {
    let entry = try source.tensorEntry(name)
    let range = rows ?? 0..<entry.rows
    var result = [Float](repeating: 0, count: range.count * entry.columns)
    var raw: [UInt8] = []
    let reader = try source.rows(of: name)
    try result.withUnsafeMutableBufferPointer { buffer in
        if let start = buffer.baseAddress { try reader.read(rows: range, into: start, raw: &raw) }
    }
    return result
}

@Suite("Packed checkpoints")
struct PackedFolderTests {
    static let kinds = ["nf4", "nf4_double", "fp4", "gptq", "gptq_act", "awq"]

    @Test("weights are those of the program that packed them, bit for bit", arguments: kinds)
    func golden(kind: String) throws {
        let folder = fixtures.appendingPathComponent(kind)
        let source = try openTensorSource(path: folder.path)
        #expect(source is PackedFolder && source.isQuantized)
        let golden = try SafetensorsFile(path: folder.appendingPathComponent("golden.safetensors").path)
        #expect(golden.entries.count == 7)
        for entry in golden.entries {
            let shape = try source.tensorEntry(entry.name).shape
            let want = try golden.tensor(entry.name).floats()
            let columns = shape[1]
            let all = try floats(source, entry.name)
            #expect(Array(all[..<(2 * columns)]) == Array(want[..<(2 * columns)]), "\(entry.name)")
            #expect(Array(all[((shape[0] - 1) * columns)...]) == Array(want[(2 * columns)...]), "\(entry.name)")
            // Blocks begin and end within rows, and pieces anywhere.
            for rows in [3..<4, 5..<12, 0..<1] {
                let part = try floats(source, entry.name, rows: rows)
                #expect(part == Array(all[rows.lowerBound * columns..<rows.upperBound * columns]))
            }
        }
    }

    @Test("a packed folder is a plain model to whoever reads it", arguments: kinds)
    func converts(kind: String) throws {
        let source = try openTensorSource(path: fixtures.appendingPathComponent(kind).path)
        let spec = try ModelSpec(config: ConfigReader(of: source))
        #expect(Set(source.tensorNames) == Set(spec.tensors.map(\.name)))
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .f32
            _ = try convert(source, destination: out, options: options)
            let file = try MQFFile(path: out)
            for tensor in spec.tensors { #expect(try file.tensor(tensor.name).floats() == floats(source, tensor.name)) }
            #expect(file.sourceSHA256 == (try source.sha256()))
            // Nobody quantizes anew to fewer bits unasked.
            options.type = nil
            options.overwrite = true
            _ = try convert(source, destination: out, options: options)
            let own = try MQFFile(path: out)
            #expect(try own.tensor("model.embed_tokens.weight").info.type == .bf16)
            for tensor in spec.tensors where tensor.role == .matrix {
                let view = try own.tensor(tensor.name)
                // What is one of our types stays it: symmetric GPTQ in groups that follow each other. Columns that make
                // no whole tiles are bf16.
                let tiled: TensorType = kind == "gptq" ? .q4_0 : .q8_0
                #expect(view.info.type == (tensor.shape[1] % 32 == 0 ? tiled : .bf16))
                if kind == "gptq" { #expect(try view.floats() == floats(source, tensor.name), "\(tensor.name)") }
            }
            // And the cache, for those who want it in place.
            let cache = ModelCache(folder: folder.path + "/cache", notice: { _ in })
            let exact = try openWeightStore(path: source.path, exactly: true, cache: cache)
            let name = "model.layers.0.mlp.down_proj.weight"
            #expect(try exact.tensor(name).floats() == floats(source, name))
        }
    }

    /// The error of opening a fixture and reading all of it, with its files changed.
    private func refusal(
        _ kind: String, config: [(String, String)] = [], _ change: (inout RawSafetensors) -> Void = { _ in }
    ) throws -> String {
        try withTemporaryFolder { folder in
            let from = fixtures.appendingPathComponent(kind)
            var text = try String(contentsOf: from.appendingPathComponent("config.json"), encoding: .utf8)
            for (old, new) in config {
                #expect(text.contains(old))
                text = text.replacingOccurrences(of: old, with: new)
            }
            _ = try write(Array(text.utf8), to: folder, "config.json")
            var file = try RawSafetensors(from.appendingPathComponent("model.safetensors").path)
            change(&file)
            _ = try write(file.bytes, to: folder, "model.safetensors")
            return errorText(folder)
        }
    }

    private func errorText(_ folder: URL) -> String {
        do {
            let source = try openTensorSource(path: folder.path)
            _ = try ModelSpec(config: ConfigReader(of: source))
            for name in source.tensorNames { _ = try floats(source, name) }
            return "no error"
        } catch let error as MeraserError {
            guard error.kind == .badInput, !error.message.contains("\n") else { return "kind \(error.kind)" }
            return error.message
        } catch {
            return "\(error)"
        }
    }

    @Test("settings and methods that are not read are refused by name")
    func settings() throws {
        let cases: [(String, [(String, String)], String)] = [
            ("gptq", [("\"bits\": 4", "\"bits\": 3")], "'quantization_config.bits' is 3, read are 2, 4, 8"),
            ("gptq", [("\"bits\": 4", "\"bits\": \"4\"")], "'quantization_config.bits' is"),
            (
                "gptq", [("\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"marlin\"")],
                "checkpoint_format' is 'marlin'"
            ),
            ("gptq", [("\"desc_act\": false", "\"dynamic\": {\"a\": {}}")], "dynamic' is set"),
            ("gptq", [("\"desc_act\": false", "\"pack_dtype\": \"int8\"")], "pack_dtype' is 'int8'"),
            ("gptq", [("\"group_size\": 32", "\"group_size\": 0")], "group_size' is missing, or neither"),
            ("awq", [("\"bits\": 4", "\"bits\": 8")], "bits' is 8, read are 4"),
            ("awq", [("\"version\": \"gemm\"", "\"version\": \"gemv\"")], "version' is 'gemv', read is gemm"),
            ("awq", [("\"zero_point\": true", "\"zero_point\": false")], "zero_point' is false"),
            (
                "nf4", [("\"load_in_8bit\": false,\n    \"quant", "\"load_in_8bit\": true,\n    \"quant")],
                "load_in_8bit' is true"
            ),
            ("nf4", [("\"bitsandbytes\"", "\"hqq\"")], "quantized already (quant_method hqq)"),
        ]
        for (kind, changes, expected) in cases {
            let text = try refusal(kind, config: changes)
            #expect(text.contains(expected) && text.contains("config.json"), "\(text)")
        }
        #expect(try refusal("gptq", config: [("\"bits\": 4", "\"bits\": 4")]) == "no error")
    }

    @Test("parts that are missing or do not fit are named with their file")
    func parts() throws {
        let q = "model.layers.0.self_attn.q_proj"
        func state(_ text: String) throws -> String {
            try refusal("nf4") {
                $0.tensors["\(q).weight.quant_state.bitsandbytes__nf4"] = .init(
                    dtype: "U8", shape: [text.utf8.count], bytes: Array(text.utf8))
            }
        }
        func json(_ block: String = "64", _ shape: String = "[64, 64]", _ type: String = "nf4", _ more: String = "")
            -> String
        {
            "{\"quant_type\": \"\(type)\", \"blocksize\": \(block), \"dtype\": \"bfloat16\", \"shape\": \(shape)\(more)}"
        }
        #expect(try state(json()) == "no error")
        for (text, expected) in [
            (json("63"), "'blocksize' 63"), (json("0"), "'blocksize' 0"), (json("-64"), "'blocksize' -64"),
            (json("64", "[64, 65]"), "expected half a byte for each of [64, 65]"), (json("64", "[64]"), "'shape' [64]"),
            (json("64", "[4611686018427387904, 4]"), "expected half a byte"),
            (json("64", "[-1, 0]"), "'shape' [-1, 0]"),
            (json("128"), "expected F32 or F16 or BF16 and [32]"),
            (json("64", "[64, 64]", "int4"), "'int4', read are nf4"),
            (json("64", "[64, 64]", "nf4", ", \"nested_blocksize\": 256, \"nested_offset\": 1e99"), "finite number"),
            (
                json("64", "[64, 64]", "nf4", ", \"nested_blocksize\": 256, \"nested_offset\": 1"),
                "expected U8 and [64]"
            ),
            (String(repeating: "[", count: 60_000), "quant_state"), ("{}", "quant_type"),
            (String(repeating: " ", count: 70_000), "70000 bytes, expected JSON as U8"),
        ] {
            let message = try state(text)
            #expect(message.contains(expected) && message.contains("model.safetensors"), "\(message)")
        }
        let spoilt: [(String, String, (inout RawSafetensors) -> Void)] = [
            ("nf4", "no tensor '\(q).weight.absmax'", { $0.tensors["\(q).weight.absmax"] = nil }),
            ("nf4", "no tensor '\(q).weight.quant_map'", { $0.tensors["\(q).weight.quant_map"] = nil }),
            ("nf4", "no tensor '\(q).weight'", { $0.tensors["\(q).weight"] = nil }),
            ("nf4_double", "nested_absmax'", { $0.tensors["\(q).weight.nested_absmax"] = nil }),
            (
                "nf4_double", "expected F32 or F16 or BF16 and [1]",
                { $0.tensors["\(q).weight.nested_absmax"]?.shape = [1, 1] }
            ),
            ("gptq", "no tensor '\(q).scales'", { $0.tensors["\(q).scales"] = nil }),
            ("awq", "no tensor '\(q).qzeros'", { $0.tensors["\(q).qzeros"] = nil }),
            ("gptq", "expected I32 or U32 and [2, 8]", { $0.tensors["\(q).qzeros"]?.shape = [4, 4] }),
            ("gptq", "expected I32 or U32 and [8, 64]", { $0.tensors["\(q).qweight"]?.dtype = "F32" }),
            ("gptq", "expected two dimensions", { $0.tensors["\(q).qweight"]?.shape = [512] }),
            ("gptq", "expected I32 and [64]", { $0.tensors["\(q).g_idx"]?.shape = [8, 8] }),
            ("gptq", "has group 2 at input 5, expected one of 2", { $0.tensors["\(q).g_idx"]?.bytes[20] = 2 }),
            (
                "gptq_act", "has group -1 at input 0",
                { $0.tensors["\(q).g_idx"]?.bytes.replaceSubrange(0..<4, with: [255, 255, 255, 255]) }
            ),
        ]
        for (kind, expected, change) in spoilt {
            let message = try refusal(kind, change)
            #expect(message.contains(expected), "\(kind): \(message)")
        }
    }

    @Test("without g_idx the groups follow each other; GPTQ v2 stores zero points as they are")
    func variants() throws {
        let name = "model.layers.0.self_attn.v_proj"
        try withTemporaryFolder { folder in
            let from = fixtures.appendingPathComponent("gptq")
            let want = try floats(openTensorSource(path: from.path), name + ".weight")
            var file = try RawSafetensors(from.appendingPathComponent("model.safetensors").path)
            for key in file.tensors.keys where key.hasSuffix(".g_idx") { file.tensors[key] = nil }
            // Zero points of 8 are stored as 7; GPTQ v2 stores 8.
            for key in file.tensors.keys where key.hasSuffix(".qzeros") {
                #expect(file.tensors[key]?.bytes.allSatisfy { $0 == 0x77 } == true)
                let count = file.tensors[key]?.bytes.count ?? 0
                file.tensors[key]?.bytes = [UInt8](repeating: 0x88, count: count)
            }
            _ = try write(file.bytes, to: folder, "model.safetensors")
            let text = try String(contentsOf: from.appendingPathComponent("config.json"), encoding: .utf8)
            let v2 = text.replacingOccurrences(
                of: "\"checkpoint_format\": \"gptq\"", with: "\"checkpoint_format\": \"gptq_v2\"")
            #expect(v2 != text)
            _ = try write(Array(v2.utf8), to: folder, "config.json")
            let source = try openTensorSource(path: folder.path)
            #expect(try floats(source, name + ".weight") == want)
            #expect(try source.entry(name + ".weight")?.exactType == .q4_0)
        }
    }

    @Test("flipped bits in headers and small parts never trap", arguments: ["nf4_double", "gptq_act", "awq"])
    func corrupted(kind: String) throws {
        try withTemporaryFolder { folder in
            let from = fixtures.appendingPathComponent(kind)
            try FileManager.default.copyItem(
                at: from.appendingPathComponent("config.json"), to: folder.appendingPathComponent("config.json"))
            let whole = [UInt8](try Data(contentsOf: from.appendingPathComponent("model.safetensors")))
            var random = SeededRandom(seed: 3)
            for _ in 0..<150 {
                var bytes = whole
                let index = Int(abs(random.gaussian()) * 3000) % bytes.count
                bytes[index] ^= UInt8(1 << (index % 8))
                _ = try write(bytes, to: folder, "model.safetensors")
                _ = errorText(folder)
            }
            for length in stride(from: 0, to: whole.count, by: 4099) {
                _ = try write(Array(whole[..<length]), to: folder, "model.safetensors")
                #expect(errorText(folder) != "no error")
            }
        }
    }
}
