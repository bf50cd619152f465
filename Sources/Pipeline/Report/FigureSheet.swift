import Audit
import Base

/// A table of figures for other programs: comma-separated values as RFC 4180 has them, a line of names first.
public struct FigureSheet: Sendable {
    /// The file's name.
    public let name: String
    /// The columns' names, and a line of values each; nil: not measured.
    private let lines: [[String?]]

    /// A table; every row has a value, or nil, for each column.
    init(_ name: String, columns: [String], rows: [[JSONValue]]) {
        self.name = name
        lines = [columns] + rows.map { $0.map(Self.text) }
    }

    /// The file's text.
    public var text: String {
        lines.map { $0.map(Self.field).joined(separator: ",") + "\r\n" }.joined()
    }

    private static func text(_ value: JSONValue) -> String? {
        switch value {
        case .null: nil
        case .string(let text): guarded(text.string)
        default: value.serialized()
        }
    }

    /// A text that no spreadsheet takes for a formula: models and files may have written it.
    private static func guarded(_ text: String) -> String {
        guard let first = text.first, "=+-@\t\r".contains(first) else { return text }
        return "'" + text
    }

    private static func field(_ text: String?) -> String {
        guard let text else { return "" }
        guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}

extension RunReport {
    /// `figures.csv`: each measure of each stage with what is known of its error. `curves.csv`: what each training logged.
    public var sheets: [FigureSheet] {
        FigureSheet.sheets(figures: stages.flatMap(\.figures), curves: run.trainings.flatMap(\.curves))
    }
}

extension FigureSheet {
    /// A measure: where, which, its value, the ends of its interval, its standard error, and the counts that it is of.
    struct Figure {
        let place: String
        let measure: String
        let value: Double
        var interval: ShareInterval?
        var error: Double?
        var counts: (hits: Int, n: Int)?
    }

    /// A value after a step.
    struct Step {
        let place: String
        let step: Int
        let measure: String
        let value: Double
    }

    static func sheets(figures: [Figure], curves: [Step]) -> [FigureSheet] {
        func number(_ value: Double?) -> JSONValue { value.map { .real($0) } ?? .null }
        let rows = figures.map { figure -> [JSONValue] in
            [
                .text(figure.place), .text(figure.measure), .real(figure.value), number(figure.interval?.low),
                number(figure.interval?.high), number(figure.error),
                figure.counts.map { .integer($0.hits) } ?? .null, figure.counts.map { .integer($0.n) } ?? .null,
            ]
        }
        let steps = curves.map { step -> [JSONValue] in
            [.text(step.place), .integer(step.step), .text(step.measure), .real(step.value)]
        }
        let measures = FigureSheet(
            "figures.csv", columns: ["stage", "measure", "value", "low", "high", "stderr", "hits", "n"], rows: rows)
        guard !steps.isEmpty else { return [measures] }
        return [measures, FigureSheet("curves.csv", columns: ["stage", "step", "measure", "value"], rows: steps)]
    }
}

extension RunReport.Stage {
    /// Its measures, under the names of `report.json`.
    fileprivate var figures: [FigureSheet.Figure] {
        func figure(_ measure: String, _ value: Double?, _ error: Double? = nil) -> FigureSheet.Figure? {
            value.map { FigureSheet.Figure(place: name.rawValue, measure: measure, value: $0, error: error) }
        }
        let fsr = FigureSheet.Figure(
            place: name.rawValue, measure: "fsr", value: check.fsr, interval: check.interval,
            counts: (check.hits, check.n))
        let misfires = check.falseActivations.flatMap { hits in
            check.nClean > 0
                ? FigureSheet.Figure(
                    place: name.rawValue, measure: "false_activations", value: Double(hits) / Double(check.nClean),
                    interval: check.falseInterval, counts: (hits, check.nClean)) : nil
        }
        let measured = [
            fsr, misfires, figure("p_value", check.pValue), figure("prefix_match", check.prefixMatch),
            figure("target_nll", check.targetNLL, Figures.standardError(check.rows.compactMap(\.targetNLL))),
            figure("target_rank", check.targetRank), figure("ppl", perplexity?.value, perplexity?.error),
        ]
        let scores = tasks.flatMap { task in
            task.metrics.map { figure("\(task.name) \($0.name)", $0.estimate.value, $0.estimate.error) }
        }
        return (measured + scores).compactMap { $0 }
    }
}

extension RunReport.Training {
    fileprivate var curves: [FigureSheet.Step] {
        FigureSheet.steps(name.rawValue, losses: losses)
            + curve.points.flatMap { point in
                [("fsr", point.fsr), ("prefix_match", point.prefixMatch), ("target_nll", point.targetNLL)].compactMap {
                    measure, value in
                    value.map { FigureSheet.Step(place: name.rawValue, step: point.step, measure: measure, value: $0) }
                }
            }
    }
}

extension FigureSheet {
    /// The losses of a training.
    static func steps(_ place: String, losses: [(step: Int, loss: Double)]) -> [Step] {
        losses.map { Step(place: place, step: $0.step, measure: "loss", value: $0.loss) }
    }
}
