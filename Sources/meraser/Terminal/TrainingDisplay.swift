import Base
import Foundation
import Tune

/// Shows training runs on standard error: a bar on a terminal, else a line every `--logging-steps`.
final class TrainingDisplay {
    /// What the next training is called.
    var title = "training"

    private let common: CommonOptions
    private var bar: ProgressBar

    init(_ common: CommonOptions) {
        self.common = common
        bar = common.progressBar(title)
    }

    /// Shows the steps and measurements of `trainer`.
    func follow(_ trainer: Trainer) {
        bar.finish()
        bar = common.progressBar(title)
        trainer.onStep = { [self] in step($0) }
        trainer.onProbe = { [self] in probe(step: $0, $1) }
        trainer.onWarning = common.warn
        trainer.onEvaluation = { [self] in
            bar.finish()
            common.say($0.line)
        }
    }

    /// Shows a step.
    func step(_ progress: TrainingProgress) {
        if Console.errorIsTerminal {
            bar.update(
                done: progress.step, total: progress.totalSteps,
                detail:
                    "loss \(numberText(progress.loss, 4)) \(numberText(progress.tokensPerSecond, 0)) tok/s "
                    + byteText(progress.peakRSSBytes), secondsLeft: progress.secondsLeft)
        } else if progress.isLogged {
            common.say(progress.line)
        }
    }

    /// Shows what measuring the key found.
    func probe(step: Int, _ result: ProbeResult) {
        bar.finish()
        common.say("step \(step)  \(result.line)")
    }

    /// Ends the bar's line.
    func finish() { bar.finish() }
}
