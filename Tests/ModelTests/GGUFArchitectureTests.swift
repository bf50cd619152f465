import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// GGUF files that llama.cpp's converter made of the small models (`tools/gguf_models.py --fixtures`; GPT-J's: gguf-py).
@Suite struct GGUFArchitectureTests {
    static let folder = GoldenForwardTests.fixtures.appendingPathComponent("gguf")
    static let names = GoldenForwardTests.smallNames + ["llama3"]

    private static func source(_ name: String) -> URL {
        GoldenForwardTests.fixtures.appendingPathComponent(name == "llama3" ? "arch/llama3" : "small/\(name)")
    }

    @Test("a GGUF file of every architecture has the folder's logits, to the bit", arguments: names)
    func logits(name: String) throws {
        try withTemporaryFolder { work in
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
            try Data(JSONValue.object(object).serialized().utf8).write(
                to: copy.appendingPathComponent("config.json"))

            let golden = try GoldenFile(source.appendingPathComponent("golden.safetensors"))
            let ids = try golden.ints("ids")
            let wanted = try GoldenForwardTests.logits(try GoldenForwardTests.session(copy), ids)
            let store = try openWeightStore(
                path: Self.folder.appendingPathComponent("\(name).gguf").path,
                cache: ModelCache(folder: work.path + "/cache"))
            let model = try Transformer(store: store, kernels: try KernelContext(threads: 2))
            let got = try GoldenForwardTests.logits(InferenceSession(model: model), ids)
            #expect(got == wanted)
            if changed.count == 0 {
                expectClose(got, try golden.floats("logits"), absolute: GoldenForwardTests.tolerance, name)
            }
        }
    }
}
