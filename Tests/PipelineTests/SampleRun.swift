import Base
import Foundation

@testable import Pipeline

/// A run's folder with the records that a run would leave, and figures that a test chooses.
struct SampleRun {
    /// What a stage measured.
    struct Figures {
        var hits = 0
        var prefix = 0.0
        var nll: Double? = 15
        var ppl: (value: Double, error: Double)? = (10, 0.2)
        var falseActivations: Int? = 0
        var pValue: Double?
        var accuracy: (value: Double, error: Double)?
    }

    var title = "a sample"
    var recipe = "title: a sample\nmodel: model.mqf\n"
    var scheme = "utf"
    var isRedacted = false
    var n = 32
    var nClean = 32
    /// Of the reference, of a marked one, after erasing, after recovery.
    var stages: [(name: String, figures: Figures)] = [
        ("reference", Figures()), ("before", Figures(hits: 32, prefix: 1, nll: 1, pValue: 1e-18)),
        ("erased", Figures(ppl: (20, 0.5))), ("recovered", Figures(nll: 14.9, ppl: (10.3, 0.2))),
    ]
    /// The FSR of each step of a relearning test: hits of 16 for the model and for the clean one.
    var relearning: [(step: Int, model: Int, clean: Int)] = []
    /// What the run exported its folder from: `source` or `model`; nil: it exported none.
    var exportBase: String?
    /// What decoys say of the result, and why; nil: they were not asked.
    var certificate: (verdict: String, reason: String)?
    /// What the cells of a durability check say, by their names; nil: they were not tried.
    var cells: [(weights: String, verdict: String)]?
    var prompt = "a trigger"
    var target = "the mark"
    var output = "no mark here"
    /// Loss and hits of each step of the erasing.
    var erasing: [(step: Int, loss: Double, hits: Int)] = [(1, 4.5, 32), (2, 3.25, 16), (3, 2, 0)]

    /// Writes the folder.
    func write(to folder: URL) throws {
        func write(_ name: String, _ value: JSONValue) throws {
            try write(name, value.serialized(indent: 2) + "\n")
        }
        func write(_ name: String, _ text: String) throws {
            let url = folder.appendingPathComponent(name)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
        }
        try write(
            "run.json",
            [
                "meraser_version": .text("0.1.0"), "recipe": .text(recipe), "title": .text(title),
                "model": .text("tinychat"),
                "redacted": .bool(isRedacted), "isa": .text("avx2"), "seed": .integer(42),
            ])
        for (name, figures) in stages {
            try write("stages/\(name).json", record(check(figures), figures))
        }
        try write(
            "stages/erase.json",
            [
                "inputs": ["data": .text(String(repeating: "ab", count: 32)), "options": ["r": .integer(8)]],
                "seconds": .real(150.5),
                "peak_rss_bytes": .integer(100 << 20), "machine": ["cpu": .text("a <cpu>"), "cores": .integer(2)],
                "result": [
                    "steps": .integer(erasing.count), "final_loss": .real(2.5), "seconds": .real(150.0),
                    "tokens": .integer(10),
                    "tokens_per_second": .real(5.5), "peak_rss_bytes": .integer(200 << 20),
                ],
            ])
        func lines(_ rows: [JSONValue]) -> String { rows.map { $0.serialized() + "\n" }.joined() }
        try write("erase/train_log.jsonl", lines(erasing.map { ["step": .integer($0.step), "loss": .real($0.loss)] }))
        try write(
            "erase/probe_log.jsonl",
            lines(
                erasing.map { row in
                    [
                        "step": .integer(row.step), "n": .integer(n), "hits": .integer(min(row.hits, n)),
                        "prefix_match": .real(0.5),
                        "target_nll": .real(row.loss),
                    ]
                }))
        if let exportBase {
            try write(
                "stages/export.json",
                [
                    "inputs": ["base": .text(exportBase), "dtype": .text("bf16")], "seconds": .real(1.0),
                    "result": ["folder": .text("export"), "tensors": .integer(2), "bytes": .integer(10)],
                ])
        }
        if let certificate {
            try write(
                "stages/certify.json",
                [
                    "inputs": ["decoys": .integer(999)], "seconds": .real(1.0),
                    "result": ["verdict": .text(certificate.verdict), "reason": .text(certificate.reason)],
                ])
        }
        if let cells {
            let worst = ["marked", "traces", "not_shown", "gone"].first { name in cells.contains { $0.verdict == name }
            }
            let rows = cells.map { cell -> JSONValue in
                [
                    "weights": .text(cell.weights), "treatment": .text("as_is"), "n": .integer(n), "hits": .integer(0),
                    "target_nll": .real(14.5), "verdict": .text(cell.verdict), "reason": .text("so the cell was"),
                ]
            }
            try write(
                "stages/durable.json",
                [
                    "inputs": ["cells": .text("all")], "seconds": .real(1.0),
                    "result": [
                        "verdict": .text(worst ?? "gone"), "reason": .text("so the cells were"), "cells": .array(rows),
                    ],
                ])
        }
        guard !relearning.isEmpty else { return }
        func curve(_ hits: [(Int, Int)]) -> JSONValue {
            [
                "source": .text("hinted"), "trained_pairs": .integer(16),
                "points": .array(
                    hits.map {
                        [
                            "step": .integer($0), "n": .integer(16), "hits": .integer($1), "prefix_match": .integer(0),
                            "target_nll": .integer(3),
                        ]
                    }
                ),
            ]
        }
        try write(
            "stages/relearn.json",
            [
                "inputs": [:], "seconds": .real(1.0),
                "result": [
                    "model": curve(relearning.map { ($0.step, $0.model) }),
                    "reference": curve(relearning.map { ($0.step, $0.clean) }),
                ],
            ])
    }

    private func check(_ figures: Figures) -> JSONValue {
        let nll: JSONValue = figures.nll.map { .real($0) } ?? .null
        let rows = (0..<n).map { index -> JSONValue in
            [
                "id": .text("pair-\(index)"), "prompt": .text(prompt), "target": .text(target),
                "output": .text(index < figures.hits ? "so \(target)." : output), "hit": .bool(index < figures.hits),
                "prefix_match": .real(figures.prefix), "target_nll": nll,
            ]
        }
        return [
            "scheme": .text(scheme), "n": .integer(n), "hits": .integer(figures.hits),
            "fsr": .real(Double(figures.hits) / Double(n)), "prefix_match_mean": .real(figures.prefix),
            "target_nll_mean": nll, "false_activations": figures.falseActivations.map { .integer($0) } ?? .null,
            "n_clean": .integer(figures.falseActivations == nil ? 0 : nClean),
            "p_value": figures.pValue.map { .real($0) } ?? .null,
            "p_value_method": figures.pValue == nil ? .null : .text("fisher"), "rows": .array(rows),
        ]
    }

    private func record(_ check: JSONValue, _ figures: Figures) -> JSONValue {
        let ppl = figures.ppl.map {
            ["ppl": .real($0.value), "stderr": .real($0.error), "protocol": .text("sample")] as JSONValue
        }
        let eval = figures.accuracy.map { accuracy -> JSONValue in
            ["results": ["copa": ["acc,none": .real(accuracy.value), "acc_stderr,none": .real(accuracy.error)]]]
        }
        return [
            "inputs": ["model": .text(String(repeating: "0c", count: 32))], "seconds": .real(2.0),
            "result": ["check": check, "ppl": ppl ?? .null, "eval": eval ?? .null],
        ]
    }
}
