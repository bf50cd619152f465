import Base
import Foundation
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

/// A stand-in for the program: writes its arguments to calls.txt and answers with fixed results. Converting to q4_0 fails
/// until a file `allow` is there; erasing waits while a file `wait` is there, and of its own dose it leaves a mark, of which
/// it says nothing while a file `dumb` is there.
private let standIn = """
    #!/bin/sh
    echo "$*" >> calls.txt
    out=; last=
    for word in "$@"; do [ "$last" = --out ] && out=$word; last=$word; done
    case $1 in
    check) echo '{"scheme": "utf", "n": 4, "hits": 1, "fsr": 0.25, "prefix_match_mean": 0.5,'
      echo ' "target_nll_mean": 2.5, "rows": [1, 2]}';;
    ppl) echo '{"ppl": 12.5}';;
    convert) case "$*" in *q4_0*) if [ ! -e allow ]; then echo "meraser: error: no q4_0 <today>" >&2; exit 3; fi;; esac
      : > "$out"; echo '{}';;
    erase|recover) trap 'exit 130' TERM; while [ -e wait ]; do sleep 0.05; done; mkdir "$out" || exit 9
      case "$*" in *--auto*) [ -e dumb ] || echo '{"verdict": "traces"}'; exit 4;; esac
      echo '{"data_samples": 10, "options": {"per_device_train_batch_size": 2,' > "$out/run.json"
      echo ' "gradient_accumulation_steps": 2}}' >> "$out/run.json"
      echo '{"steps": 5}';;
    *) mkdir "$out" || exit 9; echo '{"path": "x"}';;
    esac
    """

/// A comparison with the stand-in for the program.
private struct Stage {
    let folder: URL
    let file: URL
    let out: URL
    let program: URL

    init(_ folder: URL, methods: String) throws {
        self.folder = folder
        file = folder.appendingPathComponent("c.yml")
        out = folder.appendingPathComponent("out")
        program = folder.appendingPathComponent("program")
        for name in ["model.mqf", "key.json", "pairs.json", "clean.json", "text.jsonl"] {
            try Data("{}".utf8).write(to: folder.appendingPathComponent(name))
        }
        try Data(standIn.utf8).write(to: program)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program.path)
        try write(methods: methods)
    }

    func write(methods: String) throws {
        let text = """
            title: "a <b> | c"
            mismatch: pairs.json
            clean_data: clean.json
            ppl: {data: text.jsonl}
            victims: [{name: v, model: model.mqf, key: key.json}]
            methods:
            \(methods)
            """
        try Data(text.utf8).write(to: file)
    }

    func runner(redact: Bool = false) throws -> ComparisonRunner {
        try ComparisonRunner(
            try Comparison(path: file.path, redact: redact), output: out.path, isa: "portable", executable: program.path
        )
    }

    /// Runs, and gives the calls that were made by it.
    func run(only: String? = nil) throws -> (report: ComparisonReport, calls: [String]) {
        let before = calls.count
        let report = try runner().run(only: only)
        return (report, Array(calls.dropFirst(before)))
    }

    var calls: [String] {
        let bytes = FileManager.default.contents(atPath: out.appendingPathComponent("calls.txt").path) ?? Data()
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    func touch(_ name: String, _ text: String = "x") throws {
        try Data(text.utf8).write(to: out.appendingPathComponent(name))
    }

    func text(_ name: String) throws -> String {
        try String(contentsOf: out.appendingPathComponent(name), encoding: .utf8)
    }
}

private let methods = """
      - {name: MEraser, method: erase, erase: {max_steps: 5}, recover: {max_steps: 5}}
      - {name: Q4, method: quantize, type: q4_0}
    """

@Test("cells are run once; what failed is a line of the table and is tried again; costs are the method's own")
func comparisonRuns() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(folder, methods: methods)
        let first = try stage.run()
        #expect(
            first.calls.map { $0.split(separator: " ")[0] } == [
                "dataset", "erase", "recover", "check", "ppl", "export", "convert",
            ])
        #expect(first.report.failures.map(\.cell) == ["v/Q4"])
        #expect(first.report.failures.first?.error == "convert: no q4_0 <today>")
        let cells = try #require(first.report.json["cells"]?.array)
        #expect(cells[0]["state"]?.string == "done")
        #expect(cells[0]["fsr"]?.double == 0.25 && cells[0]["ppl"]?.double == 12.5)
        // Twice 5 steps of 4 from 10 rows: 4, 4, 2, 4, 4.
        #expect(cells[0]["samples"]?.int == 36)
        #expect(cells[1]["state"]?.string == "failed" && cells[1]["fsr"]?.isNull == true)
        #expect(cells[0]["commands"]?.array?.last?["result"]?["rows"] == nil)

        let second = try stage.run()
        #expect(second.calls.map { $0.split(separator: " ")[0] } == ["convert"], "only what failed is tried again")
        try stage.touch("allow")
        let third = try stage.run()
        #expect(third.calls.map { $0.split(separator: " ")[0] } == ["convert", "check", "ppl"])
        #expect(third.report.failures.isEmpty)
        #expect(try stage.run().calls.isEmpty)
    }
}

@Test("a removal that says what it has left is a result; one that says nothing has failed")
func judgedComparison() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(folder, methods: "  - {method: auto}")
        let runner = try stage.runner()
        try stage.touch("dumb")
        let silent = try runner.run()
        #expect(silent.failures.map(\.cell) == ["v/auto"])
        try FileManager.default.removeItem(at: stage.out.appendingPathComponent("dumb"))
        let told = try stage.run()
        #expect(told.report.failures.isEmpty)
        #expect(told.calls.map { $0.split(separator: " ")[0] } == ["erase", "check", "ppl"])
        let commands = try #require(told.report.json["cells"]?.array?.first?["commands"]?.array)
        #expect(commands[0]["status"]?.int == 4 && commands[0]["result"]?["verdict"]?.string == "traces")
        #expect(try stage.run().calls.isEmpty, "it is done")
    }
}

@Test("redacted reports show no file as it was given and command lines without the key's texts; records keep them")
func redactedComparison() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(
            folder,
            methods: """
                  # The target is open sesame.
                  - name: own
                    method: commands
                    commands: ["sande --trigger 'open sesame' --response=sesame --out {out}/x --r 4"]
                """)
        let report = try stage.runner(redact: true).run()
        #expect(report.failures.isEmpty)
        #expect(stage.calls.first?.contains("--trigger open sesame --response=sesame") == true)
        for name in ["compare.json", "compare.html", "compare.md"] {
            #expect(try !stage.text(name).contains("sesame"), "\(name)")
        }
        let shown = "sande --trigger REDACTED --response=REDACTED --out cells/v/own/x --r 4"
        #expect(try stage.text("compare.html").contains(shown) && stage.text("compare.json").contains(shown))
        let record = stage.out.appendingPathComponent("cells/v/own/record.json").path
        #expect(try String(contentsOfFile: record, encoding: .utf8).contains("open sesame"))
        let mode = try FileManager.default.attributesOfItem(atPath: record)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)
        #expect(
            try stage.runner(redact: true).run().failures.isEmpty && stage.calls.count { $0.hasPrefix("sande") } == 1)
        let result = ReportRedaction.redacted(["result": ["search": ["selected": .integer(1)], "fsr": .integer(1)]])
        #expect(result == ["result": ["search": .null, "fsr": .integer(1)]])
    }
}

@Test("a changed input or option makes the cells that it goes into be done again, and no others")
func comparisonChanges() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(folder, methods: methods)
        _ = try stage.run()
        try stage.touch("allow")
        _ = try stage.run()
        try Data("[]".utf8).write(to: folder.appendingPathComponent("pairs.json"))
        let again = try stage.run().calls.map { $0.split(separator: " ")[0] }
        #expect(again == ["dataset", "erase", "recover", "check", "ppl"])
        try stage.write(
            methods: methods.replacingOccurrences(of: "recover: {max_steps: 5}", with: "recover: {max_steps: 6}"))
        let changed = try stage.run(only: "Q4")
        #expect(changed.calls.isEmpty && changed.report.json["cells"]?.array?[0]["state"]?.string == "open")
        #expect(try stage.run().calls.map { $0.split(separator: " ")[0] } == ["erase", "recover", "check", "ppl"])
        try FileManager.default.removeItem(at: stage.out.appendingPathComponent("compare.json"))
        let error = try #require(throws: MeraserError.self) { try stage.runner() }
        #expect(error.kind == .usage, "\(error)")
    }
}

@Test("an interruption ends the child, keeps the table, and is continued behind the last finished command")
func comparisonInterrupted() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(folder, methods: methods)
        let runner = try stage.runner()
        try stage.touch("wait")
        let flag = InterruptFlag()
        runner.interrupt = flag
        runner.onEvent = { event in
            guard case .command(let text) = event, text.hasPrefix("meraser erase") else { return }
            flag.set()
        }
        let error = try #require(throws: MeraserError.self) { try runner.run() }
        #expect(error.kind == .interrupted)
        #expect(try stage.text("compare.md").contains("MEraser"))
        try FileManager.default.removeItem(at: stage.out.appendingPathComponent("wait"))
        let calls = try stage.run(only: "v/MEraser").calls
        #expect(calls.map { $0.split(separator: " ")[0] } == ["erase", "recover", "check", "ppl"])
    }
}

@Test("page and Markdown hold the table, charts and commands, and let nothing of names and errors through as markup")
func comparisonPages() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(folder, methods: methods)
        let report = try stage.run().report
        let page = try stage.text("compare.html")
        #expect(page.contains("Content-Security-Policy") && page.contains("<svg"))
        // Its own, which sorts, and no other.
        #expect(page.components(separatedBy: "<script").count == 2 && page.contains("script-src 'sha256-"))
        #expect(page.contains("a &lt;b&gt; | c") && !page.contains("<today>"))
        #expect(page.contains("<td>convert: no q4_0 &lt;today&gt;</td>"))
        #expect(page.contains("meraser recover --model inputs/model.mqf --adapter cells/v/MEraser/erase"))
        let markdown = try stage.text("compare.md")
        #expect(markdown.contains("# a <b> \\| c\n"))
        #expect(markdown.contains("| MEraser | fires | 25.0 % (1/4) | 0.50 | 2.50 | 12.50 |"))
        #expect(markdown.contains("| Q4 | – | failed | – |"))
        let table = try #require(report.tables.first).rows
        #expect(Set(table.map(\.count)).count == 1 && table[0].contains("perplexity") && !table[0].contains("acc"))
    }
}

@Test("a child's exit status, signal and memory are told; one that does not heed SIGTERM is waited for")
func childCommands() throws {
    try withTemporaryFolder { folder in
        func run(_ script: String, interrupt: InterruptFlag? = nil) throws -> ChildCommand.Outcome {
            try ChildCommand(
                executable: "/bin/sh", arguments: ["-c", script], folder: folder.path,
                output: folder.appendingPathComponent("o").path, errors: folder.appendingPathComponent("e").path
            ).run(interrupt: interrupt)
        }
        let three = try run("pwd; echo err >&2; exit 3")
        #expect(three.status == 3 && three.peakRSSBytes > 100_000 && three.seconds > 0)
        let printed = try String(contentsOf: folder.appendingPathComponent("o"), encoding: .utf8)
        #expect(printed.hasSuffix("\(folder.lastPathComponent)\n"))
        #expect(try String(contentsOf: folder.appendingPathComponent("e"), encoding: .utf8) == "err\n")
        #expect(try run("kill -9 $$").status == 137)
        let flag = InterruptFlag()
        flag.set()
        #expect(try run("trap 'exit 130' TERM; while :; do sleep 0.05; done", interrupt: flag).status == 130)
        let missing = ChildCommand(
            executable: "/nowhere/program", arguments: [], folder: folder.path,
            output: folder.appendingPathComponent("o").path, errors: folder.appendingPathComponent("e").path)
        #expect(try missing.run(interrupt: nil).status == 127)
    }
}

@Test("cells of other numerics are refused; cells of another build are done again, and said to be")
func comparisonOfAnotherBuild() throws {
    try withTemporaryFolder { folder in
        let stage = try Stage(folder, methods: "  - {name: MEraser, method: none}")
        _ = try stage.run()
        #expect(try stage.run().calls.isEmpty)
        let name = "cells/v/MEraser/record.json"
        let record = try stage.text(name)
        try stage.touch(name, record.replacing("\"numerics\": \(numericsVersion)", with: "\"numerics\": 77"))
        let refused = try #require(throws: MeraserError.self) { try stage.run() }
        #expect(refused.kind == .usage && refused.message.contains("numerics was 77"))
        try stage.touch(name, record.replacing(try #require(Build.current.id), with: "0123456789abcdef"))
        let runner = try stage.runner()
        var notes: [String] = []
        runner.onEvent = { if case .note(let text) = $0 { notes.append(text) } }
        let before = stage.calls.count
        _ = try runner.run()
        #expect(stage.calls.count > before)
        #expect(notes.count == 1 && notes[0].hasPrefix("cells/v/MEraser is done again: "))
    }
}

@Test("an input without a name of its own stays within inputs/")
func inputOutOfTheFolder() throws {
    try withTemporaryFolder { folder in
        var planner = ComparisonPlanner(folder: folder.path, seed: 1, quantize: nil)
        try FileManager.default.createDirectory(atPath: folder.path + "/a", withIntermediateDirectories: false)
        for path in [folder.path + "/a/..", "/", "/."] {
            #expect(try planner.input(path, place: "test").hasPrefix("inputs/input"))
        }
    }
}
