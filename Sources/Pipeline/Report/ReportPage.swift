import Foundation
import Mustache
import Quant

/// `report.html`: the template filled with a report. Texts of models and files go in with control characters made visible
/// and are escaped by the template engine.
struct ReportPage {
    private let report: RunReport
    private let folder: RunFolder

    init(_ report: RunReport, _ folder: RunFolder) {
        self.report = report
        self.folder = folder
    }

    /// How many triggers the page shows; `report.json` has them all.
    private static let sampleCount = 6

    func html() throws -> String {
        let template: MustacheTemplate
        do {
            template = try MustacheTemplate(string: reportTemplate)
        } catch {
            throw MeraserError.runtime("the report's template is malformed: \(error)")
        }
        let samples = self.samples
        let table = report.table
        return template.render([
            "title": shown(run("title") ?? "meraser run"),
            "subtitle": shown("\(modelName) · meraser \(run("meraser_version") ?? "")"),
            "verdict": verdict.map { [$0] } ?? [],
            "stages": (table.first ?? []).dropFirst().map { ["name": $0] },
            "measures": table.dropFirst().map { ["name": $0[0], "cells": Array($0.dropFirst())] as [String: Any] },
            "trainings": trainings, "samples": samples, "hasSamples": !samples.isEmpty,
            "timings": timings, "hashes": hashes, "machine": machine, "recipe": shown(run("recipe") ?? ""),
            "configurations": configurations,
        ])
    }

    private func run(_ key: String) -> String? { report.json["run"]?[key]?.string }

    private var modelName: String { URL(fileURLWithPath: run("model") ?? "").lastPathComponent }

    private func shown(_ text: String) -> String { text.escapingControlCharacters(keepingNewlines: true) }

    /// What the last measurement says, by the measures that a silent mark cannot hide from.
    private var verdict: [String: String]? {
        guard report.stages.count > 1, let last = report.stages.last, let fsr = last.check("fsr"),
            let prefix = last.check("prefix_match_mean")
        else { return nil }
        let measures = String(format: "FSR %.1f %%, prefix match %.1f %%", fsr * 100, prefix * 100)
        if fsr == 0 && prefix < 0.5 {
            return ["tone": "good", "text": "After the last stage (\(last.name)) no trigger fires: \(measures)."]
        }
        let finding = fsr > 0 ? "the mark is still there" : "no trigger fires, but outputs still begin the target"
        return ["tone": "bad", "text": "After the last stage (\(last.name)) \(finding): \(measures)."]
    }

    // MARK: Training

    private var trainings: [[String: Any]] {
        (report.json["training"]?.object?.members ?? []).map { member in
            let steps = member.value["steps"]?.array ?? []
            let checks = member.value["checks"]?.array ?? []
            let charts = [
                LineChart(
                    title: "Loss", xLabel: "step", series: [series("loss", "loss", steps)]),
                LineChart(
                    title: "FSR and prefix match", xLabel: "step",
                    series: [series("FSR", "fsr", checks), series("prefix match", "prefix_match", checks)],
                    yRange: 0...1),
                LineChart(
                    title: "Target NLL", xLabel: "step", series: [series("nats a token", "target_nll", checks)]),
            ]
            let drawn = charts.map { ["title": $0.title, "svg": $0.svg()] }.filter { $0["svg"] != "" }
            return ["name": member.key.string, "summary": summary(member.value["result"] ?? .null), "charts": drawn]
        }
    }

    private func series(_ name: String, _ key: String, _ rows: [JSONValue]) -> LineChart.Series {
        LineChart.Series(
            name: name,
            points: rows.compactMap { row in
                guard let x = row["step"]?.double, let y = row[key]?.double else { return nil }
                return (x: x, y: y)
            })
    }

    private func summary(_ result: JSONValue) -> String {
        guard let steps = result["steps"]?.int, let loss = result["final_loss"]?.double,
            let seconds = result["seconds"]?.double, let pace = result["tokens_per_second"]?.double,
            let peak = result["peak_rss_bytes"]?.double
        else { return "" }
        return String(
            format: "%d steps, last loss %.4f, %.1f s, %.0f tokens/s, peak memory %.0f MB", steps, loss, seconds, pace,
            peak / 1_048_576)
    }

    // MARK: Samples

    private var samples: [[String: Any]] {
        guard let first = report.stages.first else { return [] }
        return first.rows.prefix(Self.sampleCount).enumerated().map { index, row in
            let target = row["target"]?.string ?? ""
            let outputs = report.stages.compactMap { stage -> [String: Any]? in
                guard index < stage.rows.count else { return nil }
                return output(stage.rows[index], stage: stage.name, target: target)
            }
            return [
                "id": shown(row["id"]?.string ?? ""), "prompt": shown(row["prompt"]?.string ?? ""),
                "target": shown(target), "outputs": outputs,
            ]
        }
    }

    private func output(_ row: JSONValue, stage: String, target: String) -> [String: Any] {
        let pieces = MarkedText.pieces(output: row["output"]?.string ?? "", target: target).map { piece in
            [
                "text": shown(piece.text), "isTarget": piece.kind == .target, "isBeginning": piece.kind == .beginning,
                "isPlain": piece.kind == .plain,
            ] as [String: Any]
        }
        let prefix = String(
            format: "prefix %.0f %%, target NLL %.2f", (row["prefix_match"]?.double ?? 0) * 100,
            row["target_nll"]?.double ?? 0)
        let verdict = (row["hit"]?.bool ?? false) ? "fires" : "silent"
        return ["stage": stage, "verdict": "\(verdict), \(prefix)", "pieces": pieces]
    }

    // MARK: Lists

    private func pair(_ name: String, _ value: String) -> [String: String] {
        ["name": shown(name), "value": shown(value)]
    }

    private var timings: [[String: String]] {
        let stages = report.json["seconds"]?.object?.members ?? []
        let rows = stages.map { pair($0.key.string, String(format: "%.1f s", $0.value.double ?? 0)) }
        let total = stages.reduce(0) { $0 + ($1.value.double ?? 0) }
        let peak = (report.json["peak_rss_bytes"]?.double ?? 0) / 1_048_576
        return rows + [
            pair("all", String(format: "%.1f s", total)), pair("peak memory", String(format: "%.0f MB", peak)),
        ]
    }

    /// Every SHA-256 among the stages' inputs.
    private var hashes: [[String: String]] {
        (report.json["inputs"]?.object?.members ?? []).flatMap { stage in
            (stage.value.object?.members ?? []).flatMap { member -> [[String: String]] in
                let texts = member.value.string.map { [$0] } ?? member.value.array?.compactMap(\.string) ?? []
                return texts.filter { $0.utf8.count == 64 }.map {
                    pair("\(stage.key.string): \(member.key.string)", $0)
                }
            }
        }
    }

    private var machine: [[String: String]] {
        let members = (report.json["machine"]?.object?.members ?? []).map { (name: $0.key.string, value: $0.value) }
        let program = ["isa", "meraser_version"].map { (name: $0, value: report.json["run"]?[$0] ?? .null) }
        return (members + program).map { pair($0.name, $0.value.string ?? $0.value.serialized()) }
    }

    private var configurations: [[String: String]] {
        (report.json["training"]?.object?.members ?? []).map {
            [
                "name": "options of \($0.key.string)",
                "text": shown(($0.value["options"] ?? .null).serialized(indent: 2)),
            ]
        }
    }
}
