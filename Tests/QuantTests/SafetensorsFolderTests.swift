import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Hugging Face folders")
struct SafetensorsFolderTests {
    /// Two shards with a tensor each, `a` = [1, 2] and `b` = [3], and their index.
    private func writeShards(_ folder: URL, index: String? = nil) throws {
        for (name, tensor, values) in [("x-1.safetensors", "a", [Float(1), 2]), ("x-2.safetensors", "b", [3])] {
            try writeSafetensors(
                path: folder.appendingPathComponent(name).path, floats: [(tensor, [values.count], values)])
        }
        let index = index ?? "{\"metadata\":{},\"weight_map\":{\"b\":\"x-2.safetensors\",\"a\":\"x-1.safetensors\"}}"
        _ = try write(Array(index.utf8), to: folder, "model.safetensors.index.json")
    }

    private func refusal(index: String? = nil, _ change: (URL) throws -> Void = { _ in }) throws -> String {
        try withTemporaryFolder { folder in
            try writeShards(folder, index: index)
            try change(folder)
            return errorText { _ = try SafetensorsFolder(path: folder.path) }
                .replacingOccurrences(of: folder.path, with: "D")
        }
    }

    @Test("shards are read through their index; other files in the folder are not looked at")
    func shards() throws {
        try withTemporaryFolder { folder in
            try writeShards(folder)
            _ = try write([1, 2, 3], to: folder, "consolidated.safetensors")
            _ = try write(Array("{}".utf8), to: folder, "config.json")
            let store = try SafetensorsFolder(path: folder.path)
            #expect(store.tensorNames == ["a", "b"])
            let (a, b) = (try store.tensor("a").floats(), try store.tensor("b").floats())
            #expect(a == [1, 2])
            #expect(b == [3])
            #expect(store.hasTensor("b"))
            #expect(!store.hasTensor("c"))
            #expect(errorText { _ = try store.tensor("c") } == "\(folder.path): there is no tensor 'c'")
            let config = try store.textFile("config.json")
            #expect(config == Array("{}".utf8))
            let missing = try store.textFile("tokenizer.json")
            #expect(missing == nil)
            let opened = try openWeightStore(path: folder.path)
            #expect(opened.tensorNames == ["a", "b"])
        }
    }

    @Test("of an index beside model.safetensors the single file is the model, and a line says that there are two")
    func twoModels() throws {
        try withTemporaryFolder { folder in
            try writeShards(folder)
            #expect(try SafetensorsFolder(path: folder.path).warnings.isEmpty)
            try writeSafetensors(
                path: folder.appendingPathComponent("model.safetensors").path, floats: [("a", [2], [7, 8])])
            let store = try openWeightStore(path: folder.path)
            #expect(store.tensorNames == ["a"])
            let a = try store.tensor("a").floats()
            #expect(a == [7, 8])
            #expect(
                store.warnings == [
                    "\(folder.path) holds two models: model.safetensors is read, as transformers does, and not the files "
                        + "that model.safetensors.index.json lists"
                ])
            let digest = try sha256Hex(ofFile: folder.appendingPathComponent("model.safetensors").path)
            #expect(try store.sha256() == sha256Hex("\(digest)  model.safetensors\n".utf8))
        }
    }

    @Test("a path to one file takes the weights from it and config.json from its folder")
    func singleFile() throws {
        try withTemporaryFolder { folder in
            try writeShards(folder)
            _ = try write(Array("{}".utf8), to: folder, "config.json")
            let store = try openWeightStore(path: folder.appendingPathComponent("x-1.safetensors").path)
            #expect(store.tensorNames == ["a"])
            let config = try store.textFile("config.json")
            #expect(config == Array("{}".utf8))
        }
    }

    @Test("the identity is what sha256sum and sort print")
    func identity() throws {
        try withTemporaryFolder { folder in
            try writeShards(folder)
            _ = try write(Array("{}".utf8), to: folder, "config.json")
            let lines = try ["config.json", "x-1.safetensors", "x-2.safetensors"].map {
                "\(try sha256Hex(ofFile: folder.appendingPathComponent($0).path))  \($0)\n"
            }
            let identity = try SafetensorsFolder(path: folder.path).sha256()
            #expect(identity == sha256Hex(lines.sorted().joined().utf8))
        }
    }

    @Test("what an index may not say")
    func index() throws {
        let file = "D/model.safetensors.index.json"
        #expect(try refusal(index: "{}") == "\(file): 'weight_map' is missing, expected an object")
        #expect(try refusal(index: "{\"weight_map\":{}}") == "\(file): 'weight_map' is empty")
        #expect(try refusal(index: "{\"weight_map\"").hasPrefix("\(file):1:14: invalid JSON"))
        #expect(
            try refusal(index: "{\"weight_map\":{\"a\":1}}")
                == "\(file): 'weight_map.a' is an integer, expected a file name")
        for name in ["../x-1.safetensors", "/x-1.safetensors", "..", "", "sub/x-1.safetensors", "config.json"] {
            #expect(
                try refusal(index: "{\"weight_map\":{\"a\":\"\(name)\"}}")
                    == "\(file): 'weight_map.a' is '\(name)', expected a plain .safetensors file name")
        }
        #expect(
            try refusal(index: "{\"weight_map\":{\"b\":\"x-1.safetensors\"}}")
                == "D: tensor 'b' is not in x-1.safetensors, where model.safetensors.index.json has it")
    }

    @Test("a missing or cut shard is named")
    func missingShard() throws {
        let missing = try refusal {
            try FileManager.default.removeItem(at: $0.appendingPathComponent("x-2.safetensors"))
        }
        #expect(missing == "D: the shard x-2.safetensors is missing; model.safetensors.index.json lists it")
        let cut = try refusal { #expect(truncate($0.appendingPathComponent("x-1.safetensors").path, 100) == 0) }
        #expect(cut.hasPrefix("D/x-1.safetensors: "))
    }

    @Test("what is no model says so")
    func noModel() throws {
        try withTemporaryFolder { folder in
            let path = folder.path
            func text(_ path: String) -> String { errorText { _ = try openWeightStore(path: path) } }
            #expect(text(path + "/none") == "there is no model at \(path)/none")
            #expect(
                text(path)
                    == "\(path) has no weights: expected model.safetensors or pytorch_model.bin, or the index of shards of "
                    + "either")
            _ = try write([1], to: folder, "pytorch_model.bin")
            #expect(text(path) == "\(path)/pytorch_model.bin is no file of torch.save: it is no zip archive")
            let gguf = try write(Array("GGUF".utf8), to: folder, "m.gguf")
            #expect(text(gguf).hasPrefix("\(gguf): the version needs 4 bytes"))
            let other = try write([1, 2, 3], to: folder, "other")
            #expect(
                text(other)
                    == "\(other) is no model: expected a Hugging Face folder, or an .mqf, .gguf, .safetensors or .bin file"
            )
        }
    }
}
