import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// GGUF files that llama.cpp's converter made of the small models (`tools/gguf_models.py --fixtures`; GPT-J's:
/// gguf-py).
@Suite struct GGUFArchitectureTests {
    static let folder = GoldenForwardTests.fixtures.appendingPathComponent("gguf")
    static let names = GoldenForwardTests.smallNames + ["llama3"]

    private static func source(_ name: String) -> URL {
        GoldenForwardTests.fixtures.appendingPathComponent(name == "llama3" ? "arch/llama3" : "small/\(name)")
    }

    /// A copy of the small model, whose config.json says what its GGUF file keeps, and whether that is all.
    static func copy(_ name: String, to work: URL) throws -> (folder: URL, isWhole: Bool) {
        let (source, copy) = (Self.source(name), work.appendingPathComponent("folder"))
        try FileManager.default.createDirectory(at: copy, withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            at: source.appendingPathComponent("model.safetensors"),
            to: copy.appendingPathComponent("model.safetensors"))
        // GGUF has no key for some of transformers': what the file keeps is in kept.json.
        let kept = Self.folder.appendingPathComponent("kept.json")
        let changes = try JSONValue.parse(Array(Data(contentsOf: kept)), file: kept.path)
        let config = try JSONValue.parse(
            Array(Data(contentsOf: source.appendingPathComponent("config.json"))), file: name)
        let changed = try #require(changes[name]?.object)
        var object = changed
        for member in try #require(config.object).members { _ = object.append(member.key, member.value) }
        try Data(JSONValue.object(object).serialized().utf8).write(to: copy.appendingPathComponent("config.json"))
        return (copy, changed.count == 0)
    }

    @Test("a GGUF file of every architecture has the folder's logits, to the bit", arguments: names)
    func logits(name: String) throws {
        try withTemporaryFolder { work in
            let source = Self.source(name)
            let (copy, isWhole) = try Self.copy(name, to: work)
            let golden = try GoldenFile(source.appendingPathComponent("golden.safetensors"))
            let ids = try golden.ints("ids")
            let wanted = try GoldenForwardTests.logits(try GoldenForwardTests.session(copy), ids)
            let store = try openWeightStore(
                path: Self.folder.appendingPathComponent("\(name).gguf").path,
                cache: ModelCache(folder: work.path + "/cache"))
            let model = try Transformer(store: store, kernels: try KernelContext(threads: 2))
            let got = try GoldenForwardTests.logits(InferenceSession(model: model), ids)
            #expect(got == wanted)
            if isWhole {
                expectClose(got, try golden.floats("logits"), absolute: GoldenForwardTests.tolerance, name)
            }
        }
    }

    /// The bytes of each tensor in a file, by name.
    private static func tensors(_ path: String) throws -> [String: (info: GGUFTensorInfo, bytes: Data)] {
        let (file, all) = (try GGUFFile(path: path), try Data(contentsOf: URL(fileURLWithPath: path)))
        return try Dictionary(
            file.tensors.map { info in
                let type = try #require(GGMLType(rawValue: info.typeID))
                let count = info.dimensions.reduce(1, *) / type.blockElements * type.blockBytes
                let start = file.dataOffset + info.offset
                return (info.name, (info, all[start..<start + count]))
            }, uniquingKeysWith: { first, _ in first })
    }

    @Test("what is written has llama.cpp's converter's tensors and keys, and the folder's logits", arguments: names)
    func written(name: String) throws {
        try withTemporaryFolder { work in
            let (copy, _) = try Self.copy(name, to: work)
            let path = work.path + "/written.gguf"
            func write() throws {
                _ = try writeGGUF(
                    openTensorSource(path: copy.path), keys: Metadata(), destination: path, options: ConvertOptions())
            }
            guard name != "gptj" else {
                #expect(errorText { try write() }.contains("llama.cpp does not run GPTJForCausalLM"))
                return
            }
            try write()
            let theirPath = Self.folder.appendingPathComponent("\(name).gguf").path
            let (mine, theirs) = (try Self.tensors(path), try Self.tensors(theirPath))
            #expect(Set(mine.keys) == Set(theirs.keys))
            for (tensor, wanted) in theirs {
                let got = try #require(mine[tensor], "\(tensor)")
                #expect(got.info.dimensions == wanted.info.dimensions && got.info.typeID == wanted.info.typeID)
                #expect(got.bytes == wanted.bytes, "\(tensor)")
            }
            let (keys, theirKeys) = (try GGUFFile(path: path).metadata, try GGUFFile(path: theirPath).metadata)
            let architecture = try #require(theirKeys.string("general.architecture"))
            // Every layer of the small Gemma 3 has a window: nothing turns as the others would. A window of 0 is none.
            let unused =
                ["context_length", "rope.scaling.type", "rope.scaling.factor", "rope.freq_base"]
                .filter { _ in name == "gemma3" }.map { "gemma3.\($0)" } + ["phi3.attention.sliding_window"]
            for key in theirKeys.keys where key.hasPrefix(architecture + ".") && !unused.contains(key) {
                if let number = theirKeys.float(key) {
                    #expect(keys.float(key) == number, "\(key)")
                } else {
                    #expect(keys[key] == theirKeys[key], "\(key)")
                }
            }
            let ids = try GoldenFile(Self.source(name).appendingPathComponent("golden.safetensors")).ints("ids")
            let store = try openWeightStore(path: path, cache: ModelCache(folder: work.path + "/cache"))
            let model = try Transformer(store: store, kernels: try KernelContext(threads: 2))
            let wanted = try GoldenForwardTests.logits(try GoldenForwardTests.session(copy), ids)
            #expect(try GoldenForwardTests.logits(InferenceSession(model: model), ids) == wanted)
        }
    }

    @Test("what GGUF has no key for is refused by name, and nothing is left")
    func refused() throws {
        for (name, key, value, text) in [
            ("gemma2", "query_pre_attn_scalar", JSONValue.integer(100), "query_pre_attn_scalar"),
            ("gemma", "hidden_act", .text("relu"), "hidden_activation"),
            ("olmo2", "hidden_act", .text("gelu"), "hidden_act"),
            ("smollm3", "no_rope_layers", .array([.integer(0), .integer(1)]), "no_rope_layers"),
            ("llama3", "rope_scaling", ["rope_type": .text("dynamic"), "factor": .number(2)], "dynamic"),
        ] {
            try withTemporaryFolder { work in
                let (copy, _) = try Self.copy(name, to: work)
                let file = copy.appendingPathComponent("config.json")
                let config = try JSONValue.parse(Array(Data(contentsOf: file)), file: name)
                var object = JSONObject([(key: key, value: value)])
                for member in try #require(config.object).members { _ = object.append(member.key, member.value) }
                try Data(JSONValue.object(object).serialized().utf8).write(to: file)
                let message = errorText {
                    _ = try writeGGUF(
                        openTensorSource(path: copy.path), keys: Metadata(), destination: work.path + "/m.gguf",
                        options: ConvertOptions())
                }
                #expect(message.contains(text), "\(name): \(message)")
                #expect(try FileManager.default.contentsOfDirectory(atPath: work.path) == ["folder"])
            }
        }
    }
}
