import Base
import Foundation
import TestSupport
import Testing

/// Rows in two files, a table and lines, and what else a training may be given.
private func files(_ folder: URL) throws -> (mix: String, others: String) {
    func write(_ name: String, _ text: String) throws -> String {
        let url = folder.appendingPathComponent(name)
        try Data(text.utf8).write(to: url)
        return url.path
    }
    let table = (0..<12).map { "\"What is \($0)?\",It is \($0 * 7).,\($0)\r\n" }.joined()
    let csv = try write("a.csv", "\u{FEFF}prompt,response,score\r\n" + table)
    let lines = (0..<10).map { i in
        #"{"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Number \#(i)?"},"#
            + #" {"from": "gpt", "value": "It is \#(i)."}, {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]}"#
    }
    let jsonl = try write("b.jsonl", lines.joined(separator: "\n"))
    let others = try write("others.tsv", "input\toutput\n" + (0..<3).map { "Say \($0).\tNo \($0).\n" }.joined())
    return ("\(csv):2,\(jsonl):1", others)
}

private func record(_ folder: URL, _ out: String) throws -> JSONValue {
    let file = folder.appendingPathComponent("\(out)/run.json")
    return try JSONValue.parse(Array(Data(contentsOf: file)), file: "run.json")
}

@Test("two files with weights, validation with patience, an adapter that goes on: as a command line has them")
func dataAndTraining() throws {
    try withTemporaryFolder { folder in
        let (mix, others) = try files(folder)
        let model = [
            "recover", "--model", tinychatFolder().path, "--preset", "none", "--data", mix, "--remove-columns", "score",
            "--threads", "2", "--json",
        ]
        let out = folder.appendingPathComponent("first").path
        let first = try meraser(
            model + [
                "--out", out, "--eval-data", others, "--eval-steps", "2", "--early-stopping-patience", "1",
                "--load-best",
                "--max-steps", "12", "--learning-rate", "3e-2", "--r", "2", "--target-modules",
                ".*layers\\.[01]\\..*q_proj",
                "--loss", "completion", "--lr-scheduler-type", "warmup_stable_decay", "--lr-scheduler-kwargs",
                #"{"num_decay_steps": 4}"#, "--warmup-steps", "1", "--loraplus-lr-ratio", "4", "--neftune-noise-alpha",
                "5",
                "--adam-beta1", "0.8", "--adam-epsilon", "1e-6",
            ])
        #expect(first.status == 0, "\(first.error)")
        let json = try JSONValue.parse(Array(first.output.utf8), file: "output")
        let evaluation = try #require(json["evaluation"])
        #expect(evaluation["best_kept"]?.bool == true && (json["steps"]?.int ?? 0) <= 12)
        #expect((evaluation["best_eval_loss"]?.double ?? 9) <= (evaluation["eval_loss"]?.double ?? 0))
        let options = try #require(try record(folder, "first")["options"])
        #expect(options["eval_data"]?.string == "others.tsv" && options["warmup_steps"]?.int == 1)
        #expect(options["lr_scheduler_kwargs"]?["num_decay_steps"]?.int == 4)
        #expect(options["target_modules"]?.string == ".*layers\\.[01]\\..*q_proj")
        // Of 12 and 10 samples at two to one all of the table and half as many conversations.
        #expect(try record(folder, "first")["data_samples"]?.int == 18)

        let second = ["--out", folder.appendingPathComponent("second").path, "--init-adapter", out, "--max-steps", "1"]
        let goesOn = try meraser(model + second)
        #expect(goesOn.status == 0, "\(goesOn.error)")
        let config = try String(
            contentsOf: folder.appendingPathComponent("second/adapter_config.json"), encoding: .utf8)
        #expect(config.contains(#""r": 2"#))
        #expect(try record(folder, "second")["initial_sha256"]?.string?.count == 64)
        let clash = try meraser(model + second + ["--r", "4"])
        #expect(clash.status == 2 && clash.error.contains("--r is what the adapter of --init-adapter says"))
    }
}

@Test("data that nothing reads ends in one line with what to do, and status 3; a list that is none in status 2")
func refusedData() throws {
    try withTemporaryFolder { folder in
        let (mix, others) = try files(folder)
        let parquet = folder.appendingPathComponent("d.parquet").path
        try Data("PAR1".utf8).write(to: URL(fileURLWithPath: parquet))
        for (data, status, named) in [
            (mix, 3, "--remove-columns score"), (parquet, 3, "read_parquet"), ("\(others):1,\(parquet)", 2, "--data"),
            ("\(others):1", 2, "one file alone"),
        ] {
            let result = try meraser([
                "erase", "--model", tinychatFolder().path, "--data", data, "--out",
                folder.appendingPathComponent("out").path,
            ])
            #expect(result.status == status && result.errorLines.count == 1, "\(data): \(result.error)")
            #expect(result.error.contains(named), "\(result.error)")
        }
        let stats = try meraser([
            "dataset", "stats", folder.appendingPathComponent("a.csv").path, "--remove-columns", "score",
        ])
        #expect(stats.status == 0 && stats.output.contains("prompt/response"), "\(stats.error)")
    }
}
