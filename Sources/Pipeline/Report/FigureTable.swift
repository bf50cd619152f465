import Audit
import Base

/// The table of a run's figures: a row for each measure, a cell for each stage.
struct FigureTable {
    private typealias Cell = PageTable.Cell

    /// The table.
    let table: PageTable

    init(_ report: RunReport) {
        func row(_ name: String, _ note: String, _ cell: (RunReport.Stage) -> Cell?) -> [Cell]? {
            let cells = report.stages.map(cell)
            guard cells.contains(where: { $0 != nil }) else { return nil }
            return [Cell(name, details: note.isEmpty ? [] : [note])] + cells.map { $0 ?? .missing }
        }
        let measures = [
            row("Weights", "type, products") { stage in
                stage.type.map {
                    Cell($0, details: [stage.compute].compactMap { $0 })
                }
            },
            row("FSR", "hits, Wilson 95 %") { Self.share($0.check.hits, $0.check.n, $0.check.interval) },
            row("False activations", "of clean prompts") { stage in
                guard let hits = stage.check.falseActivations, let interval = stage.check.falseInterval,
                    stage.check.nClean > 0
                else { return nil }
                return Self.share(hits, stage.check.nClean, interval)
            },
            row("p-value", "of these hits by chance") { stage in
                stage.check.pValue.map { value in
                    Cell(Figures.scientific(value), details: [stage.check.pValueMethod].compactMap { $0 })
                }
            },
            row("Prefix match", "mean") { Cell(Figures.percent($0.check.prefixMatch)) },
            row("Target NLL", "nats a token") { stage in
                stage.check.targetNLL.map { value in
                    let error = Figures.standardError(stage.check.rows.compactMap(\.targetNLL))
                    return Self.estimate(RunReport.Estimate(value: value, error: error), 2)
                }
            },
            row("Target rank", "1 is the likeliest") { stage in
                stage.check.targetRank.map { Cell(Figures.number($0, 1)) }
            },
            row("Perplexity", report.perplexityProtocol) { $0.perplexity.map { Self.estimate($0, 2) } },
        ]
        let tasks = report.taskNames.flatMap { name -> [[Cell]?] in
            func task(_ stage: RunReport.Stage) -> RunReport.Task? { stage.tasks.first { $0.name == name } }
            let metrics = report.stages.lazy.compactMap(task).first?.metrics.map(\.name) ?? []
            return metrics.map { metric in
                row(name, metric) { task($0)?.metric(metric).map { Self.estimate($0, 3) } }
            }
        }
        let columns = [PageTable.Column("measure")] + report.stages.map { PageTable.Column($0.name.rawValue) }
        table = PageTable(columns: columns, rows: (measures + tasks).compactMap { $0 })
    }

    private static func share(_ hits: Int, _ n: Int, _ interval: ShareInterval) -> Cell {
        Cell(
            Figures.percent(Double(hits) / Double(n)), details: ["\(hits)/\(n)", Figures.interval(interval)])
    }

    private static func estimate(_ estimate: RunReport.Estimate, _ digits: Int) -> Cell {
        Cell(
            Figures.number(estimate.value, digits),
            details: estimate.error.map { ["± \(Figures.number($0, digits))"] } ?? [])
    }
}

extension RunReport {
    /// How perplexity was measured; empty if it was not.
    fileprivate var perplexityProtocol: String {
        stages.lazy.compactMap { $0.result["ppl"]?["protocol"]?.string }.first.map { "protocol \($0)" } ?? ""
    }
}
