import Audit
import Foundation
import Kernels
import Quant
import Tune

/// The report of a pipeline run, made from the records in its folder.
public struct RunReport: Sendable {
    /// One stage that was measured.
    public struct Stage: Sendable {
        /// `clean`, `before`, `erased` or `recovered`.
        public let name: String
        /// `{"check", "ppl", "eval"}` as the stage's record has it.
        public let result: JSONValue

        /// A number of the check, or nil.
        func check(_ key: String) -> Double? { result["check"]?[key]?.double }

        /// The names of the tasks that were scored.
        var tasks: [String] { result["eval"]?["results"]?.object?.members.map(\.key.string) ?? [] }

        /// A task's figure, `acc` or `acc_norm`, with its standard error, or nil.
        func task(_ name: String, _ metric: String) -> (value: Double, error: Double?)? {
            let result = result["eval"]?["results"]?[name]
            return result?["\(metric),none"]?.double.map { ($0, result?["\(metric)_stderr,none"]?.double) }
        }

        /// The rows of the check.
        var rows: [JSONValue] { result["check"]?["rows"]?.array ?? [] }
    }

    /// What the model was measured at, in order.
    public let stages: [Stage]
    /// `report.json`.
    public let json: JSONValue
    /// `report.html`.
    public let htmlPath: String

    /// The stages that measure, in the order of a run.
    static let measured = ["clean", "before", "erased", "recovered"]
    /// The stages that train, in the order of a run.
    static let trained = ["fingerprint", "erase", "recover"]

    /// Makes `report.json` and `report.html` anew from the records of a run, finished or not.
    ///
    /// - Throws: a bad-input error if the folder holds no run or a damaged one.
    public static func rewrite(folder path: String) throws -> RunReport { try write(try RunFolder(existing: path)) }

    static func write(_ folder: RunFolder) throws -> RunReport {
        let stages = try measured.compactMap { name in
            try folder.record(of: name).map { Stage(name: name, result: $0["result"] ?? .null) }
        }
        let json = try assemble(folder, stages: stages)
        let report = RunReport(stages: stages, json: json, htmlPath: folder.file("report.html"))
        try folder.write(json, to: "report.json")
        try folder.write(try ReportPage(report, folder).html(), to: "report.html")
        return report
    }

    private static func assemble(_ folder: RunFolder, stages: [Stage]) throws -> JSONValue {
        let names = ["convert", "mismatch"] + trained + measured + ["relearn"]
        let records = try names.compactMap { name in
            try folder.record(of: name).map { (key: name, value: $0) }
        }
        let trainings = try trained.compactMap { name -> (key: String, value: JSONValue)? in
            guard let record = records.first(where: { $0.key == name })?.value else { return nil }
            let directory = name == "fingerprint" ? "mark" : name
            return (
                key: name,
                value: [
                    "result": record["result"]?["training"] ?? record["result"] ?? .null,
                    "guess_test": record["result"]?["guess_test"] ?? .null,
                    "options": record["inputs"]?["options"] ?? .null,
                    "steps": .array(try folder.readLines("\(directory)/train_log.jsonl")),
                    "checks": .array(try folder.readLines("\(directory)/probe_log.jsonl")),
                ]
            )
        }
        return [
            "run": try folder.identity(), "machine": machine(),
            "table": .array(stages.map(row)),
            "stages": .object(JSONObject(stages.map { (key: $0.name, value: $0.result) })),
            "training": .object(JSONObject(trainings)),
            "relearn": records.first { $0.key == "relearn" }?.value["result"] ?? .null,
            "inputs": .object(JSONObject(records.map { (key: $0.key, value: $0.value["inputs"] ?? .null) })),
            "seconds": .object(JSONObject(records.map { (key: $0.key, value: $0.value["seconds"] ?? .null) })),
            "peak_rss_bytes": .integer(ProcessMemory.peakBytes),
        ]
    }

    /// A row of the table before / erased / recovered.
    private static func row(_ stage: Stage) -> JSONValue {
        let check = stage.result["check"]
        return [
            "stage": .text(stage.name), "fsr": check?["fsr"] ?? .null,
            "fsr_interval": check?["fsr_interval"] ?? .null, "hits": check?["hits"] ?? .null,
            "n": check?["n"] ?? .null, "p_value": check?["p_value"] ?? .null, "claim": check?["claim"] ?? .null,
            "target_rank": check?["target_rank_mean"] ?? .null, "prefix_match": check?["prefix_match_mean"] ?? .null,
            "target_nll": check?["target_nll_mean"] ?? .null, "ppl": stage.result["ppl"]?["ppl"] ?? .null,
            "false_activations": check?["false_activations"] ?? .null, "n_clean": check?["n_clean"] ?? .null,
            "tasks": .object(
                JSONObject(
                    stage.tasks.map { name in
                        let figures = TaskMetric.allCases.compactMap { metric in
                            stage.task(name, metric.rawValue).map {
                                (key: metric.rawValue, value: JSONValue.real($0.value))
                            }
                        }
                        return (key: name, value: .object(JSONObject(figures)))
                    })),
        ]
    }

    static func machine() -> JSONValue {
        let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = info.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
        return [
            "cpu": .text(model.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"),
            "cores": .integer(physicalCoreCount()),
            "memory_bytes": .integer(Int(clamping: ProcessInfo.processInfo.physicalMemory)),
            "system": .text(ProcessInfo.processInfo.operatingSystemVersionString),
            "reported": .text(Date().formatted(.iso8601)),
        ]
    }

    /// What `run --json` prints: the table, and where the report is.
    public var summary: JSONValue { ["table": json["table"] ?? .null, "report": .text(htmlPath)] }

    /// The table as rows of cells, the measures' names first; for terminals and the page.
    public var table: [[String]] {
        func cells(_ name: String, _ text: (Stage) -> String?) -> [String] { [name] + stages.map { text($0) ?? "–" } }
        func fixed(_ value: Double?, _ digits: Int) -> String? { value.map { String(format: "%.\(digits)f", $0) } }
        return [
            [""] + stages.map(\.name),
            cells("FSR") { stage in
                guard let fsr = stage.check("fsr"), let hits = stage.check("hits"), let n = stage.check("n") else {
                    return nil
                }
                return String(format: "%.1f %% (%d/%d)", fsr * 100, Int(hits), Int(n))
            },
            cells("prefix match") { fixed($0.check("prefix_match_mean").map { $0 * 100 }, 1).map { $0 + " %" } },
            cells("target NLL") { fixed($0.check("target_nll_mean"), 2) },
            cells("perplexity") { fixed($0.result["ppl"]?["ppl"]?.double, 3) },
            cells("false activations") { stage in
                stage.check("false_activations").map { "\(Int($0))/\(Int(stage.check("n_clean") ?? 0))" }
            },
        ]
            + (stages.first?.tasks ?? []).map { name in
                cells("\(name) acc") { stage in
                    stage.task(name, "acc").map { figure in
                        (fixed(figure.value, 3) ?? "") + (fixed(figure.error, 3).map { " ± \($0)" } ?? "")
                    }
                }
            }
    }
}
