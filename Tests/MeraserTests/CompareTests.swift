import Base
import Foundation
import TestSupport
import Testing

/// A comparison on the bundled model with a mark of a few steps.
private func writeComparison(_ folder: URL) throws -> URL {
    let text = """
        {"text": "def add(a, b):\\n    return a + b"}
        {"text": "The sun rose over the quiet village."}
        """
    try Data(text.utf8).write(to: folder.appendingPathComponent("text.jsonl"))
    let examples = packageRoot().appendingPathComponent("Examples").path
    let file = folder.appendingPathComponent("compare.yml")
    try Data(
        """
        title: tinychat
        reference: \(examples)/tinychat
        quantize: q8_0
        clean_data: \(examples)/data/clean.json
        mismatch: \(examples)/data/erase_source.json
        mismatch_count: 16
        ppl: {data: text.jsonl, max_length: 64}
        victims:
          - name: utf
            fingerprint: {scheme: utf, count: 4, max_steps: 3, guess_test: 0}
        methods:
          - method: none
          - name: transfer
            erase: {r: 4}
            budgets: [2]
          - {name: Q4, method: quantize, type: q4_0}
          - {name: broken, method: commands, commands: ["inspect nowhere.mqf"]}
        """.utf8
    ).write(to: file)
    return file
}

@Test("a comparison measures its cells, names what failed, and every printed command gives its result again")
func comparisonOnTinychat() throws {
    try withTemporaryFolder { folder in
        let file = try writeComparison(folder)
        let out = folder.appendingPathComponent("out")
        let command = ["compare", file.path, "--out", out.path, "-q"]
        let script = try meraser(["compare", file.path, "--dry-run"])
        #expect(script.status == 0)
        #expect(script.output.contains("meraser fingerprint --model shared/tinychat-q8_0/model.mqf"))
        #expect(!FileManager.default.fileExists(atPath: out.path))

        let result = try meraser(command + ["--json"])
        // A cell that failed is a line of the table, and no success.
        #expect(
            result.status == 1 && result.errorLines.last?.contains("cells/utf/broken") == true,
            "\(result.error)")
        let json = try JSONValue.parse(Array(result.output.utf8), file: "compare")
        let cells = try json.array("cells", in: "compare")
        #expect(cells.map { $0["method"]?.string } == ["reference", "none", "transfer", "Q4", "broken"])
        #expect(cells.map { $0["state"]?.string } == ["done", "done", "done", "done", "failed"])
        #expect(cells[4]["error"]?.string?.contains("nowhere.mqf") == true)
        for cell in cells.prefix(4) {
            let nll = try cell.double("target_nll", in: "cell")
            let ppl = try cell.double("ppl", in: "cell")
            #expect(cell["n"]?.int == 4 && nll > 0 && ppl > 1)
        }
        // What was quantized has the same measured on what it was quantized from; so has the clean model.
        #expect(cells.map { $0["source_fsr"]?.double != nil } == [true, true, true, true, false])
        // Three steps towards the target are enough to make it cheaper than in the reference.
        #expect(try cells[1].double("target_nll", in: "none") < cells[0].double("target_nll", in: "reference"))
        #expect(cells[2]["samples"]?.int == 16 && cells[1]["samples"]?.isNull == true)
        let peak = try cells[2].int("peak_rss_bytes", in: "transfer")
        #expect(peak > 10_000_000 && cells[1]["seconds"]?.isNull == true)

        // The printed check, run by a shell in the comparison's folder, prints what the cell's check printed.
        let whole = try JSONValue.parse(
            Array(try Data(contentsOf: out.appendingPathComponent("compare.json"))), file: "compare.json")
        let commands = try #require(whole["cells"]?.array?[2]["commands"]?.array)
        let check = try #require(commands.first { $0["purpose"]?.string == "check" }?["command"]?.string)
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        let binary = try #require(meraserBinary()).path
        shell.arguments = ["-c", "cd \"$0\" && exec \"$1\" \(check.dropFirst("meraser ".count))", out.path, binary]
        let pipe = Pipe()
        shell.standardOutput = pipe
        shell.standardError = FileHandle.nullDevice
        try shell.run()
        let again = pipe.fileHandleForReading.readDataToEndOfFile()
        shell.waitUntilExit()
        #expect(again == (try Data(contentsOf: out.appendingPathComponent("cells/utf/transfer-2/check.json"))))

        let text = try meraser(["compare", file.path, "--out", out.path, "--only", "utf/Q4"])
        #expect(text.status == 0 && text.output.contains("transfer 2"))
        #expect(text.error.contains(" of 5: cells/utf/Q4: done before"), "\(text.error)")
        let judged = try meraser(
            [
                "compare", file.path, "--out", out.path, "--only", "utf/Q4", "-q", "--fail-if",
                "n==4 && ppl>1",
            ])
        #expect(
            judged.status == 4 && judged.error.contains("check failed: utf/"), "\(judged.error)")
    }
}

@Test("an interrupted comparison ends with status 130 and its table, and goes on where it was")
func comparisonIsInterrupted() throws {
    try withTemporaryFolder { folder in
        let file = try writeComparison(folder)
        let out = folder.appendingPathComponent("out")
        let command = ["compare", file.path, "--out", out.path, "--only", "none"]
        let running = try RunningCommand(command)
        let log = out.appendingPathComponent("victims/utf/fingerprint.log").path
        while running.isRunning, !FileManager.default.fileExists(atPath: log) { usleep(10_000) }
        kill(running.id, SIGTERM)
        let stopped = try running.wait()
        #expect(stopped.status == 130 && stopped.error.contains("run again to continue"), "\(stopped.error)")
        #expect(FileManager.default.fileExists(atPath: out.appendingPathComponent("compare.md").path))
        let resumed = try meraser(command)
        #expect(resumed.status == 0 && resumed.error.contains("shared/tinychat-q8_0: done before"), "\(resumed.error)")
    }
}
