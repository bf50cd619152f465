import Base
import Foundation
import Kernels

/// The table of a comparison, made from the records in its folder.
public struct ComparisonReport: Sendable {
    /// `compare.json`.
    public let json: JSONValue
    /// `compare.html`.
    public let htmlPath: String
    /// Cells that failed: name and error.
    public let failures: [(cell: String, error: String)]

    let title: String
    /// The lines of the table of each victim, in the file's order.
    let victims: [(name: String, scheme: String?, rows: [ComparisonRow])]

    static let jsonName = "compare.json"

    static func write(
        _ comparison: Comparison, records: [String: StepRecord], folder: String, isa: String
    ) throws -> ComparisonReport {
        let report = ComparisonReport(comparison, records: records, folder: folder, isa: isa)
        func write(_ text: String, _ name: String) throws {
            try writeFileAtomically(
                path: "\(folder)/\(name)", Array(text.utf8), overwrite: true,
                mode: comparison.isRedacted ? 0o666 : ownerOnly)
        }
        // The record first: by it the folder is known for a comparison, whenever the next file fails.
        try write(report.json.serialized(indent: 2) + "\n", jsonName)
        try write(report.markdown, "compare.md")
        try write(report.page(comparison, records), "compare.html")
        try write(report.sheet.text, report.sheet.name)
        return report
    }

    init(_ comparison: Comparison, records: [String: StepRecord], folder: String, isa: String) {
        title = comparison.title
        htmlPath = folder + "/compare.html"
        victims = comparison.victims.map { victim in
            let rows = comparison.cells.filter { $0.victim == victim.name }
                .map { ComparisonRow($0, steps: comparison.steps, records: records) }
            return (victim.name, rows.lazy.compactMap { $0.check["scheme"]?.string }.first, rows)
        }
        let rows = victims.flatMap(\.rows)
        failures = rows.compactMap { row in row.error.map { (row.cell.name, $0) } }
        let steps = comparison.steps.compactMap { step in
            records[step.path].map { (key: step.path, value: $0.json) }
        }
        let members: [(key: String, value: JSONValue)] = [
            ("title", .text(comparison.title)), ("isa", .text(isa)),
            ("seed", .integer(Int(clamping: comparison.seed))), ("machine", Machine.json),
            ("recipe", .text(comparison.text)), ("cells", .array(rows.map(\.json))),
            ("steps", .object(JSONObject(steps))),
        ]
        let json = JSONValue.object(JSONObject(Build.current.fields + members))
        self.json = comparison.isRedacted ? ReportRedaction.redacted(json) : json
    }

    /// What `compare --json` prints: the cells without their commands, and where the report is.
    public var summary: JSONValue {
        let cells = (json["cells"]?.array ?? []).map { cell in
            JSONValue.object(
                JSONObject(
                    (cell.object?.members ?? []).filter { $0.key.string != "commands" }
                        .map { (key: $0.key.string, value: $0.value) }))
        }
        return ["cells": .array(cells), "report": .text(htmlPath)]
    }

    // MARK: Tables

    /// The tables as rows of cells, a table for each victim: its name, and a heading row first.
    public var tables: [(victim: String, rows: [[String]])] {
        victims.map { (heading($0), ComparisonTable($0.rows).table.texts) }
    }

    func heading(_ victim: (name: String, scheme: String?, rows: [ComparisonRow])) -> String {
        victim.scheme.map { $0 == victim.name ? victim.name : "\(victim.name) (\($0))" } ?? victim.name
    }

    /// `figures.csv`: a line for each cell, under the names of `compare.json`.
    var sheet: FigureSheet {
        let names = [
            "victim", "method", "budget", "decoding_only", "state", "verdict", "fsr", "hits", "n", "prefix_match",
            "target_nll", "source_fsr", "source_target_nll", "false_activations", "n_clean", "ppl", "kl", "accuracy",
            "seconds", "peak_rss_bytes", "samples",
        ]
        let cells = json["cells"]?.array ?? []
        return FigureSheet("figures.csv", columns: names, rows: cells.map { cell in names.map { cell[$0] ?? .null } })
    }

    /// Markdown for a paper or an issue: a table for each victim.
    var markdown: String {
        func line(_ cells: [String]) -> String { "| " + cells.map(escaped).joined(separator: " | ") + " |" }
        func escaped(_ text: String) -> String {
            text.escapingControlCharacters().replacing("\\", with: "\\\\").replacing("|", with: "\\|")
        }
        var parts = ["# " + escaped(title)]
        for victim in victims {
            let rows = ComparisonTable(victim.rows).table.texts
            let rule = (rows.first ?? []).enumerated().map { $0.offset == 0 ? "---" : "--:" }
            parts.append("## " + escaped(heading(victim)))
            parts.append(
                ([line(rows.first ?? []), "|" + rule.joined(separator: "|") + "|"] + rows.dropFirst().map(line))
                    .joined(separator: "\n"))
        }
        if !failures.isEmpty {
            parts.append(failures.map { "- \(escaped($0.cell)) failed: \(escaped($0.error))" }.joined(separator: "\n"))
        }
        return parts.joined(separator: "\n\n") + "\n"
    }
}
