import Base
import Foundation

/// The report of a pipeline run, made from the records in its folder: figures, verdict, a page.
public struct RunReport: FolderReport {
    /// What the model was measured at, in order.
    public let stages: [Stage]
    /// `report.json`.
    public let json: JSONValue
    /// Where `rewrite` puts `report.html`.
    public let htmlPath: String
    /// The records that the report is made from.
    let run: RunRecords
    /// Was the mark there, is it gone, what did that cost.
    let verdict: Verdict
    private let folder: RunFolder

    /// Reads a run, finished or not, and writes nothing.
    ///
    /// - Throws: a bad-input error that names the file, if the folder holds no run or a damaged one.
    public init(folder path: String) throws { try self.init(try RunFolder(existing: path)) }

    init(_ folder: RunFolder) throws {
        self.folder = folder
        run = try RunRecords(folder)
        stages = run.stages
        verdict = Verdict(run)
        json = Self.assemble(run, verdict)
        htmlPath = folder.file("report.html")
    }

    /// Makes `report.json` and `report.html` anew in the folder of a run, finished or not.
    ///
    /// - Throws: a bad-input error that names the file, if the folder holds no run or a damaged one.
    public static func rewrite(folder path: String) throws -> RunReport {
        try write(try RunFolder(existing: path))
    }

    static func write(_ folder: RunFolder) throws -> RunReport {
        let report = try RunReport(folder)
        try report.write()
        return report
    }

    /// Writes `report.json`, `report.html` and the figures into the run's folder.
    public func write() throws {
        let html = try html()
        try folder.write(json, to: "report.json")
        try folder.write(html, to: "report.html")
        for sheet in sheets { try folder.write(sheet.text, to: sheet.name) }
    }

    /// `report.html`: one file that needs nothing else.
    public func html() throws -> String {
        HTMLPage(title: run.text("title"), body: try RunSection(self).body()).html()
    }

    /// What `run --json` prints: the table, the verdict, and where the report is.
    public var summary: JSONValue {
        ["table": json["table"] ?? .null, "verdict": verdict.json, "report": .text(htmlPath)]
    }

    /// The verdict's three answers, a line each, for terminals.
    public var verdictLines: [String] {
        verdict.findings.map { "\($0.question) \($0.answer). \($0.sentence)" }
    }

    /// True if triggers, targets and outputs are hashes.
    public var isRedacted: Bool { run.isRedacted }

    // MARK: report.json

    private static func assemble(_ run: RunRecords, _ verdict: Verdict) -> JSONValue {
        func object(_ members: [(key: String, value: JSONValue)]) -> JSONValue {
            .object(JSONObject(members))
        }
        func records(_ key: String) -> JSONValue {
            object(run.records.map { (key: $0.stage.description, value: $0.record[key] ?? .null) })
        }
        return [
            "run": run.identity, "machine": run.machine ?? .null, "verdict": verdict.json,
            "table": .array(run.stages.map(row)),
            "stages": object(run.stages.map { (key: $0.name.rawValue, value: $0.result) }),
            "training": object(run.trainings.map { (key: $0.name.rawValue, value: $0.json) }),
            "scan": run.result(of: .scan) ?? .null,
            "export": run.result(of: .export) ?? .null,
            "certificate": run.result(of: .certify) ?? .null,
            "durability": run.result(of: .durable) ?? .null,
            "relearn": run.result(of: .relearn) ?? .null,
            "inputs": records("inputs"), "seconds": records("seconds"),
            "peak_rss_bytes": run.peakBytes.map { .integer($0) } ?? .null,
            "reported": .text(Date().formatted(.iso8601)),
        ]
    }

    /// A row of the table before / erased / recovered.
    private static func row(_ stage: Stage) -> JSONValue {
        let check = stage.result["check"]
        return [
            "stage": .text(stage.name.rawValue), "type": stage.type.map { .text($0) } ?? .null,
            "fsr": check?["fsr"] ?? .null,
            "fsr_interval": check?["fsr_interval"] ?? .null, "hits": check?["hits"] ?? .null,
            "n": check?["n"] ?? .null, "p_value": check?["p_value"] ?? .null,
            "claim": check?["claim"] ?? .null,
            "target_rank": check?["target_rank_mean"] ?? .null,
            "prefix_match": check?["prefix_match_mean"] ?? .null,
            "target_nll": check?["target_nll_mean"] ?? .null, "ppl": stage.result["ppl"]?["ppl"] ?? .null,
            "ppl_stderr": stage.result["ppl"]?["stderr"] ?? .null,
            "false_activations": check?["false_activations"] ?? .null,
            "n_clean": check?["n_clean"] ?? .null,
            "tasks": .object(
                JSONObject(
                    stage.tasks.map { task in
                        let figures = task.metrics.map {
                            (key: $0.name, value: JSONValue.real($0.estimate.value))
                        }
                        return (key: task.name, value: .object(JSONObject(figures)))
                    })),
        ]
    }

    /// The table as rows of cells, the measures' names first; for terminals.
    public var table: [[String]] {
        func cells(_ name: String, _ text: (Stage) -> String?) -> [String] {
            [name] + stages.map { text($0) ?? "–" }
        }
        return [
            [""] + stages.map(\.name.rawValue), cells("weights") { $0.type?.showingInvisibles },
            cells("FSR") { "\(Figures.percent($0.check.fsr)) (\($0.check.hits)/\($0.check.n))" },
            cells("prefix match") { Figures.percent($0.check.prefixMatch) },
            cells("target NLL") { $0.check.targetNLL.map { Figures.number($0, 2) } },
            cells("perplexity") { $0.perplexity.map { Figures.number($0.value, 3) } },
            cells("false activations") { stage in
                stage.check.falseActivations.map { "\($0)/\(stage.check.nClean)" }
            },
        ]
            + taskNames.map { name in
                cells("\(name) acc") { stage in
                    stage.tasks.first { $0.name == name }?.metric("acc").map { Figures.estimate($0, 3) }
                }
            }
    }

    /// The tasks that any stage scored, in their order.
    var taskNames: [String] {
        stages.flatMap { $0.tasks.map(\.name) }.reduce(into: []) { names, name in
            if !names.contains(name) { names.append(name) }
        }
    }
}
