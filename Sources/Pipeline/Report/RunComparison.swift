import Audit
import Base
import Foundation

/// Several runs side by side: a table of their figures, their curves in common charts, and each run's own report.
public struct RunComparison: Sendable {
    /// A run and what it is called here.
    struct Entry: Sendable {
        /// Its title; with the folder's name where titles are the same.
        let name: String
        /// The anchor of its section.
        let anchor: String
        let report: RunReport
    }

    /// The runs in the order they were named.
    let entries: [Entry]

    /// Most runs of one comparison: more lines than that cannot be told apart.
    public static let mostRuns = 32

    /// Reads runs, finished or not, and writes nothing.
    ///
    /// - Throws: a usage error for the same folder twice, or too many; a bad-input error that names the file, if a folder
    ///   holds no run or a damaged one.
    public init(folders: [String]) throws {
        guard folders.count <= Self.mostRuns else {
            throw MeraserError.usage(
                "\(folders.count) runs are too many for one comparison, at most \(Self.mostRuns)")
        }
        var seen: Set<String> = []
        for folder in folders {
            let place = URL(fileURLWithPath: folder).resolvingSymlinksInPath().path
            guard seen.insert(place).inserted else {
                throw MeraserError.usage("the run \(folder) is named twice")
            }
        }
        let reports = try folders.map { try RunReport(folder: $0) }
        let titles = reports.map { $0.run.text("title") }
        entries = reports.enumerated().map { index, report in
            let title = titles[index]
            let isShared = titles.count { $0 == title } > 1
            return Entry(
                name: isShared ? "\(title) (\(report.run.folderName))" : title, anchor: "run-\(index + 1)",
                report: report)
        }
    }

    /// True if triggers, targets and outputs of every run are hashes.
    public var isRedacted: Bool { entries.allSatisfy(\.report.isRedacted) }

    /// `{"runs": [{"name", "verdict", "table", "run", "seconds"}]}`.
    public var json: JSONValue {
        [
            "runs": .array(
                entries.map { entry in
                    let json = entry.report.json
                    let keys = ["verdict", "table", "relearn", "run", "machine", "seconds", "peak_rss_bytes"]
                    return .object(
                        JSONObject(
                            [(key: "name", value: .text(entry.name))] + keys.map { ($0, json[$0] ?? .null) }))
                })
        ]
    }

    /// A row for each run and a column for each figure, the columns' names first; for terminals.
    public var table: [[String]] {
        let columns = self.columns
        return [["run", "gone?"] + columns.map { "\($0.stage.rawValue) \($0.figure.name)" }]
            + entries.map { entry in
                [entry.name.escapingControlCharacters(), entry.report.verdict.removal.answer]
                    + columns.map { $0.cell(of: entry)?.value ?? "–" }
            }
    }

    /// The page: one file that needs nothing else.
    public func html() throws -> String {
        let sections = try entries.map { entry in
            "<section id=\"\(entry.anchor)\" class=\"run\">\n\(try RunSection(entry.report).body(level: 2))\n</section>"
        }
        let body = try render(
            "comparison",
            ["count": entries.count, "figures": figures.markup, "charts": charts.map { ["svg": $0.figure()] }])
        return HTMLPage(title: title, body: body + "\n" + sections.joined(separator: "\n"), script: .sorting).html()
    }

    /// A row for each run.
    private var figures: PageTable {
        let columns = self.columns
        let heads = columns.map { PageTable.Column($0.figure.name, group: $0.stage.rawValue) }
        return PageTable(
            columns: [.init("run"), .init("is it gone?", isText: true)] + heads,
            rows: entries.map { entry in
                let removal = entry.report.verdict.removal
                let scheme = [entry.report.stages.first?.check.scheme].compactMap { $0 }
                return [
                    PageTable.Cell(entry.name, details: scheme, anchor: entry.anchor),
                    PageTable.Cell(removal.answer, tone: removal.tone),
                ] + columns.map { $0.cell(of: entry) ?? .missing }
            }, isSortable: true)
    }

    private var title: String { "\(entries.count) runs compared" }

    // MARK: Columns

    /// A figure of a stage.
    private struct Column {
        let stage: MeasuredStage
        let figure: Figure

        func cell(of entry: Entry) -> PageTable.Cell? {
            entry.report.run.stage(stage).flatMap(figure.text)
        }
    }

    private struct Figure: Sendable {
        let name: String
        let text: @Sendable (RunReport.Stage) -> PageTable.Cell?
    }

    /// The figures of every stage that any run has measured.
    private var columns: [Column] {
        MeasuredStage.allCases.flatMap { stage in
            Self.figures.map { Column(stage: stage, figure: $0) }
        }.filter { column in entries.contains { column.cell(of: $0) != nil } }
    }

    private static let figures = [
        Figure(name: "FSR") {
            PageTable.Cell(
                Figures.percent($0.check.fsr), details: ["\($0.check.hits)/\($0.check.n)"], key: $0.check.fsr)
        },
        Figure(name: "prefix") { PageTable.Cell(Figures.percent($0.check.prefixMatch), key: $0.check.prefixMatch) },
        Figure(name: "NLL") { $0.check.targetNLL.map { PageTable.Cell(Figures.number($0, 2), key: $0) } },
        Figure(name: "PPL") { stage in
            stage.perplexity.map { estimate in
                PageTable.Cell(
                    Figures.number(estimate.value, 2),
                    details: estimate.error.map { ["± \(Figures.number($0, 2))"] } ?? [], key: estimate.value)
            }
        },
        Figure(name: "tasks") { stage in
            let accuracies = stage.tasks.compactMap { $0.metrics.first?.estimate.value }
            guard !accuracies.isEmpty else { return nil }
            let mean = accuracies.reduce(0, +) / Double(accuracies.count)
            return PageTable.Cell(Figures.number(mean, 3), details: ["mean of \(accuracies.count)"], key: mean)
        },
    ]

    // MARK: Charts

    /// The runs' curves on top of each other, and what removal cost each.
    var charts: [Chart] {
        // A run without a curve keeps its place, so that it has the same colour in every chart.
        func lines(_ name: TrainedStage, _ series: (RunReport.Training, String) -> Chart.Series) -> [Chart.Series] {
            entries.map { entry in
                let training = entry.report.run.trainings.first { $0.name == name }
                return training.map { series($0, entry.name) } ?? Chart.Series(entry.name, [])
            }
        }
        func relearning(_ series: (RunReport.Curve, String) -> Chart.Series) -> [Chart.Series] {
            entries.map { entry in
                entry.report.run.relearning.map { series($0.model, entry.name) } ?? Chart.Series(entry.name, [])
            }
        }
        let removed = entries.map { entry in
            Chart.Series(
                entry.name,
                [entry.report.run.removal?.last].compactMap { stage in
                    guard let stage, let perplexity = stage.perplexity else { return nil }
                    let interval = stage.check.interval
                    return Chart.Point(perplexity.value, stage.check.fsr, interval: interval.low...interval.high)
                }, mark: .points)
        }
        let ways = entries.map { entry in
            Chart.Series(
                entry.name,
                entry.report.stages.filter { $0.name != .reference && !$0.name.isSource }.compactMap { stage in
                    guard let perplexity = stage.perplexity, let nll = stage.check.targetNLL else { return nil }
                    return Chart.Point(perplexity.value, nll, label: stage.name.rawValue)
                })
        }
        return [
            Chart(
                title: "FSR against perplexity after removal", x: Chart.Axis("perplexity"), y: RunCharts.fsr,
                series: removed),
            Chart(
                title: "Target NLL against perplexity", x: Chart.Axis("perplexity"), y: RunCharts.nll,
                series: ways),
            Chart(
                title: "FSR while erasing", x: RunCharts.steps, y: RunCharts.fsr,
                series: lines(.erase) { RunCharts.rates($0.curve, $1) }),
            Chart(
                title: "Target NLL while erasing", x: RunCharts.steps, y: RunCharts.nll,
                series: lines(.erase) { RunCharts.likelihoods($0.curve, $1) }),
            Chart(
                title: "Target NLL while recovering", x: RunCharts.steps, y: RunCharts.nll,
                series: lines(.recover) { RunCharts.likelihoods($0.curve, $1) }),
            Chart(
                title: "FSR while relearning", x: RunCharts.steps, y: RunCharts.fsr,
                series: relearning { RunCharts.rates($0, $1) }),
            Chart(
                title: "Target NLL while relearning", x: RunCharts.steps, y: RunCharts.nll,
                series: relearning { RunCharts.likelihoods($0, $1) }),
        ].filter { !$0.drawable.isEmpty }
    }
}
