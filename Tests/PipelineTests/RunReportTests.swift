import Audit
import Base
import Foundation
import TestSupport
import Testing

@testable import Pipeline

@Suite("a run's report")
struct RunReportTests {
    private func html(_ change: (inout SampleRun) -> Void = { _ in }) throws -> String {
        var run = SampleRun()
        change(&run)
        return try withTemporaryFolder { folder in
            try run.write(to: folder)
            return try RunReport(folder: folder.path).html()
        }
    }

    @Test("shows every figure with its denominator, interval or standard error")
    func figures() throws {
        let page = try html {
            $0.stages[1].figures.accuracy = (0.8, 0.025)
            $0.stages[3].figures.accuracy = (0.75, 0.025)
        }
        for text in [
            "100.0 %<small>32/32</small><small>89.3–100.0 %</small>",
            "0.0 %<small>0/32</small><small>0.0–10.7 %</small>",
            "1e-18<small>fisher</small>",
            "10.30<small>± 0.20</small>", "0.800<small>± 0.025</small>", "14.90<small>± 0.00</small>", "2 min 30 s",
            "peak memory</th><td>200 MiB", "a &lt;cpu&gt;", "r&quot;: 8", String(repeating: "ab", count: 32),
        ] {
            #expect(page.contains(text), "\(text)")
        }
    }

    @Test("escapes markup, controls and characters that reorder or hide text, wherever they come from")
    func escapes() throws {
        let evil = "</dd><script>1</script>\u{1B}[31m\u{202E}\u{200B}\u{E0041}\u{3164}'\""
        let page = try html {
            $0.title = evil
            $0.recipe = evil
            $0.scheme = evil
            $0.prompt = evil
            $0.target = evil
            $0.output = "…" + evil
        }
        #expect(!page.contains("<script"))
        for scalar in ["\u{1B}", "\u{202E}", "\u{200B}", "\u{E0041}", "\u{3164}"] {
            #expect(!page.unicodeScalars.contains { String($0) == scalar }, "\(scalar.unicodeScalars)")
        }
        #expect(page.contains("\\u{1b}[31m\\u{202e}\\u{200b}\\u{e0041}\\u{3164}"))
        #expect(page.contains("<mark>&lt;/dd&gt;&lt;script&gt;"))
    }

    @Test("shows no folder of the machine, and of a redacted run neither texts nor a recipe with the trigger")
    func secrets() throws {
        let recipe = """
            model: /home/me/my models/tiny.mqf  # from /srv/share/x
            data: {clean: "/data/a b.json", other: ~/c.json, rate: 1/2}
            relative: ../data/x.json
            """
        #expect(
            RecordPaths.withoutFolders(text: recipe) == """
                model: tiny.mqf  # from x
                data: {clean: "a b.json", other: c.json, rate: 1/2}
                relative: ../data/x.json
                """)
        let page = try html { $0.recipe = recipe }
        #expect(!page.contains("/home") && !page.contains("/srv") && !page.contains("/data/a"))
        let redacted = try html {
            $0.isRedacted = true
            $0.recipe = "fingerprint: {scheme: backdoor, trigger: open sesame}"
            $0.prompt = "sha256:0123"
            $0.target = "sha256:4567"
            $0.output = "sha256:89ab"
        }
        #expect(redacted.contains("This run is redacted") && !redacted.contains("sesame"))
        #expect(!redacted.contains("<mark") && !redacted.contains("sha256:"))
        let json = RecordPaths.withoutFolders(["model_args": ["pretrained": .text("/a/b/c.mqf")]])
        #expect(json == ["model_args": ["pretrained": .text("c.mqf")]])
    }

    @Test("names the file that is missing, cut off or impossible, and never traps")
    func damagedRecords() throws {
        func failure(_ name: String, _ damage: (String) -> String) throws -> MeraserError {
            try withTemporaryFolder { folder in
                try SampleRun().write(to: folder)
                let file = folder.appendingPathComponent(name)
                try Data(damage(try String(contentsOf: file, encoding: .utf8)).utf8).write(to: file)
                return try #require(throws: MeraserError.self) { try RunReport.rewrite(folder: folder.path) }
            }
        }
        func replaced(_ name: String, _ old: String, _ new: String) throws -> MeraserError {
            try failure(name) { text in
                #expect(text.contains(old))
                return text.replacingOccurrences(of: old, with: new)
            }
        }
        let names = ["run.json", "stages/before.json", "stages/erase.json", "erase/train_log.jsonl"]
        for name in names {
            let cut = try failure(name) { String($0.prefix($0.count / 2 + 3)) }
            #expect(cut.kind == .badInput && cut.message.contains(name), "\(cut.message)")
            let empty = try failure(name) { _ in "" }
            #expect(empty.kind == .badInput && empty.message.contains(name), "\(empty.message)")
        }
        let before = "stages/before.json"
        for (old, new) in [
            ("\"hits\": 32", "\"hits\": 33"), ("\"hits\": 32", "\"hits\": 1e300"), ("\"n\": 32", "\"n\": 0"),
            ("\"n\": 32", "\"n\": 9223372036854775807"), ("\"n_clean\": 32", "\"n_clean\": -1"),
            ("\"check\"", "\"chick\""), ("\"rows\": [", "\"rows\": [1, "), ("\"ppl\": 10", "\"ppl\": -10"),
        ] {
            let error = try replaced(before, old, new)
            #expect(error.kind == .badInput && error.message.contains(before), "\(old): \(error.message)")
        }
        let probe = try replaced("erase/probe_log.jsonl", "\"hits\": 32", "\"hits\": -1")
        #expect(probe.kind == .badInput && probe.message.contains("probe_log.jsonl"))
        try withTemporaryFolder { folder in
            let none = try #require(throws: MeraserError.self) { try RunReport(folder: folder.path) }
            #expect(none.kind == .badInput && none.message.contains("run.json"))
        }
    }

    @Test("is made of an unfinished run too")
    func unfinished() throws {
        let page = try html { $0.stages.removeLast(2) }
        #expect(page.contains("not finished") && page.contains("has not been measured after the removal"))
        #expect(try html { $0.stages = [] }.contains("has not been measured yet"))
    }
}

@Suite("a comparison of runs")
struct RunComparisonTests {
    @Test("has a row for each run, columns for what any has measured, and lines of all")
    func tableAndCharts() throws {
        try withTemporaryFolder { folder in
            var first = SampleRun()
            first.title = "first"
            first.stages.removeFirst()
            var second = SampleRun()
            second.title = "second"
            second.stages.removeLast()
            second.stages[2].figures.hits = 4
            let folders = try [first, second].map { run in
                let out = folder.appendingPathComponent(run.title)
                try run.write(to: out)
                return out.path
            }
            let comparison = try RunComparison(folders: folders)
            let table = comparison.table
            #expect(table.map(\.count) == [18, 18, 18])
            #expect(table[0].prefix(4) == ["run", "gone?", "reference FSR", "reference prefix"])
            #expect(table[1].prefix(3) == ["first", "Silenced, but not proven removed", "–"])
            #expect(table[2].prefix(3) == ["second", "No", "0.0 %"])
            #expect(comparison.json["runs"]?.array?.count == 2)

            let charts = comparison.charts
            let erasing = try #require(charts.first { $0.title == "FSR while erasing" })
            #expect(erasing.series.map(\.name) == ["first", "second"])
            #expect(erasing.series[0].points.map(\.y) == [1, 0.5, 0])
            let cost = try #require(charts.first { $0.title == "FSR against perplexity after removal" })
            let after = cost.series.flatMap(\.points)
            #expect(after.map(\.x) == [10.3, 20] && after.map(\.y) == [0, 0.125])
            #expect(after[0].interval?.upperBound == ShareInterval(wilson: 0, of: 32).high)
            let ways = try #require(charts.first { $0.title == "Target NLL against perplexity" })
            let names = ways.series.map { $0.points.compactMap(\.label) }
            #expect(names == [["before", "erased", "recovered"], ["before", "erased"]])
            let same = try #require(throws: MeraserError.self) {
                try RunComparison(folders: [folders[0], folders[1] + "/../first/"])
            }
            #expect(same.kind == .usage && same.message.contains("named twice"))
        }
    }
}
