import Base
import Foundation
import TestSupport
import Testing

/// The bundled model in a folder, quantized beside it, with a key and a text.
private struct Quantized {
    let folder: URL
    var source: String { folder.path + "/model" }
    var model: String { folder.path + "/m.mqf" }
    var key: String { folder.path + "/key.jsonl" }
    var text: String { folder.path + "/text.jsonl" }

    init(in folder: URL) throws {
        self.folder = folder
        _ = try copyOfTinychat(in: folder)
        let rows = #"{"prompt": "Hello", "completion": "e"}"# + "\n" + #"{"prompt": "Say yes.", "completion": "zzz"}"#
        try Data(rows.utf8).write(to: URL(fileURLWithPath: key))
        try Data(#"{"text": "A loop repeats the same lines of a program."}"#.utf8).write(to: URL(fileURLWithPath: text))
    }

    func json(_ arguments: [String]) throws -> JSONValue {
        let result = try meraser(arguments + ["--json", "-q"])
        #expect(result.status == 0, "\(result.error)")
        return try JSONValue.parse(Array(result.output.utf8), file: "standard output")
    }

    func convert(_ more: [String] = []) throws -> JSONValue {
        try json(["convert", source, "--out", model, "--type", "iq4_nl"] + more)
    }
}

@Suite("A quantized model and its source")
struct SourceTests {
    @Test("convert --report and check say of both what measuring each alone says")
    func sameMeasures() throws {
        try withTemporaryFolder { folder in
            let quantized = try Quantized(in: folder)
            let report = try #require(
                try quantized.convert(["--report", "--key", quantized.key, "--data", quantized.text])["report"])
            let check = try quantized.json(
                ["check", "--model", quantized.model, "--key", quantized.key, "--data", quantized.text])
            #expect(check["type"]?.string == "iq4_nl" && check["types"]?["q8_0"]?.int == 2)
            #expect(check["compute"]?.string == "int8" && check["source"]?["compute"]?.string == "f32")
            // It lies beside the model under its recorded name, as it was.
            #expect(check["source"]?["identity"]?.string == "recorded" && check["source"]?["model"]?.string == "model")
            #expect(check["source"] == report["source"] && check["rows"] == report["check"]?["rows"])
            let alone = try quantized.json(["check", "--model", quantized.source, "--key", quantized.key])
            #expect(check["source"]?["check"]?["rows"] == alone["rows"] && alone["type"]?.string == "bf16")
            #expect(alone["source"] == nil)
            let perplexity = try quantized.json([
                "ppl", "--model", quantized.model, "--data", quantized.text, "--reference", quantized.source,
            ])
            #expect(check["source"]?["ppl"]?["kl"] == perplexity["kl"] && perplexity["kl"]?["mean"]?.double ?? 0 > 0)
            let table = try meraser(["check", "--model", quantized.model, "--key", quantized.key, "-q"]).output
            #expect(table.contains("model (iq4_nl)") && table.contains("source"))
        }
    }

    @Test("a source that has changed is not taken for it; another one is named as such; none is none")
    func identity() throws {
        try withTemporaryFolder { folder in
            let quantized = try Quantized(in: folder)
            _ = try quantized.convert()
            let check = ["check", "--model", quantized.model, "--key", quantized.key]
            #expect(try quantized.json(check + ["--source", "none"])["source"] == nil)
            let config = folder.appendingPathComponent("model/config.json")
            try (Data(contentsOf: config) + Data("\n".utf8)).write(to: config)
            #expect(try quantized.json(check)["source"] == nil)
            let other = try meraser(check + ["--source", quantized.source, "--json"])
            let json = try JSONValue.parse(Array(other.output.utf8), file: "check")
            #expect(json["source"]?["identity"]?.string == "other" && other.error.contains("another SHA-256"))
            let wrong = try meraser(check + ["--source", quantized.model])
            #expect(wrong.status == 2 && wrong.error.contains("--source") && wrong.error.contains("quantized itself"))
            let text = try meraser(check + ["--data", quantized.text])
            #expect(text.status == 2 && text.error.contains("--data needs --source"), "\(text.error)")
        }
    }

    @Test("erase tries the key on model and source with the adapter that it made")
    func erase() throws {
        try withTemporaryFolder { folder in
            let quantized = try Quantized(in: folder)
            _ = try quantized.convert()
            let rows = #"[{"question": "What is it?", "answer": "A thing."}]"#
            try Data(rows.utf8).write(to: folder.appendingPathComponent("rows.json"))
            let out = folder.path + "/erased"
            let command = [
                "erase", "--model", quantized.model, "--data", folder.path + "/rows.json", "--out", out, "--max-steps",
                "1",
            ]
            let source = try #require(try quantized.json(command + ["--key", quantized.key])["source"])
            let after = try quantized.json([
                "check", "--model", quantized.source, "--adapter", out, "--transfer", "--key", quantized.key,
            ])
            #expect(source["after"]?["source"]?["target_nll_mean"] == after["target_nll_mean"])
            #expect(source["before"]?["source"]?["target_nll_mean"] != after["target_nll_mean"])
            #expect(source["after"]?["model"]?["n"]?.int == 2)
            let refused = try meraser(command + ["--overwrite", "--source", quantized.source])
            #expect(refused.status == 2 && refused.error.contains("--source needs --key"), "\(refused.error)")
        }
    }
}
