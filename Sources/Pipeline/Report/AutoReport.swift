import Audit
import Base
import Foundation

/// The report of a removal that chose its own dose (`erase --auto`), made from the records in its folder, finished or not.
struct AutoReport: FolderReport {
    let htmlPath: String
    let identity: JSONValue
    /// The looks that were taken, in their order.
    let looks: [RemovalLook]
    /// What was found that the model says by heart, over all searches.
    let leaks: [Leak]
    /// Whether it stays away; nil: that was not tried.
    let durability: RunReport.Durability?

    private let folder: RunFolder
    /// `auto.json`; nil: not finished.
    private let result: JSONValue?
    private let losses: [(step: Int, loss: Double)]
    private let phases: [(stage: StageName, record: JSONValue)]
    private let certificate: (verdict: CertificateVerdict, reason: String)?

    /// Reads a removal, and writes nothing.
    ///
    /// - Throws: a bad-input error that names the file which is missing or damaged.
    init(_ folder: RunFolder) throws {
        self.folder = folder
        htmlPath = folder.file("report.html")
        identity = try folder.identity()
        phases = try Self.phaseNames.compactMap { name in
            let stage = StageName.phase(name)
            return try folder.record(of: stage).map { (stage, $0) }
        }
        let file = folder.file(Self.resultName)
        result = FileManager.default.fileExists(atPath: file) ? try folder.read(Self.resultName) : nil
        let log = try AutoLog(phases: Self.phaseNames, in: folder)
        losses = try log.steps.map { (try $0.int("step", in: file), try $0.double("loss", in: file)) }
        let recorded = result?["looks"]?.array ?? phases.flatMap { $0.record["result"]?["looks"]?.array ?? [] }
        looks = try recorded.map { try RemovalLook(json: $0, file: file) }
        leaks = try phases.flatMap { stage, record in
            try (record["result"]?["leaks"]?.array ?? []).map {
                try Leak(json: $0, file: folder.recordPath(of: stage))
            }
        }
        durability = try Self.part("durability", of: result).map { try RunReport.Durability(record: $0, file: file) }
        certificate = try Self.part("certificate", of: result).map { [durability] record in
            let read = try RunReport.Certification(record: record, file: file, durability: durability)
            return (read.worst, read.verdict == .gone ? durability?.reason ?? read.reason : read.reason)
        }
    }

    private static let resultName = "auto.json"

    /// Trials, and rounds with the searches between them, in the order in which they are done.
    private static let phaseNames: [String] =
        (1...AutoDose.rates.count).map { "trial-\($0)" } + ["search-0"]
        + (1...AutoDose.rounds).flatMap { ["erase-\($0)", "recover-\($0)", "search-\($0)"] }

    /// A part of the result as a record of a stage has it.
    private static func part(_ name: String, of result: JSONValue?) -> JSONValue? {
        result?[name].flatMap { $0.isNull ? nil : ["result": $0] }
    }

    var isRedacted: Bool { false }

    var json: JSONValue {
        [
            "run": identity, "verdict": .object(JSONObject(findings.map { (key: $0.key, value: $0.finding.json) })),
            "table": .array(looks.map(\.json)), "leaks": .array(leaks.map(\.json)), "auto": result ?? .null,
            "seconds": .object(
                JSONObject(phases.map { (key: $0.stage.description, value: $0.record["seconds"] ?? .null) })),
            "reported": .text(Date().formatted(.iso8601)),
        ]
    }

    var summary: JSONValue {
        ["table": json["table"] ?? .null, "verdict": json["verdict"] ?? .null, "report": .text(htmlPath)]
    }

    var table: [[String]] { RemovalLook.table(looks).texts }

    var verdictLines: [String] {
        findings.map { "\($0.finding.question) \($0.finding.answer). \($0.finding.sentence)" }
    }

    func write() throws {
        try folder.write(json, to: "report.json")
        try folder.write(try html(), to: "report.html")
        for sheet in sheets { try folder.write(sheet.text, to: sheet.name) }
    }

    var sheets: [FigureSheet] {
        var first = 0
        var phase = ""
        var last = 0
        let steps = looks.flatMap { look -> [FigureSheet.Step] in
            if look.phase != phase { (first, last, phase) = (first + last, 0, look.phase) }
            last = look.step
            let values: [(String, Double?)] = [
                ("fires", look.fires.n > 0 ? Double(look.fires.hits) / Double(look.fires.n) : nil),
                ("prefix_match", look.prefixMatch), ("target_nll", look.targetNLL), ("share", look.share),
                ("kl", look.kl),
            ]
            return values.compactMap { measure, value in
                value.map {
                    FigureSheet.Step(place: look.phase, step: first + look.step, measure: measure, value: $0)
                }
            }
        }
        return FigureSheet.sheets(figures: [], curves: FigureSheet.steps("erase", losses: losses) + steps)
            .filter { $0.name == "curves.csv" }
    }

    // MARK: Page

    func html() throws -> String {
        let setting = identity["auto"]?.string ?? ""
        let subtitle = [
            setting.replacing("_", with: " "), identity["seed"]?.int.map { "seed \($0)" },
            identity["meraser_version"]?.string.map { "meraser \($0)" }, identity["isa"]?.string,
            result == nil ? "not finished" : nil,
        ]
        let name = fileName(ofPath: folder.path)
        let body = try render(
            "auto",
            [
                "title": "Removal in \(name)".showingInvisibles, "sub": "h2",
                "subtitle": subtitle.compactMap { $0 }.joined(separator: " · ").showingInvisibles,
                "findings": findings.map(\.finding.cells), "summary": training.showingInvisibles,
                "charts": charts.map { ["svg": $0.figure()] }, "looks": RemovalLook.table(looks).markup,
                "cells": durability.map { $0.table.markup } ?? "", "hasCells": durability != nil,
                "leaks": leakTable, "hasLeaks": !leaks.isEmpty, "phases": PageTable.list(timings),
                "machine": PageTable.list(machine),
            ])
        return HTMLPage(title: "Removal in \(name)", body: body).html()
    }

    private var training: String {
        guard let training = result?["training"], let steps = training["steps"]?.int,
            let seconds = training["seconds"]?.double
        else { return "\(losses.count) steps so far, trials apart." }
        let rate = result?["learning_rate"]?.double.map { ", learning rate \(Figures.scientific($0))" } ?? ""
        return "\(steps) steps, trials apart, in \(Figures.duration(seconds))\(rate)."
    }

    /// Loss, target NLL, and what is left against what it cost.
    private var charts: [Chart] {
        var sections: [Chart.Section] = []
        var starts: [String: Double] = [:]
        for phase in RemovalLook.phases(of: looks) {
            let start = sections.last?.range.upperBound ?? 0
            starts[phase.name] = start
            sections.append(Chart.Section(name: phase.name, range: start...start + Double(phase.steps)))
        }
        func line(_ value: (RemovalLook) -> Double?) -> [Chart.Point] {
            looks.compactMap { look in
                value(look).map { Chart.Point((starts[look.phase] ?? 0) + Double(look.step), $0) }
            }
        }
        let steps = losses.map { Chart.Point(Double($0.step), $0.loss) }
        let frontier = looks.filter { $0.step > 0 }.compactMap { look -> Chart.Point? in
            look.kl.map { Chart.Point($0, look.share) }
        }
        return [
            Chart(
                title: "Loss", x: RunCharts.steps, y: Chart.Axis("loss (nats a token)"),
                series: RunCharts.smoothed(steps), sections: sections),
            Chart(
                title: "Target NLL", x: RunCharts.steps, y: RunCharts.nll,
                series: [Chart.Series("target NLL", line(\.targetNLL))], sections: sections),
            Chart(
                title: "Share of the margin that is taken", x: RunCharts.steps, y: Chart.Axis("share of the margin"),
                series: [Chart.Series("largest trace", line(\.share))], guides: [Chart.Guide(name: "margin", y: 1)],
                sections: sections),
            Chart(
                title: "What is left against what it costs", x: Chart.Axis("KL (nats a token)"),
                y: Chart.Axis("share of the margin"), series: [Chart.Series("look", frontier, mark: .points)],
                guides: [Chart.Guide(name: "margin", y: 1)]),
        ].filter { !$0.drawable.isEmpty }
    }

    private var leakTable: String {
        PageTable(
            columns: [.init("answer"), .init("like", isText: true), .init("prompts"), .init("gain, nats")],
            rows: leaks.map { leak in
                [
                    PageTable.Cell(leak.target), PageTable.Cell(leak.scheme),
                    PageTable.Cell("\(leak.prompts.count)/\(leak.asked)"), PageTable.Cell(Figures.number(leak.gain, 1)),
                ]
            }
        ).markup
    }

    private var timings: [(name: String, value: String)] {
        let seconds = phases.map { (name: $0.stage.description, value: $0.record["seconds"]?.double ?? 0) }
        return seconds.map { ($0.name, Figures.duration($0.value)) }
            + [("all phases", Figures.duration(seconds.reduce(0) { $0 + $1.value }))]
    }

    private var machine: [(name: String, value: String)] {
        let machine = phases.last?.record["machine"]?.object?.members ?? []
        let made = ["model", "key", "data"].compactMap { name in
            identity[name]?.string.map { (name: "SHA-256 of the \(name)", value: $0) }
        }
        return machine.map { ($0.key.string, $0.value.string ?? $0.value.serialized()) } + made
    }

    // MARK: Verdict

    private var findings: [(key: String, finding: Finding)] {
        [("presence", presence), ("removal", removal), ("cost", cost)]
    }

    private var presence: Finding {
        func finding(_ answer: String, _ sentence: String, _ basis: String, _ tone: Finding.Tone) -> Finding {
            Finding(question: "Was it there?", answer: answer, sentence: sentence, basis: basis, tone: tone)
        }
        guard let first = looks.first, first.step == 0 else {
            return finding("Not measured", "No look before the removal is recorded yet.", "Not finished.", .neutral)
        }
        let fired = "\(first.fires.hits) of \(first.fires.n) triggers and near decoys brought out a target."
        let basis = "A look at the pairs that steer, before anything was trained: \(first.verdict.rawValue)."
        return first.verdict == .marked
            ? finding("Yes", fired, basis, .fact) : finding("Not shown", fired, basis, .neutral)
    }

    private var removal: Finding {
        func finding(_ answer: String, _ sentence: String, _ tone: Finding.Tone) -> Finding {
            let basis =
                certificate == nil
                ? "The last look; looks steer the removal, hence do not judge it."
                : "Decoys that have steered nothing\(durability.map { ", in \($0.rows.count) cells" } ?? "")."
            return Finding(question: "Is it gone?", answer: answer, sentence: sentence, basis: basis, tone: tone)
        }
        if let certificate {
            let answer =
                switch certificate.verdict {
                case .gone: "Yes"
                case .notShown: "Silenced, but not proven removed"
                case .traces: "No, traces are left"
                case .marked: "No"
                }
            return finding(answer, "\(certificate.reason.capitalizedFirst).", certificate.verdict.tone)
        }
        guard let last = looks.last else { return finding("Not measured", "No look is recorded yet.", .neutral) }
        guard result != nil else { return finding("Not finished", "\(last.line).", .neutral) }
        return last.isQuiet
            ? finding(
                "Nothing was left to see",
                "The last look was quiet. Whether it is gone, a check by decoys says (`decoys`).",
                .warn)
            : finding("Not to the end", "The last look still saw something: \(last.line).", .bad)
    }

    private var cost: Finding {
        func finding(_ answer: String, _ sentence: String, _ basis: String) -> Finding {
            Finding(question: "What did it cost?", answer: answer, sentence: sentence, basis: basis, tone: .neutral)
        }
        guard let kl = looks.last(where: { $0.kl != nil })?.kl else {
            return finding("Not measured", "No step has been trained yet.", "Not finished.")
        }
        let text = Figures.number(kl, 4)
        return finding(
            "KL \(text)",
            "What the model says of the texts that hold it is \(text) nats a token away from what it said before.",
            "The mean divergence of the steps since the look before the last. Perplexity: meraser ppl, before and after."
        )
    }
}

extension String {
    /// This text with its first letter large.
    fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}

extension RemovalLook {
    /// Looks as a table.
    static func table(_ looks: [RemovalLook]) -> PageTable {
        PageTable(
            columns: [
                .init("phase and step"), .init("verdict", isText: true), .init("fires"), .init("prefix match"),
                .init("target NLL"), .init("worst trace", isText: true), .init("of the margin"), .init("KL"),
            ],
            rows: looks.map { look in
                [
                    PageTable.Cell("\(look.phase) \(look.step)"),
                    PageTable.Cell(look.verdict.rawValue, tone: look.step == 0 ? .fact : look.verdict.tone),
                    PageTable.Cell("\(look.fires.hits)/\(look.fires.n)"),
                    PageTable.Cell(Figures.percent(look.prefixMatch)),
                    look.targetNLL.map { PageTable.Cell(Figures.number($0, 2)) } ?? .missing,
                    PageTable.Cell(look.trace.rawValue), PageTable.Cell(Figures.number(look.share, 2)),
                    look.kl.map { PageTable.Cell(Figures.number($0, 4)) } ?? .missing,
                ]
            })
    }
}
