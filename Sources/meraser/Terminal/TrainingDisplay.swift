import Base
import Tune

/// Shows a training run on standard error: a bar on a terminal, else a line every `--logging-steps`.
final class TrainingDisplay {
    private let common: CommonOptions
    private let bar: ProgressBar

    init(_ common: CommonOptions) {
        self.common = common
        bar = common.progressBar("training")
    }

    /// Shows the steps and measurements of `trainer`.
    func follow(_ trainer: Trainer) {
        trainer.onStep = { [self] in step($0) }
        trainer.onProbe = { [self] in probe(step: $0, $1) }
    }

    /// Shows a step.
    func step(_ progress: TrainingProgress) {
        if Console.errorIsTerminal {
            bar.update(
                done: progress.step, total: progress.totalSteps,
                detail: "step \(progress.step)/\(progress.totalSteps) loss \(numberText(progress.loss, 4)) "
                    + "\(numberText(progress.tokensPerSecond, 0)) tok/s \(byteText(progress.peakRSSBytes))")
        } else if progress.isLogged {
            common.say(progress.line)
        }
    }

    /// Shows what measuring the key found.
    func probe(step: Int, _ result: ProbeResult) {
        bar.finish()
        let values = result.fields.map { "\($0.key) \($0.value.serialized())" }.joined(separator: "  ")
        common.say("step \(step)  \(values)\(result.stop ? "  stop" : "")")
    }

    /// Ends the bar's line.
    func finish() { bar.finish() }
}
