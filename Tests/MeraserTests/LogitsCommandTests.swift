import Base
import Foundation
import Quant
import TestSupport
import Testing

/// What `meraser logits` writes, against Transformers and PEFT in fp32.
@Suite("logits")
struct LogitsCommandTests {
    private let fixtures = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures")

    private func list(_ ids: [Int32]) -> String { ids.map(String.init).joined(separator: ",") }

    /// A safetensors file that the command made.
    private func written(_ arguments: [String], in folder: URL) throws -> SafetensorsFile {
        let out = folder.appendingPathComponent("\(UUID().uuidString).safetensors").path
        let result = try meraser(["logits", "--out", out, "--json"] + arguments)
        try #require(result.status == 0, "\(result.error)")
        return try SafetensorsFile(path: out)
    }

    @Test("a model that is converted first says so, unless --quiet")
    func notice() throws {
        let model = packageRoot().appendingPathComponent("Tests/QuantTests/Fixtures/pytorch").path
        try withTemporaryFolder { folder in
            func said(_ more: [String]) throws -> [String] {
                let out = folder.appendingPathComponent("\(UUID().uuidString).safetensors").path
                let result = try meraser(
                    ["logits", "--model", model, "--ids", "1,2", "--out", out] + more,
                    environment: ["MERASER_CACHE": folder.path + "/cache"])
                try #require(result.status == 0, "\(result.error)")
                return result.errorLines
            }
            let first = try said([])
            #expect(first.count == 1 && first[0].contains("\(model): converting to \(folder.path)/cache/"), "\(first)")
            #expect(try said(["--quiet"]).isEmpty)
        }
    }

    @Test(
        "logits and hidden states of folders without a tokenizer", arguments: ["llama3", "mistral", "qwen2", "qwen3"])
    func forward(name: String) throws {
        let model = fixtures.appendingPathComponent("arch/\(name)")
        let golden = try GoldenFile(model.appendingPathComponent("golden.safetensors"))
        let states = try GoldenFile(model.appendingPathComponent("hidden.safetensors"))
        let ids = try golden.ints("ids")
        try withTemporaryFolder { folder in
            let file = try written(["--model", model.path, "--ids", list(ids), "--hidden"], in: folder)
            let (gotIDs, logits) = (try file.integers("input_ids"), try file.tensor("logits").floats())
            #expect(gotIDs == ids.map(Int.init))
            #expect(file.entry("logits")?.shape == (try golden.shape("logits")))
            expectClose(logits, try golden.floats("logits"), absolute: 5e-5, name)
            for layer in 0...2 {
                let state = "hidden_states.\(layer)"
                #expect(file.entry(state)?.shape == (try states.shape(state)))
                let got = try file.tensor(state).floats()
                expectClose(got, try states.floats(state), absolute: 5e-5, "\(name) \(state)")
            }
            #expect(file.entries.count == 5, "\(file.entries.map(\.name))")
        }
    }

    @Test("loss and gradients of a PEFT adapter", arguments: ["llama3", "mistral", "qwen2", "qwen3"])
    func gradients(name: String) throws {
        let model = fixtures.appendingPathComponent("arch/\(name)")
        let golden = try GoldenFile(model.appendingPathComponent("golden.safetensors"))
        let ids = try golden.ints("ids")
        try withTemporaryFolder { folder in
            let adapter = try writeAdapter(golden, in: folder)
            let file = try written(
                ["--model", model.path, "--ids", list(ids), "--adapter", adapter, "--gradients"], in: folder)
            let want = Double(try golden.floats("lora.loss")[0])
            let (loss, logits) = (try file.tensor("loss").floats(), try file.tensor("logits").floats())
            #expect(abs(Double(loss[0]) - want) <= 5e-6 * want)
            // The adapter is in the logits too: they give the same loss.
            #expect(abs(meanLoss(logits, ids) - want) <= 5e-6 * want)
            let names = golden.names.filter { $0.hasPrefix("lora.grad.") }
            #expect(names.count == 8 && file.entries.count == 3 + names.count)
            for name in names {
                let tensor = String(name.dropFirst("lora.grad.".count))
                #expect(file.entry(tensor)?.shape == (try golden.shape(name)))
                let got = try file.tensor(tensor).floats()
                #expect(relativeL2(got, try golden.floats(name)) <= 1e-4, "\(tensor)")
            }
        }
    }

    @Test("rows of tokens have gradients under PEFT's name", arguments: [("tied", "qwen2"), ("rows", "qwen2")])
    func tokenRows(name: String, arch: String) throws {
        let adapter = packageRoot().appendingPathComponent("Tests/PipelineTests/Fixtures/token_rows/\(name)")
        let golden = try GoldenFile(adapter.appendingPathComponent("golden.safetensors"))
        try withTemporaryFolder { folder in
            let file = try written(
                [
                    "--model", fixtures.appendingPathComponent("arch/\(arch)").path, "--ids",
                    list(try golden.ints("ids")), "--adapter", adapter.path, "--gradients",
                ], in: folder)
            let names = golden.names.filter { $0.hasPrefix("grad.") }
            #expect(names.contains { $0.hasSuffix("trainable_tokens_delta") } && file.entries.count == 3 + names.count)
            for name in names {
                let got = try file.tensor(String(name.dropFirst("grad.".count))).floats()
                #expect(relativeL2(got, try golden.floats(name)) <= 1e-4, "\(name)")
            }
        }
    }

    @Test("an adapter below the topmost takes part, and only the topmost has gradients")
    func stack() throws {
        let model = fixtures.appendingPathComponent("arch/qwen3")
        let golden = try GoldenFile(model.appendingPathComponent("golden.safetensors"))
        let ids = try golden.ints("ids")
        try withTemporaryFolder { folder in
            // Two adapters with half the scale each are the golden one.
            let half = try writeAdapter(golden, alpha: 4, in: folder)
            let file = try written(
                ["--model", model.path, "--ids", list(ids), "--adapter", half, "--adapter", half, "--gradients"],
                in: folder)
            let want = Double(try golden.floats("lora.loss")[0])
            let loss = try file.tensor("loss").floats()
            #expect(abs(Double(loss[0]) - want) <= 5e-6 * want)
            for name in golden.names where name.hasPrefix("lora.grad.") {
                let got = try file.tensor(String(name.dropFirst("lora.grad.".count))).floats()
                #expect(relativeL2(got.map { 2 * $0 }, try golden.floats(name)) <= 1e-4, "\(name)")
            }
        }
    }

    @Test("a text has the tokens of `tokenize`; a long one is written in pieces")
    func texts() throws {
        let model = tinychatFolder().path
        let golden = try GoldenFile(fixtures.appendingPathComponent("tinychat/logits.safetensors"))
        let long = try GoldenFile(fixtures.appendingPathComponent("tinychat/logits300.safetensors"))
        let prompts = fixtures.appendingPathComponent("tinychat/greedy.json")
        let rows = try #require(try JSONValue.parse(Array(Data(contentsOf: prompts)), file: prompts.path).array)
        try withTemporaryFolder { folder in
            let text = try rows[0].string("prompt", in: prompts.path)
            let short = try written(["--model", model, "--text", text], in: folder)
            let (ids, logits) = (try short.integers("input_ids"), try short.tensor("logits").floats())
            #expect(ids == (try golden.ints("prompt0.ids")).map(Int.init))
            expectClose(logits, try golden.floats("prompt0.logits"), absolute: 5e-5)

            let file = try written(["--model", model, "--ids", list(try long.ints("ids"))], in: folder)
            let all = try file.tensor("logits").floats()
            let tenths = stride(from: 0, to: 300, by: 10).flatMap { all[$0 * 4096..<($0 + 1) * 4096] }
            expectClose(tenths, try long.floats("logits_every_10th"), absolute: 5e-5)
        }
    }

    @Test("what cannot be computed is one line, and no file is left")
    func refused() throws {
        let model = fixtures.appendingPathComponent("arch/qwen3")
        let golden = try GoldenFile(model.appendingPathComponent("golden.safetensors"))
        let tooMany = Array(repeating: "1", count: 257).joined(separator: ",")
        try withTemporaryFolder { folder in
            let adapter = try writeAdapter(golden, in: folder)
            let empty = folder.appendingPathComponent("empty").path
            try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: true)
            let cases: [(arguments: [String], status: Int32, text: String)] = [
                (["--ids", "1,2,512"], 3, "token 512 at position 2 is outside of the vocabulary"),
                (["--text", "Hello"], 3, "tokenizer.json is missing"),
                (["--ids", tooMany], 3, "a text of 257 tokens is longer than the context of 256"),
                (["--ids", "1", "--adapter", adapter, "--gradients"], 2, "two tokens at least"),
                (["--ids", "1", "--adapter", empty], 3, "adapter_config.json"),
            ]
            for (arguments, status, text) in cases {
                let out = folder.appendingPathComponent("out")
                try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
                let result = try meraser(
                    ["logits", "--model", model.path, "--out", out.path + "/x.safetensors"] + arguments)
                #expect(result.status == status && result.errorLines.count == 1, "\(result.error)")
                #expect(result.error.contains(text), "\(result.error)")
                #expect(try names(in: out).filter { $0.contains("safetensors") && !$0.hasSuffix(".lock") } == [])
            }
        }
    }

    /// A PEFT folder of the golden adapter: rank 4 on q_proj and v_proj of two layers.
    private func writeAdapter(_ golden: GoldenFile, alpha: Double = 8, in folder: URL) throws -> String {
        let path = folder.appendingPathComponent("adapter-\(alpha)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let prefix = "lora.param.base_model.model."
        let modules = golden.names.filter { $0.hasPrefix(prefix) && $0.hasSuffix(".lora_A.weight") }
            .map { String($0.dropFirst(prefix.count).dropLast(".lora_A.weight".count)) }
        try AdapterFile.write(
            folder: path,
            config: PEFTConfig(r: 4, loraAlpha: alpha, targets: .names(["q_proj", "v_proj"])),
            factors: modules.map {
                AdapterFile.Factors(
                    path: $0, a: try golden.floats("\(prefix)\($0).lora_A.weight"),
                    b: try golden.floats("\(prefix)\($0).lora_B.weight"), rank: 4)
            })
        return path
    }

    /// The mean negative log-likelihood of tokens 1… in double.
    private func meanLoss(_ logits: [Float], _ ids: [Int32]) -> Double {
        let vocabulary = logits.count / ids.count
        let losses = (0..<ids.count - 1).map { row -> Double in
            let z = logits[row * vocabulary..<(row + 1) * vocabulary].map(Double.init)
            return log(z.reduce(0) { $0 + exp($1) }) - z[Int(ids[row + 1])]
        }
        return losses.reduce(0, +) / Double(losses.count)
    }
}
