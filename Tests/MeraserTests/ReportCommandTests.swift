import Foundation
import TestSupport
import Testing

@Suite("meraser report")
struct ReportCommandTests {
    /// An unfinished run of one check.
    private func writeRun(_ folder: URL, title: String) throws {
        let stages = folder.appendingPathComponent("stages")
        try FileManager.default.createDirectory(at: stages, withIntermediateDirectories: true)
        let run =
            #"{"meraser_version": "0.1.0", "recipe": "", "title": "\#(title)", "model": "m", "isa": "avx2", "seed": 42}"#
        try Data(run.utf8).write(to: folder.appendingPathComponent("run.json"))
        let record = """
            {"inputs": {}, "seconds": 1, "result": {"ppl": null, "eval": null, "check": {"scheme": "utf", "n": 1, "hits": 1,
            "prefix_match_mean": 1, "target_nll_mean": 1, "false_activations": 0, "n_clean": 1, "rows": [{"id": "a",
            "prompt": "p", "target": "t", "output": "t", "hit": true, "prefix_match": 1, "target_nll": 1}]}}}
            """
        try Data(record.utf8).write(to: stages.appendingPathComponent("before.json"))
    }

    @Test("writes a run's page anew, compares runs where --out says, and replaces nothing unasked")
    func writesPages() throws {
        try withTemporaryFolder { folder in
            let runs = ["one", "two"].map { folder.appendingPathComponent($0) }
            for run in runs { try writeRun(run, title: run.lastPathComponent) }
            let single = try meraser(["report", runs[0].path])
            #expect(single.status == 0 && single.output.contains("Was it there?"), "\(single.error)")
            let made = ["figures.csv", "report.html", "report.json", "run.json", "stages"]
            #expect(try names(in: runs[0]) == made)

            let page = folder.appendingPathComponent("page.html").path
            let compare = ["report", runs[0].path, runs[1].path, "--out", page]
            let both = try meraser(compare + ["--json"])
            #expect(both.status == 0 && both.output.contains(#""runs""#) && both.output.contains("page.html"))
            #expect(try meraser(compare).status == 2)
            #expect(try meraser(compare + ["--overwrite"]).status == 0)
            let out = folder.appendingPathComponent("comparison")
            #expect(try meraser(["report", runs[0].path, runs[1].path, "--out", out.path]).status == 0)
            #expect(try names(in: out) == [".meraser.json", "report.html", "report.json"])
        }
    }

    @Test("ends in one line for wrong usage, and for folders that hold no run or a damaged one")
    func errors() throws {
        try withTemporaryFolder { folder in
            let run = folder.appendingPathComponent("run")
            try writeRun(run, title: "run")
            let empty = folder.appendingPathComponent("empty")
            try FileManager.default.createDirectory(at: empty, withIntermediateDirectories: true)
            let page = folder.appendingPathComponent("page.html").path
            for (arguments, status, text) in [
                ([run.path, empty.path], 2, "--out"), ([run.path, run.path, "--out", page], 2, "named twice"),
                ([run.path, empty.path, "--out", page], 3, "run.json"),
                ([run.path, folder.path + "/missing", "--out", page], 3, "missing"), ([], 2, "runs"),
            ] as [([String], Int32, String)] {
                let result = try meraser(["report"] + arguments)
                #expect(result.status == status && result.errorLines.count == 1, "\(result.error)")
                #expect(result.error.contains(text), "\(result.error)")
            }
            try Data("{".utf8).write(to: run.appendingPathComponent("stages/before.json"))
            let damaged = try meraser(["report", run.path])
            #expect(damaged.status == 3 && damaged.error.contains("before.json") && damaged.errorLines.count == 1)
            #expect(try names(in: run) == ["run.json", "stages"])
        }
    }
}
