import Audit

/// The charts of a run. What is measured in several stages has the same axis in each of them, and the model without the mark
/// is a line across it.
struct RunCharts {
    /// Steps.
    static let steps = Chart.Axis("step", unit: .count)
    /// Shares: of triggers, of the target.
    static let shares = Chart.Axis("share", unit: .percent, range: 0...1)
    /// FSR alone.
    static let fsr = Chart.Axis("FSR", unit: .percent, range: 0...1)
    /// Likelihoods of targets.
    static let nll = Chart.Axis("target NLL (nats a token)")

    private let trainings: [RunReport.Training]
    private let stages: [RunReport.Stage]

    init(_ run: RunRecords) { (trainings, stages) = (run.trainings, run.stages) }

    // MARK: Trainings

    /// Loss, FSR with prefix match, and target NLL over the steps of a training; those that were measured.
    func charts(of training: RunReport.Training) -> [Chart] {
        charts([Part(training: training, start: 0)], sections: Self.phases(of: training, from: 0))
    }

    /// The same over the steps of all trainings, one after another, with the perplexity of the stages between them; none
    /// for a single training.
    var timeline: [Chart] {
        var parts: [Part] = []
        var sections: [Chart.Section] = []
        for training in trainings {
            let start = parts.last?.end ?? 0
            parts.append(Part(training: training, start: start))
            sections.append(Chart.Section(name: training.name.rawValue, range: start...start + training.lastStep))
        }
        guard parts.count > 1 else { return [] }
        let perplexities = parts.flatMap { part -> [Chart.Point] in
            let ends: [(MeasuredStage, Double)] =
                switch part.training.name {
                case .fingerprint: [(.reference, part.start), (.before, part.end)]
                case .erase: (part.start == 0 ? [(.before, 0)] : []) + [(.erased, part.end)]
                case .recover: [(.recovered, part.end)]
                }
            return ends.compactMap { name, step in
                stage(name)?.perplexity.map { Chart.Point(step, $0.value, interval: $0.interval) }
            }
        }
        let cost = Chart(
            title: "Perplexity", x: Self.steps, y: Chart.Axis("perplexity"),
            series: [Chart.Series("perplexity", perplexities)], guides: guide(stage(.reference)?.perplexity?.value),
            sections: sections)
        return charts(parts, sections: sections) + (cost.drawable.isEmpty ? [] : [cost])
    }

    /// A training on the axis of a run.
    private struct Part {
        let training: RunReport.Training
        /// The steps before it.
        let start: Double

        var end: Double { start + training.lastStep }
    }

    private func charts(_ parts: [Part], sections: [Chart.Section]) -> [Chart] {
        func series(_ make: (Part) -> [Chart.Series]) -> [Chart.Series] {
            parts.flatMap { part in
                make(part).map { series in
                    var series = series
                    series.points = series.points.map { point in
                        var point = point
                        point.x += part.start
                        return point
                    }
                    return series
                }
            }
        }
        let reference = stage(.reference)?.check
        let all = trainings.flatMap(\.curve.points).compactMap(\.targetNLL) + [reference?.targetNLL].compactMap { $0 }
        return [
            Chart(
                title: "Loss", x: Self.steps,
                y: Chart.Axis("loss (nats a token)", range: Self.range(trainings.flatMap { $0.losses.map(\.loss) })),
                series: series { Self.losses($0.training) }, sections: sections),
            Chart(
                title: "FSR and prefix match", x: Self.steps, y: Self.shares,
                series: series { part in
                    let points = part.training.curve.points
                    return [
                        Self.rates(part.training.curve, "FSR", style: 0),
                        Chart.Series(
                            "prefix match", points.map { Chart.Point(Double($0.step), $0.prefixMatch) }, style: 1),
                    ]
                }, guides: guide(reference?.fsr), sections: sections),
            Chart(
                title: "Target NLL", x: Self.steps,
                y: Chart.Axis(Self.nll.label, range: Self.range(all)),
                series: series { [Self.likelihoods($0.training.curve, "target NLL", style: 0)] },
                guides: guide(reference?.targetNLL), sections: sections),
        ].filter { !$0.drawable.isEmpty }
    }

    private func stage(_ name: MeasuredStage) -> RunReport.Stage? { stages.first { $0.name == name } }

    private func guide(_ value: Double?) -> [Chart.Guide] {
        value.map { [Chart.Guide(name: "reference", y: $0)] } ?? []
    }

    /// The limits of an axis that all of those values fit on; nil without two of them.
    private static func range(_ values: [Double]) -> ClosedRange<Double>? {
        let values = values.filter { abs($0) <= ChartScale.largest }
        guard let low = values.min(), let high = values.max(), low < high else { return nil }
        return low...high
    }

    /// The phases of a removal that chooses its own dose, by the last look at each.
    private static func phases(of training: RunReport.Training, from start: Double) -> [Chart.Section] {
        var first = start
        return training.phases.map { phase in
            defer { first += Double(phase.steps) }
            return Chart.Section(name: phase.name, range: first...first + Double(phase.steps))
        }
    }

    // MARK: Relearning

    /// FSR and target NLL while the mark is taught again, beside the reference's.
    static func charts(of relearning: RunReport.Relearning) -> [Chart] {
        let curves = [("this model", relearning.model), ("reference", relearning.reference)].compactMap {
            name, curve in
            curve.map { (name: name, curve: $0) }
        }
        return [
            Chart(
                title: "FSR while relearning", x: steps, y: fsr,
                series: curves.map { rates($0.curve, $0.name) }),
            Chart(
                title: "Target NLL while relearning", x: steps, y: nll,
                series: curves.map { likelihoods($0.curve, $0.name) }),
        ].filter { !$0.drawable.isEmpty }
    }

    // MARK: Series

    /// The loss of each step, and over it the mean of the steps around each.
    static func losses(_ training: RunReport.Training) -> [Chart.Series] {
        smoothed(training.losses.map { Chart.Point(Double($0.step), $0.loss) })
    }

    /// Losses, and their mean over them where there are enough of them.
    static func smoothed(_ points: [Chart.Point]) -> [Chart.Series] {
        // A fortieth of the steps on each side: what is left is where the loss goes.
        let reach = points.count / 40
        guard reach > 0 else { return [Chart.Series("loss", points, style: 0)] }
        return [
            Chart.Series("loss", points, style: 0, isFaint: true),
            Chart.Series("mean of \(2 * reach + 1) steps", smoothed(points, reach: reach), style: 0),
        ]
    }

    /// The mean of each point and of so many on either side; fewer at the ends, as many on the one side as on the other.
    static func smoothed(_ points: [Chart.Point], reach: Int) -> [Chart.Point] {
        points.indices.map { index in
            let reach = min(reach, index, points.count - 1 - index)
            let around = points[index - reach...index + reach]
            return Chart.Point(points[index].x, around.reduce(0) { $0 + $1.y } / Double(around.count))
        }
    }

    /// FSR with its interval.
    static func rates(_ curve: RunReport.Curve, _ name: String, style: Int? = nil) -> Chart.Series {
        Chart.Series(
            name,
            curve.points.map {
                Chart.Point(Double($0.step), $0.fsr, interval: $0.interval.low...$0.interval.high)
            }, style: style)
    }

    /// Target NLL where it was measured.
    static func likelihoods(_ curve: RunReport.Curve, _ name: String, style: Int? = nil) -> Chart.Series {
        Chart.Series(
            name,
            curve.points.compactMap { point in point.targetNLL.map { Chart.Point(Double(point.step), $0) }
            }, style: style)
    }
}

extension RunReport.Training {
    /// Its last step; 0: none is logged.
    fileprivate var lastStep: Double { Double(max(0, losses.last?.step ?? curve.points.last?.step ?? 0)) }
}

extension RunReport.Estimate {
    /// Two standard errors around it; nil where the error is not known.
    var interval: ClosedRange<Double>? {
        error.flatMap { $0.isFinite && $0 >= 0 ? value - 2 * $0...value + 2 * $0 : nil }
    }
}
