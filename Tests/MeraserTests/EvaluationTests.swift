import Base
import Foundation
import TestSupport
import Testing

private let tinychat = tinychatFolder().path
private let rows = packageRoot().appendingPathComponent("Examples/data/tasks").path

/// The JSON object that a command printed.
private func json(_ result: CommandResult) throws -> JSONValue {
    try JSONValue.parse(Array(result.output.utf8), file: "output")
}

@Test("eval prints a table, and writes lm-eval's JSON once")
func evaluates() throws {
    try withTemporaryFolder { folder in
        let out = folder.appendingPathComponent("r.json").path
        let arguments = [
            "eval", "--model", tinychat, "--tasks", "sciq,copa", "--data", rows, "--limit", "4", "--out", out, "-q",
        ]
        let table = try meraser(arguments)
        #expect(table.status == 0, "\(table.error)")
        #expect(table.output.contains("sciq") && table.output.contains("acc_norm") && table.output.contains("±"))
        let written = try JSONValue.parse([UInt8](Data(contentsOf: URL(fileURLWithPath: out))), file: out)
        #expect(written["results"]?["sciq"]?["sample_len"]?.int == 4)
        #expect(written["config"]?["model_args"]?["pretrained"]?.string == "tinychat")
        #expect(try meraser(arguments).status == 2)
        let again = try meraser(arguments + ["--overwrite", "--json"])
        #expect(try json(again) == written)
    }
}

@Test("a task file with its own rows is scored; mistakes in it are one line and status 3, unknown tasks status 2")
func taskFiles() throws {
    try withTemporaryFolder { folder in
        func write(_ name: String, _ text: String) throws -> String {
            let url = folder.appendingPathComponent(name)
            try Data(text.utf8).write(to: url)
            return url.path
        }
        func run(_ tasks: String, _ more: [String] = []) throws -> CommandResult {
            try meraser(["eval", "--model", tinychat, "--tasks", tasks, "--json", "-q"] + more)
        }
        _ = try write("rows.jsonl", #"{"q": "Is it?", "l": 1}"# + "\n" + #"{"q": "Was it?", "l": 0}"# + "\n")
        let good = """
            task: own
            dataset_kwargs: {data_files: {test: rows.jsonl}}
            test_split: test
            doc_to_text: "{{q}}"
            doc_to_choice: ["no", "yes"]
            doc_to_target: l

            """
        let task = try write("own.yml", good.replacing("rows.jsonl", with: folder.path + "/rows.jsonl"))
        let result = try run(task)
        #expect(result.status == 0, "\(result.error)")
        #expect(!result.output.contains(folder.path) && result.output.contains("rows.jsonl"))
        #expect(try json(result)["results"]?["own"]?["sample_len"]?.int == 2)

        for (text, named) in [
            (good + "metric_list: [{metric: bleu}]\n", "bleu"),
            (good.replacingOccurrences(of: "{{q}}", with: "{{q"), "doc_to_text"),
            (good.replacingOccurrences(of: "{{q}}", with: "{{missing}}"), "rows.jsonl:1"),
            (good.replacingOccurrences(of: "rows.jsonl", with: "none.jsonl"), "none.jsonl"), ("a: [", "bad.yml"),
        ] {
            let bad = try run(try write("bad.yml", text))
            #expect(bad.status == 3, "\(bad.error)")
            #expect(bad.errorLines.count == 1 && bad.error.contains(named), "\(bad.error)")
            #expect(bad.output.isEmpty)
        }
        let mistakes: [(String, [String], String)] = [
            ("sciqq", [], "sciq"), ("sciq", [], "--data"),
            ("sciq", ["--data", rows, "--max-length", "0"], "--max-length"),
            ("sciq", ["--data", rows, "--limit", "0"], "--limit"),
        ]
        for (tasks, more, named) in mistakes {
            let wrong = try run(tasks, more)
            #expect(wrong.status == 2, "\(wrong.error)")
            #expect(wrong.errorLines.count == 1 && wrong.error.contains(named), "\(wrong.error)")
        }
    }
}

@Test("dataset clean, split, stats and mismatch work on files and never write over one")
func datasetCommands() throws {
    try withTemporaryFolder { folder in
        func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
        let source = packageRoot().appendingPathComponent("Examples/data/clean.json").path
        func run(_ arguments: [String]) throws -> CommandResult {
            let result = try meraser(["dataset"] + arguments + ["--json"])
            #expect(result.status == 0, "\(result.error)")
            let again = try meraser(["dataset"] + arguments)
            if arguments[0] != "stats" { #expect(again.status == 2, "\(again.error)") }
            return result
        }
        let cleaned = try json(try run(["clean", source, "--max-answer", "400", "--out", path("c.json")]))
        let kept = try #require(cleaned["kept"]?.int)
        #expect(kept > 100 && cleaned["rows"]?.int == 359)
        let split = try json(
            try run([
                "split", path("c.json"), "--test-size", "20", "--train", path("train.jsonl"), "--test",
                path("test.json"),
            ]))
        #expect(split["test_rows"]?.int == 20 && split["train_rows"]?.int == kept - 20)
        let mismatched = try json(
            try run([
                "mismatch", path("c.json"), "--exclude", path("train.jsonl"), "--count", "30", "--out", path("m.json"),
            ]))
        #expect(mismatched["pairs"]?.int == 30)
        #expect(try #require(mismatched["excluded"]?.int) >= kept - 20)
        let stats = try json(try run(["stats", path("m.json"), "--model", tinychat, "--max-length", "64"]))
        #expect(stats["rows"]?.int == 30 && stats["shape"]?.string == "meraser")
        #expect(try #require(stats["tokens"]?["row"]?["max"]?.int) > 10)
        #expect(stats["cut"]?["max_length"]?.int == 64)
    }
}

@Test("ppl --protocol guanaco reads dialogues; quirks that are not known are wrong usage")
func guanaco() throws {
    let data = packageRoot().appendingPathComponent("Examples/data/heldout.jsonl").path
    let arguments = ["ppl", "--model", tinychat, "--data", data, "--protocol", "guanaco", "--json", "-q"]
    let paper = try json(try meraser(arguments))
    let plain = try json(try meraser(arguments + ["--quirks", "none"]))
    let (a, b) = (try #require(paper["ppl"]?.double), try #require(plain["ppl"]?.double))
    #expect(a != b && paper["quirks"]?.array?.count == 3 && plain["quirks"]?.array?.isEmpty == true)
    let wrong = try meraser(arguments + ["--quirks", "odd"])
    #expect(wrong.status == 2 && wrong.errorLines.count == 1 && wrong.error.contains("weights"), "\(wrong.error)")
}
