import Audit
import Base
import Foundation
import TestSupport
import Testing

@testable import Pipeline

@Suite("a report's tables")
struct ReportTableTests {
    private let table = PageTable(
        columns: [.init("method"), .init("FSR", group: "erased"), .init("verdict", group: "erased", isText: true)],
        rows: [
            [PageTable.Cell("<a>"), PageTable.Cell("1 %", details: ["1/100"], key: 0.01, isBest: true), .missing],
            [
                PageTable.Cell("b", anchor: "run-2"), PageTable.Cell("2 %", key: 0.02),
                PageTable.Cell("gone", tone: .good),
            ],
        ], isSortable: true)

    @Test("name every cell's column, its sort key and its tone, and escape every text")
    func markup() {
        let text = table.markup
        #expect(text.contains("<th scope=\"row\">&lt;a&gt;</th>") && !text.contains("<a>"))
        #expect(
            text.contains(
                "<td data-label=\"erased FSR\" data-sort=\"0.01\"><strong class=\"best\">1 %</strong><small>1/100</small></td>"
            ))
        #expect(text.contains("<a href=\"#run-2\">b</a>") && text.contains("<span class=\"good\">gone</span>"))
        #expect(text.contains("<th scope=\"colgroup\" colspan=\"2\">erased</th>"))
        #expect(text.contains("data-column=\"0\" rowspan=\"2\">method</th>"))
        #expect(table.texts == [["method", "FSR", "verdict"], ["<a>", "1 %", "–"], ["b", "2 %", "gone"]])
    }

    @Test("as comma-separated values are quoted as RFC 4180 says, and hold no formula")
    func sheets() {
        let sheet = FigureSheet(
            "x.csv", columns: ["a", "b"],
            rows: [[.text("x, \"y\"\nz"), .real(-0.5)], [.text("=1+1"), .null], [.text("-a"), .integer(3)]])
        #expect(sheet.text == "a,b\r\n\"x, \"\"y\"\"\nz\",-0.5\r\n'=1+1,\r\n'-a,3\r\n")
    }

    @Test("of a run hold each measure of each stage and each step of each training")
    func runSheets() throws {
        try withTemporaryFolder { folder in
            try SampleRun().write(to: folder)
            let report = try RunReport.rewrite(folder: folder.path)
            func lines(_ name: String) throws -> [[String]] {
                try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
                    .components(separatedBy: "\r\n").dropLast().map { $0.components(separatedBy: ",") }
            }
            let figures = try lines("figures.csv")
            #expect(figures[0] == ["stage", "measure", "value", "low", "high", "stderr", "hits", "n"])
            #expect(figures.allSatisfy { $0.count == 8 })
            let fsr = try #require(figures.first { $0.prefix(2) == ["before", "fsr"] })
            #expect(Double(fsr[2]) == 1 && fsr.suffix(2) == ["32", "32"])
            #expect(Double(fsr[3]) == report.stages[1].check.interval.low)
            let erased = try #require(figures.first { $0.prefix(2) == ["erased", "ppl"] })
            #expect(Double(erased[2]) == 20 && Double(erased[5]) == 0.5)
            let curves = try lines("curves.csv")
            #expect(curves.count { $0[0] == "erase" && $0[2] == "loss" } == 3)
            #expect(
                curves.contains(["erase", "3", "target_nll", "2"])
                    || curves.contains(["erase", "3", "target_nll", "2.0"]))
        }
    }
}

@Suite("reports of other folders")
struct FolderReportTests {
    private func write(_ value: JSONValue, _ name: String, in folder: URL) throws {
        let url = folder.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(value.serialized().utf8).write(to: url)
    }

    private func look(_ phase: String, _ step: Int, _ verdict: String, kl: JSONValue) -> JSONValue {
        [
            "phase": .text(phase), "step": .integer(step), "verdict": .text(verdict),
            "hits": .integer(step == 0 ? 7 : 0),
            "n": .integer(8), "prefix_match": .real(0.5), "target_nll": .real(4.25), "trace": .text("unconditional"),
            "excess": .real(-0.5), "share": .real(0.25), "unconditional": .real(0.1), "kl": kl,
        ]
    }

    /// A removal's folder: a trial, a round, and its result if it is finished.
    private func removal(in folder: URL, verdict: String?) throws {
        try write(
            [
                "auto": .text("key_known"), "meraser_version": .text("0.1.0"), "isa": .text("avx2"),
                "seed": .integer(42),
                "model": .text("m"), "key": .text("k"), "adapters": .array([]), "data": .null,
            ], "run.json", in: folder)
        let looks = [
            look("before", 0, "marked", kl: .null), look("erase-1", 5, "traces", kl: .real(0.5)),
            look("erase-1", 10, "gone", kl: .real(0.25)), look("recover-1", 4, "gone", kl: .real(0.125)),
        ]
        let phases: [(String, [JSONValue])] = [
            ("trial-1", []), ("erase-1", [looks[1], looks[2]]), ("recover-1", [looks[3]]),
        ]
        for (name, rows) in phases {
            try write(
                [
                    "stage": .text(name), "inputs": [:], "seconds": .real(2),
                    "machine": ["cpu": .text("<cpu>"), "cores": .integer(2)], "result": ["looks": .array(rows)],
                ], "stages/\(name).json", in: folder)
        }
        for (name, count) in [("erase-1", 10), ("recover-1", 4)] {
            let lines = (1...count).map { "{\"step\": \($0), \"loss\": \(1 / Double($0))}\n" }.joined()
            let url = folder.appendingPathComponent("phases/\(name)/train_log.jsonl")
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(lines.utf8).write(to: url)
        }
        guard let verdict else { return }
        try write(
            [
                "verdict": .text(verdict), "learning_rate": .real(0.003), "looks": .array(looks),
                "training": ["steps": .integer(14), "seconds": .real(4)],
                "certificate": ["verdict": .text(verdict), "reason": .text("so the decoys say")], "durability": .null,
            ], "auto.json", in: folder)
    }

    @Test(
        "a removal that chose its own dose shows its looks, its phases and what decoys say",
        arguments: [
            ("gone", "Yes"), ("traces", "No, traces are left"), ("marked", "No"),
            ("not_shown", "Silenced, but not proven removed"),
        ])
    func automatic(verdict: String, answer: String) throws {
        try withTemporaryFolder { folder in
            try removal(in: folder, verdict: verdict)
            let report = try folderReport(of: folder.path)
            try report.write()
            #expect(
                report.table.map { $0[0] } == ["phase and step", "before 0", "erase-1 5", "erase-1 10", "recover-1 4"])
            #expect(report.table[2][2] == "0/8" && report.table[4][7] == "0.1250")
            #expect(report.json["verdict"]?["removal"]?["answer"]?.string == answer)
            #expect(report.json["verdict"]?["presence"]?["answer"]?.string == "Yes")
            let page = try String(contentsOfFile: report.htmlPath, encoding: .utf8)
            for text in [answer, "So the decoys say.", "erase-1 10", "&lt;cpu&gt;", "14 steps", "KL 0.1250"] {
                #expect(page.contains(text), "\(text)")
            }
            // Loss, target NLL, share of the margin, what is left against what it costs.
            #expect(page.components(separatedBy: "<svg ").count == 5)
            let curves = try String(contentsOf: folder.appendingPathComponent("curves.csv"), encoding: .utf8)
            // Steps are counted through: the look at the end of recovery is at 14.
            #expect(curves.contains("recover-1,14,kl,0.125\r\n") && curves.contains("erase,14,loss,0.25\r\n"))
        }
    }

    @Test("one that is not finished shows what is there; a damaged one is an error that names the file")
    func unfinished() throws {
        try withTemporaryFolder { folder in
            try removal(in: folder, verdict: nil)
            let report = try folderReport(of: folder.path)
            #expect(report.json["verdict"]?["removal"]?["answer"]?.string == "Not finished")
            #expect(try report.html().contains("14 steps so far"))
            try write(["looks": .array([["phase": .text("x")]])], "auto.json", in: folder)
            let error = try #require(throws: MeraserError.self) { try folderReport(of: folder.path) }
            #expect(error.kind == .badInput && error.message.contains("auto.json"))
        }
    }

    @Test("a search has a page with its frontier")
    func search() throws {
        try withTemporaryFolder { folder in
            func figures(_ hits: Int, _ nll: Double, _ ppl: Double) -> [(key: String, value: JSONValue)] {
                [
                    ("hits", .integer(hits)), ("n", .integer(8)), ("fsr", .real(Double(hits) / 8)),
                    ("prefix_match_mean", .real(0.1)), ("target_nll_mean", .real(nll)), ("ppl", .real(ppl)),
                ]
            }
            func trial(_ name: String, _ isBest: Bool, _ values: [(key: String, value: JSONValue)]) -> JSONValue {
                .object(
                    JSONObject(
                        [
                            ("name", .text(name)), ("rung", .integer(0)), ("configuration", ["r": .integer(8)]),
                            ("erase_steps", .integer(3)), ("recover_steps", .integer(2)), ("seconds", .real(1.5)),
                            ("on_frontier", .bool(isBest)), ("commands", .array([.text("meraser erase --x '<y>'")])),
                        ] + values))
            }
            try write(
                [
                    "search": .text("abc"), "meraser_version": .text("0.1.0"), "isa": .text("avx2"),
                    "seed": .integer(1), "model": .text("m"),
                ],
                "run.json", in: folder)
            let found: JSONValue = [
                "trials": .array([
                    trial("trial-000-rung-0", true, figures(0, 12, 10.5)),
                    trial("trial-001-rung-0", false, figures(3, 6, 11)),
                ]), "frontier": .array([.text("trial-000-rung-0")]),
                "marked": .object(JSONObject(figures(8, 1, 10))),
                "reference": .object(JSONObject(figures(0, 13, 10.25))),
            ]
            try write(found, "search.json", in: folder)
            let report = try folderReport(of: folder.path)
            try report.write()
            #expect(
                report.table.map { $0[0] } == ["trial", "reference", "marked", "trial-000-rung-0", "trial-001-rung-0"])
            let page = try report.html()
            #expect(page.contains("<strong class=\"best\">trial-000-rung-0</strong>") && page.contains("&lt;y&gt;"))
            #expect(!page.contains("<strong class=\"best\">trial-001-rung-0</strong>"))
            #expect(page.contains("1 of 2 trials") && page.components(separatedBy: "<svg ").count == 3)
            let sheet = try String(contentsOf: folder.appendingPathComponent("figures.csv"), encoding: .utf8)
            #expect(sheet.hasPrefix("name,rung,") && sheet.contains(",on_frontier,r\r\n"))
        }
    }
}
