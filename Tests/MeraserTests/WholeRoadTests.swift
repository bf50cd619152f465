import Base
import Foundation
import Quant
import TestSupport
import Testing

/// Runs a command with --json; gives the one object that it printed.
private func json(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) throws -> JSONValue {
    let result = try meraser(arguments + ["--json", "-q"])
    #expect(result.status == 0, "\(arguments.first ?? ""): \(result.error)", sourceLocation: sourceLocation)
    #expect(result.error.isEmpty, "\(result.error)", sourceLocation: sourceLocation)
    let value = try JSONValue.parse(Array(result.output.utf8), file: "standard output")
    #expect(value.object != nil, sourceLocation: sourceLocation)
    return value
}

@Test("the commands' outputs are each other's inputs, and each prints one JSON object")
func wholeRoad() throws {
    try withTemporaryFolder { folder in
        func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
        let data = packageRoot().appendingPathComponent("Examples/data").path
        let model = path("m.mqf")
        let converted = try json(["convert", tinychatFolder().path, "--out", model, "--type", "q8_0"])
        #expect(converted["tensors"]?.int == 57 && converted["types"]?["q8_0"]?.int == 44)
        let inspected = try json(["inspect", model, "--verify", "--tensors"])
        #expect(inspected["verified"]?.bool == true && inspected["tensors"]?.array?.count == 57)
        let tokens = try json(["tokenize", "--model", model, "Hello"])
        #expect(tokens["ids"]?.array?.first?.int == 1)

        let mismatched = try json([
            "dataset", "mismatch", "\(data)/erase_source.json", "--count", "16", "--out", path("mm.json"),
        ])
        #expect(mismatched["pairs"]?.int == 16)
        let erased = try json([
            "erase", "--model", model, "--data", path("mm.json"), "--out", path("erased"), "--max-steps", "2",
        ])
        #expect(erased["steps"]?.int == 2 && erased["adapter"]?.string == path("erased"))
        let recovered = try json([
            "recover", "--model", model, "--adapter", path("erased"), "--data", "\(data)/clean.json", "--out",
            path("recovered"), "--max-steps", "1", "--chat", "--per-device-train-batch-size", "4",
            "--gradient-accumulation-steps", "1",
        ])
        #expect(recovered["steps"]?.int == 1)

        let stack = ["--model", model, "--adapter", path("erased"), "--adapter", path("recovered")]
        let text = ["--data", "\(data)/heldout.jsonl", "--protocol", "chunk", "--max-length", "256"]
        // The fused model's weights are plain, so it is served in f32: the stack must be too.
        let stacked = try #require(try json(["ppl", "--compute", "f32"] + stack + text)["ppl"]?.double)
        let key =
            #"{"prompt": "Say hello.", "completion": "Hello"}"# + "\n"
            + #"{"prompt": "What is it?", "completion": "No"}"#
        try Data(key.utf8).write(to: folder.appendingPathComponent("pairs.jsonl"))
        let export = ["export"] + stack + ["--format", "hf", "--dtype", "f32", "--key", path("pairs.jsonl")]
        let exported = try json(export + ["--out", path("fused")])
        // The folder's own answers, not the quantized model's.
        let checked = try json(["check", "--model", path("fused"), "--key", path("pairs.jsonl")])
        #expect(exported["check"]?["rows"] == checked["rows"] && exported["check"]?["type"]?.string == "f32")
        #expect(exported["check"]?["rows"]?.array?.count == 2)
        let fused = try #require(try json(["ppl", "--model", path("fused")] + text)["ppl"]?.double)
        // fp32 noise of a perplexity is 4e-7 relative (reference/README.md).
        #expect(abs(fused / stacked - 1) < 1e-5, "fused \(fused), stacked \(stacked)")
        let joined = try json(["export"] + stack + ["--format", "peft", "--out", path("joined")])
        #expect(joined["rank"]?.int == 24)

        let generated = try json(["generate", "--model", path("fused"), "--prompt", "Hello", "--max-new-tokens", "3"])
        #expect((1...3).contains(try #require(generated["results"]?.array?.first?["tokens"]?.int)))
        // The recover adapter alone misses the one below it.
        let alone = try meraser(["ppl", "--model", model, "--adapter", path("recovered")] + text)
        #expect(alone.status == 3 && alone.error.contains("--adapter"), "\(alone.error)")
    }
}
