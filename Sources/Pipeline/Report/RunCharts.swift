import Audit

/// The charts of a run.
enum RunCharts {
    /// Steps.
    static let steps = Chart.Axis("step", unit: .count)
    /// Shares: of triggers, of the target.
    static let shares = Chart.Axis("share", unit: .percent, range: 0...1)
    /// FSR alone.
    static let fsr = Chart.Axis("FSR", unit: .percent, range: 0...1)
    /// Likelihoods of targets.
    static let nll = Chart.Axis("target NLL (nats a token)")

    /// Loss, FSR with prefix match, and target NLL over the steps of a training; those that were measured.
    static func charts(of training: RunReport.Training) -> [Chart] {
        let points = training.curve.points
        return [
            Chart(
                title: "Loss", x: steps, y: Chart.Axis("loss (nats a token)"),
                series: [losses(training, "loss")]),
            Chart(
                title: "FSR and prefix match", x: steps, y: shares,
                series: [
                    rates(training.curve, "FSR"),
                    Chart.Series("prefix match", points.map { Chart.Point(Double($0.step), $0.prefixMatch) }),
                ]),
            Chart(
                title: "Target NLL", x: steps, y: nll, series: [likelihoods(training.curve, "target NLL")]),
        ].filter { !$0.drawable.isEmpty }
    }

    /// FSR and target NLL while the mark is taught again, beside the clean model's.
    static func charts(of relearning: RunReport.Relearning) -> [Chart] {
        let curves = [("this model", relearning.model), ("clean model", relearning.clean)].compactMap {
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

    /// The loss of each step.
    static func losses(_ training: RunReport.Training, _ name: String) -> Chart.Series {
        Chart.Series(name, training.losses.map { Chart.Point(Double($0.step), $0.loss) })
    }

    /// FSR with its interval.
    static func rates(_ curve: RunReport.Curve, _ name: String) -> Chart.Series {
        Chart.Series(
            name,
            curve.points.map {
                Chart.Point(Double($0.step), $0.fsr, interval: $0.interval.low...$0.interval.high)
            })
    }

    /// Target NLL where it was measured.
    static func likelihoods(_ curve: RunReport.Curve, _ name: String) -> Chart.Series {
        Chart.Series(
            name,
            curve.points.compactMap { point in point.targetNLL.map { Chart.Point(Double(point.step), $0) }
            })
    }
}
