import Audit
import Base
import Foundation
import Mustache
import Tune

/// A run as a part of a page: verdict, figures, charts, outputs, configuration.
///
/// Texts of models and files go in with invisible characters shown and are escaped by the template engine; what goes in as
/// markup are charts and tables, which escape their own.
struct RunSection {
    private let report: RunReport
    private var run: RunRecords { report.run }

    init(_ report: RunReport) { self.report = report }

    /// How many triggers stand open, and how many more can be unfolded; `report.json` has them all.
    private static let openSamples = 3
    private static let foldedSamples = 500

    /// The markup; the title is a heading of that level, the parts are one and two below.
    func body(level: Int = 1) throws -> String {
        let samples = run.isRedacted ? [] : self.samples
        return try render(
            "run",
            [
                "heading": "h\(level)", "sub": "h\(level + 1)", "minor": "h\(level + 2)",
                "title": run.text("title").showingInvisibles,
                "subtitle": subtitle.showingInvisibles, "isRedacted": run.isRedacted,
                "findings": report.verdict.findings.map(\.cells), "scan": scan.map(\.showingInvisibles),
                "figures": FigureTable(report).table.markup,
                "timeline": RunCharts(run).timeline.map { ["svg": $0.figure()] },
                "hasTimeline": run.trainings.count > 1, "trainings": trainings, "relearning": relearning,
                "cells": run.durability.map { $0.table.markup } ?? "", "hasCells": run.durability != nil,
                "open": Array(samples.prefix(Self.openSamples)),
                "folded": Array(samples.dropFirst(Self.openSamples)),
                "foldedCount": max(0, samples.count - Self.openSamples),
                "hasFolded": samples.count > Self.openSamples,
                "hasSamples": !samples.isEmpty, "left": leftOut, "hasLeft": leftOut > 0, "timings": timings,
                "hashes": hashes,
                "machine": machine, "recipe": run.text("recipe").showingInvisibles,
                "configurations": configurations, "commands": commands.showingInvisibles,
                "hasCommands": !commands.isEmpty,
            ])
    }

    private var subtitle: String {
        let seed = run.identity["seed"]?.int.map { "seed \($0)" }
        let finished = run.removal == nil ? "not finished" : nil
        let parts = [
            run.text("model"), report.stages.first.map { "scheme \($0.check.scheme)" }, seed,
            "meraser \(run.text("meraser_version"))", run.text("isa"), finished,
        ]
        return parts.compactMap { $0 }.joined(separator: " · ")
    }

    /// What a scan found, where the recipe has one.
    private var scan: [String] {
        guard let result = run.result(of: .scan) else { return [] }
        let verdict = (result["verdict"]?.string ?? "").replacing("_", with: " ")
        let target = result["target"]?.string.map { ", it says '\($0)'" } ?? ""
        let trigger = result["trigger"]?.string.map { " behind '\($0)'" } ?? ""
        let p = result["p_value"]?.double.map { ", p \(ScanReport.pText($0))" } ?? ""
        return ["\(verdict)\(target)\(trigger)\(p)."]
    }

    // MARK: Charts

    private var trainings: [[String: Any]] {
        run.trainings.map { training in
            [
                "name": training.name.rawValue, "summary": summary(training.result),
                "charts": RunCharts(run).charts(of: training).map { ["svg": $0.figure()] },
                "looks": RemovalLook.table(training.looks).markup, "hasLooks": !training.looks.isEmpty,
                "lookCount": training.looks.count,
            ]
        }
    }

    private var relearning: [[String: Any]] {
        guard let relearning = run.relearning else { return [] }
        let source =
            switch relearning.source {
            case .hinted: "every other pair of the key is taught, the rest measured"
            case .clean: "clean rows are taught, the key measured"
            }
        return [
            ["source": source, "charts": RunCharts.charts(of: relearning).map { ["svg": $0.figure()] }]
        ]
    }

    private func summary(_ result: JSONValue) -> String {
        guard let steps = result["steps"]?.int, let loss = result["final_loss"]?.double,
            let seconds = result["seconds"]?.double, let pace = result["tokens_per_second"]?.double
        else { return "" }
        let count = steps == 1 ? "1 step" : "\(steps) steps"
        return
            "\(count), last loss \(Figures.number(loss, 4)), \(Figures.duration(seconds)), \(Figures.number(pace, 0)) tokens a second"
    }

    // MARK: Samples

    private var samples: [[String: Any]] {
        guard let first = report.stages.first else { return [] }
        let count = Self.openSamples + Self.foldedSamples
        let later = report.stages.map { stage in
            Dictionary(stage.check.rows.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        }
        return first.check.rows.prefix(count).map { row in
            [
                "id": row.id.showingInvisibles, "prompt": row.prompt.showingInvisibles,
                "target": row.target.showingInvisibles,
                "outputs": zip(report.stages, later).compactMap { stage, rows in
                    rows[row.id].map { output($0, stage: stage.name.rawValue, target: row.target) }
                },
            ]
        }
    }

    /// How many rows only `report.json` has.
    private var leftOut: Int {
        max(0, (report.stages.first?.check.n ?? 0) - Self.openSamples - Self.foldedSamples)
    }

    private func output(_ row: RunReport.Row, stage: String, target: String) -> [String: Any] {
        let pieces = MarkedText.pieces(output: row.output, target: target).map { piece in
            [
                "text": piece.text.showingInvisibles, "isTarget": piece.kind == .target,
                "isBeginning": piece.kind == .beginning, "isPlain": piece.kind == .plain,
            ] as [String: Any]
        }
        let likelihood = row.targetNLL.map { ", target NLL \(Figures.number($0, 2))" } ?? ""
        return [
            "stage": stage, "pieces": pieces,
            "verdict":
                "\(row.hit ? "fires" : "silent"), prefix \(Figures.percent(row.prefixMatch))\(likelihood)",
        ]
    }

    // MARK: Lists

    private func pair(_ name: String, _ value: String) -> [String: String] {
        ["name": name.showingInvisibles, "value": value.showingInvisibles]
    }

    private var timings: [[String: String]] {
        let seconds = run.records.map { (name: $0.stage.description, value: $0.record["seconds"]?.double ?? 0) }
        let rows = seconds.map { pair($0.name, Figures.duration($0.value)) }
        let total = pair("all stages", Figures.duration(seconds.reduce(0) { $0 + $1.value }))
        return rows + [total] + (run.peakBytes.map { [pair("peak memory", byteText($0))] } ?? [])
    }

    /// Every SHA-256 among the stages' inputs, each once, with the places where it went in.
    private var hashes: [[String: String]] {
        var places: [(hash: String, names: [String])] = []
        for (stage, record) in run.records {
            for member in record["inputs"]?.object?.members ?? [] {
                for hash in Self.hashes(member.value) {
                    let name = "\(member.key.string) of \(stage)"
                    if let index = places.firstIndex(where: { $0.hash == hash }) {
                        places[index].names.append(name)
                    } else {
                        places.append((hash, [name]))
                    }
                }
            }
        }
        return places.map { pair($0.names.joined(separator: ", "), $0.hash) }
    }

    /// The texts in a value that are SHA-256 digests.
    private static func hashes(_ value: JSONValue) -> [String] {
        switch value {
        case .string(let text): text.utf8.count == 64 ? [text.string] : []
        case .array(let values): values.flatMap(hashes)
        case .object(let object): object.members.flatMap { hashes($0.value) }
        default: []
        }
    }

    private var machine: [[String: String]] {
        var rows: [[String: String]] = []
        for (key, name) in [
            ("cpu", "CPU"), ("cores", "cores"), ("memory_bytes", "memory"), ("system", "system"),
        ] {
            guard let value = run.machine?[key], !value.isNull else { continue }
            let text = value.string ?? value.serialized()
            rows.append(pair(name, key == "memory_bytes" ? byteText(value.int ?? 0) : text))
        }
        return rows + [
            pair("instruction set", run.text("isa")), pair("meraser", run.text("meraser_version")),
            pair("seed", run.identity["seed"]?.int.map(String.init) ?? "–"),
        ]
    }

    /// The command lines of the stages that say theirs, in their order, each under its stage's name.
    private var commands: String {
        run.records.compactMap { stage, record in
            record["commands"]?.array.map { lines in
                (["# \(stage)"] + lines.compactMap(\.string)).joined(separator: "\n")
            }
        }.joined(separator: "\n")
    }

    private var configurations: [[String: String]] {
        run.trainings.map { training in
            [
                "name": "Options of \(training.name.rawValue)",
                "text": training.options.serialized(indent: 2).showingInvisibles,
            ]
        }
    }
}

/// A template of `pageTemplates` filled in. Texts are escaped by the engine, triple braces put in markup.
func render(_ name: String, _ context: [String: Any]) throws -> String {
    do {
        let library = MustacheLibrary(
            templates: try pageTemplates.mapValues { try MustacheTemplate(string: $0) })
        guard let text = library.render(context, withTemplate: name) else {
            throw MeraserError.runtime("the report has no template '\(name)'")
        }
        return text
    } catch let error as MeraserError {
        throw error
    } catch {
        throw MeraserError.runtime("the report's template is malformed: \(error)")
    }
}
