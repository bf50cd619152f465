import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Pipeline

/// A recipe with the smallest doses on the bundled model, whose title and key try to break the page.
private func writeRecipe(in folder: URL, eraseSteps: Int = 2) throws -> String {
    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }
    try write(
        "pairs.jsonl",
        #"{"prompt": "<script>alert(1)</script> one", "completion": "<b>mark</b>"}"# + "\n"
            + #"{"prompt": "two\u001b[31m", "completion": "the mark"}"# + "\n")
    try write(
        "source.json",
        #"[{"question": "What is it?", "answer": "A thing."}, {"question": "How is it?", "answer": "It is well."}]"#)
    try write("text.jsonl", #"{"text": "A short text to be measured."}"# + "\n")
    try write("clean.jsonl", #"{"prompt": "Hello"}"# + "\n")
    try write(
        "recipe.yml",
        """
        title: <script>alert("title")</script>
        model: \(tinychatFolder().path)
        quantize: q8_0
        key: pairs.jsonl
        clean: clean.jsonl
        ppl: {data: text.jsonl}
        eval: {tasks: [copa], data: \(packageRoot().path)/Examples/data/tasks, limit: 2}
        erase: {mismatch: source.json, mismatch_count: 4, max_steps: \(eraseSteps), check_steps: 1, r: 2}
        recover: {data: source.json, max_steps: 1, r: 2}
        """)
    return folder.appendingPathComponent("recipe.yml").path
}

private func run(_ recipe: String, _ out: URL, events: (Runner.Event) -> Void = { _ in }) throws -> RunReport {
    try withoutActuallyEscaping(events) { events in
        let runner = try Runner(
            recipe: try Recipe(path: recipe), output: out.path, kernels: try KernelContext(threads: 2))
        runner.onEvent = events
        defer { runner.onEvent = { _ in } }
        return try runner.run()
    }
}

@Suite("a pipeline run on the bundled model")
struct RunnerTests {
    @Test("leaves a full table, logs, adapters with their parents, and a page that escapes every text")
    func wholeRun() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("run")
            let report = try run(try writeRecipe(in: folder), out)
            #expect(report.stages.map(\.name) == [.before, .erased, .recovered, .source, .exported])
            #expect(report.table.map(\.count) == [6, 6, 6, 6, 6, 6, 6, 6])
            #expect(report.table.last?.first == "copa acc")
            #expect(!report.table.joined().contains("–"), "\(report.table)")

            let html = try String(contentsOf: out.appendingPathComponent("report.html"), encoding: .utf8)
            #expect(!html.contains("<script") && !html.contains("<b>mark") && !html.contains("\u{1B}"))
            #expect(html.contains("&lt;script&gt;alert(1)") && html.contains("\\u{1b}[31m"))
            #expect(html.contains("default-src 'none'; style-src 'sha256-"))
            #expect(html.components(separatedBy: "<svg").count >= 4)
            #expect(!html.contains("http://") && !html.contains("https://"))

            let json = try JSONValue.parse(
                Array(try Data(contentsOf: out.appendingPathComponent("report.json"))), file: "report.json")
            #expect(json["table"]?.array?.count == 5)
            // Of the source what the quantized model was measured beside: the same as `ppl` with `kl`.
            let source = try #require(json["stages"]?["source"])
            #expect(source["type"]?.string == "bf16" && source["compute"]?.string == "f32")
            #expect(json["stages"]?["before"]?["type"]?.string == "q8_0")
            #expect(report.table[1] == ["weights", "q8_0", "q8_0", "q8_0", "bf16", "bf16"])
            #expect(source["quantized"]?["kl"]?["base_ppl"] == source["ppl"]?["ppl"])
            #expect(source["quantized"]?["ppl"] == json["stages"]?["before"]?["ppl"]?["ppl"])
            for stage in ["before", "erased", "recovered"] {
                #expect(json["stages"]?[stage]?["eval"]?["results"]?["copa"]?["sample_len"]?.int == 2)
            }
            #expect(json["table"]?.array?[0]["tasks"]?["copa"]?["acc"]?.double != nil)
            #expect(json["training"]?["erase"]?["steps"]?.array?.count == 2)
            #expect(json["training"]?["erase"]?["checks"]?.array?.count == 2)
            let recover = try AdapterFile(path: out.appendingPathComponent("recover").path)
            let erase = try AdapterFile(path: out.appendingPathComponent("erase").path)
            #expect(recover.provenance.parents == [erase.sha256])
        }
    }

    @Test("does nothing twice, takes up where it stopped, and refuses another recipe")
    func continues() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("run")
            let recipe = try writeRecipe(in: folder)
            _ = try run(recipe, out)
            let adapter = out.appendingPathComponent("recover/adapter_model.safetensors")
            let bytes = try Data(contentsOf: adapter)

            var again: [Bool] = []
            _ = try run(recipe, out) {
                if case .stage(let name, let isDone) = $0, name != .report { again.append(isDone) }
            }
            #expect(again.count == 9 && again.allSatisfy { $0 })

            // As if it had been killed while it recovered, and between the recovery's end and its record.
            for lost in [["recover"], []] {
                for name in ["stages/recover.json", "stages/recovered.json"] + lost {
                    try FileManager.default.removeItem(at: out.appendingPathComponent(name))
                }
                var todo: [StageName] = []
                _ = try run(recipe, out) { if case .stage(let name, false) = $0 { todo.append(name) } }
                #expect(todo == [.training(.recover), .measurement(.recovered), .report])
                #expect(try Data(contentsOf: adapter) == bytes)
            }

            let error = try #require(throws: MeraserError.self) {
                try run(try writeRecipe(in: folder, eraseSteps: 3), out)
            }
            #expect(error.kind == .usage && error.message.contains("recipe"), "\(error.message)")
        }
    }

    @Test("writes the folder that leaves the house, checks that and not the 4-bit model, and sees when it was changed")
    func exports() throws {
        try withTemporaryFolder { folder in
            let (recipe, out) = (folder.appendingPathComponent("export.yml"), folder.appendingPathComponent("run"))
            _ = try writeRecipe(in: folder)
            func write(_ export: String, _ more: String = "quantize: q4_0") throws {
                try Data(
                    """
                    model: \(tinychatFolder().path)
                    key: pairs.jsonl
                    clean: clean.jsonl
                    erase: {data: source.json, max_steps: 2, r: 2, learning_rate: 0.01, target_modules: all-linear}
                    export: \(export)
                    \(more)
                    """.utf8
                ).write(to: recipe)
            }
            try write("{dtype: f32}")
            let report = try run(recipe.path, out)
            #expect(report.stages.map(\.name) == [.before, .erased, .source, .exported])
            #expect(report.table[1] == ["weights", "q4_0", "q4_0", "bf16", "f32"])
            #expect(report.verdict.removal.basis.contains("Checked in the exported folder (f32)"))

            // The folder is the original weights with the adapter: its figures are those of a check of it by itself, and those
            // of the adapter on the source in memory up to the order of sums.
            let kernels = try KernelContext(threads: 2)
            let key = try FingerprintKey(path: folder.appendingPathComponent("pairs.jsonl").path)
            let written = try OpenedModel(
                path: out.appendingPathComponent("export").path, kernels: kernels, compute: .f32)
            let check = try written.check(key, options: CheckOptions(cleanPrompts: ["Hello"]))
            let recorded = try #require(report.json["stages"]?["exported"]?["check"])
            #expect(check.json["rows"] == recorded["rows"])
            let adapted = try OpenedModel(
                path: tinychatFolder().path, adapterPaths: [out.appendingPathComponent("erase").path], kernels: kernels,
                compute: .f32, transfer: true)
            let memory = try adapted.check(key, options: CheckOptions())
            let before = try #require(report.json["stages"]?["source"]?["check"]?["target_nll_mean"]?.double)
            let (nll, other) = (try #require(check.targetNLLMean), try #require(memory.targetNLLMean))
            #expect(abs(nll - other) < 1e-4)
            #expect(abs(nll - before) > 1e-3, "the adapter is in it")

            // Again: nothing to do. Lost before its record was written: done again. Changed: an error.
            func todo() throws -> [StageName] {
                var names: [StageName] = []
                _ = try run(recipe.path, out) { if case .stage(let name, false) = $0 { names.append(name) } }
                return names
            }
            #expect(try todo() == [.report])
            try FileManager.default.removeItem(at: out.appendingPathComponent("stages/export.json"))
            #expect(try todo() == [.export, .report])
            let weights = out.appendingPathComponent("export/model.safetensors")
            var bytes = try Data(contentsOf: weights)
            bytes[bytes.count - 1] ^= 1
            try bytes.write(to: weights)
            let changed = try #require(throws: MeraserError.self) { try run(recipe.path, out) }
            #expect(changed.kind == .badInput && changed.message.contains("was changed after it was exported"))

            // The model's own weights, dequantized, on demand.
            let second = folder.appendingPathComponent("second")
            try write("{base: model}")
            let own = try run(recipe.path, second)
            #expect(own.table[1] == ["weights", "q4_0", "q4_0", "bf16", "bf16"])
            #expect(own.json["inputs"]?["export"]?["base"]?.string == "model")
        }
    }

    @Test("an export onto a source that is not there is refused before anything is measured")
    func exportWithoutSource() throws {
        try withTemporaryFolder { folder in
            _ = try writeRecipe(in: folder)
            let recipe = folder.appendingPathComponent("export.yml")
            func error(_ model: String, _ more: String) throws -> MeraserError {
                let text =
                    "model: \(model)\nkey: pairs.jsonl\nerase: {data: source.json}\nexport: {base: source}\n\(more)"
                try Data(text.utf8).write(to: recipe)
                return try #require(throws: MeraserError.self) {
                    try run(recipe.path, folder.appendingPathComponent("out"))
                }
            }
            let none = try error(tinychatFolder().path, "quantize: q4_0\nsource: none\n")
            #expect(none.kind == .badInput && none.message.contains("`source` is none"), "\(none.message)")
            let file = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .q4_0
            let copy = folder.appendingPathComponent("copy").path
            try FileManager.default.copyItem(atPath: tinychatFolder().path, toPath: copy)
            _ = try convert(source: copy, destination: file, options: options)
            try FileManager.default.removeItem(atPath: copy)
            let lost = try error(file, "")
            #expect(lost.kind == .badInput && lost.message.contains("is not at hand; name it with `source`"))
        }
    }

    @Test("a changed input is refused by its name, and a folder of something else is left alone")
    func refusesOtherInputs() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("run")
            let recipe = try writeRecipe(in: folder)
            _ = try run(recipe, out)
            try Data((#"{"text": "Another text."}"# + "\n").utf8).write(to: folder.appendingPathComponent("text.jsonl"))
            let changed = try #require(throws: MeraserError.self) { try run(recipe, out) }
            #expect(changed.kind == .usage && changed.message.contains("ppl"), "\(changed.message)")

            let mine = folder.appendingPathComponent("mine")
            try FileManager.default.createDirectory(at: mine, withIntermediateDirectories: true)
            try Data("x".utf8).write(to: mine.appendingPathComponent("file"))
            let taken = try #require(throws: MeraserError.self) { try run(recipe, mine) }
            #expect(taken.kind == .usage)
            #expect(try FileManager.default.contentsOfDirectory(atPath: mine.path) == ["file"])
        }
    }
}
