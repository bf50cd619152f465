import Base
import Foundation

/// Where a run stands after a step; passed to `Trainer.onStep`.
public struct TrainingProgress: Sendable, Equatable {
    /// Finished steps.
    public let step: Int
    /// Steps of the run.
    public let totalSteps: Int
    /// Finished epochs, in fractions.
    public let epoch: Double
    /// Loss of the step: the mean over its labels, without the divergence.
    public let loss: Double
    /// Mean divergence from the frozen model over the clean label tokens of the step, in nats, without its weight; nil
    /// where none is learnt.
    public var kl: Double?
    /// Learning rate of the step.
    public let learningRate: Double
    /// Norm of the gradient before clipping.
    public let gradNorm: Double
    /// Input tokens of the step per second.
    public let tokensPerSecond: Double
    /// Seconds since the run began, over all its sessions, measuring a key included.
    public let elapsedSeconds: Double
    /// Seconds that the rest will take at the pace of this session.
    public let secondsLeft: Double
    /// Peak resident size of the process.
    public let peakRSSBytes: Int
    /// True every `logging_steps` steps and at the first and last step: worth a line where there is no progress bar.
    public let isLogged: Bool

    /// One line for a terminal.
    public var line: String {
        let left = Int(secondsLeft.rounded())
        let eta =
            left >= 3600
            ? String(format: "%d:%02d:%02d", left / 3600, left / 60 % 60, left % 60)
            : String(format: "%d:%02d", left / 60, left % 60)
        let divergence = kl.map { String(format: "  kl %.4f", $0) } ?? ""
        return String(
            format: "step %d/%d  epoch %.2f  loss %.4f%@  lr %.2e  |g| %.3f  %.0f tok/s  ETA %@  RSS %@", step,
            totalSteps, epoch, loss, divergence, learningRate, gradNorm, tokensPerSecond, eta,
            byteText(peakRSSBytes))
    }

    /// The values of `report_to`, under the names that Trainer gives them.
    var scalars: [(tag: String, value: Double)] {
        let values = [
            ("loss", loss), ("kl", kl), ("learning_rate", learningRate), ("grad_norm", gradNorm), ("epoch", epoch),
        ]
        return values.compactMap { name, value in value.map { ("train/\(name)", $0) } }
    }

    /// The line of `train_log.jsonl`.
    var json: JSONValue {
        let members: [(key: String, value: JSONValue)?] = [
            ("step", .integer(step)), ("epoch", .real(epoch)), ("loss", .real(loss)), kl.map { ("kl", .real($0)) },
            ("learning_rate", .real(learningRate)), ("grad_norm", .real(gradNorm)),
            ("tokens_per_second", .real(tokensPerSecond)), ("elapsed_seconds", .real(elapsedSeconds)),
            ("peak_rss_bytes", .integer(peakRSSBytes)),
        ]
        return .object(JSONObject(members.compactMap { $0 }))
    }
}

/// What measuring a key found; returned by `Trainer.Probe`.
public struct ProbeResult: Sendable, Equatable {
    /// Names and values for `probe_log.jsonl`: `fsr`, `prefix_match`, `target_nll`, …
    public let fields: [(key: String, value: JSONValue)]
    /// True if the run should end here.
    public let stop: Bool

    /// The values in short, for a terminal: `fsr 1/32  prefix_match 0.07  target_nll 12.4`; three digits are enough
    /// to see where a run is going.
    public var line: String {
        let values = Dictionary(fields.map { ($0.key, $0.value) }) { first, _ in first }
        let parts = fields.compactMap { key, value -> String? in
            if key == "fsr", let hits = values["hits"]?.int, let n = values["n"]?.int {
                return "fsr \(hits)/\(n)"
            }
            guard !["hits", "n"].contains(key), let number = value.double else { return nil }
            return "\(key) " + String(format: "%.3g", number)
        }
        return (parts + (stop ? ["stop"] : [])).joined(separator: "  ")
    }

    /// A result.
    public init(fields: [(key: String, value: JSONValue)], stop: Bool) {
        self.fields = fields
        self.stop = stop
    }

    /// Equal in every field and in the verdict.
    public static func == (a: ProbeResult, b: ProbeResult) -> Bool {
        a.stop == b.stop && a.fields.map(\.key) == b.fields.map(\.key) && a.fields.map(\.value) == b.fields.map(\.value)
    }
}

/// How a run ended.
public struct TrainingResult: Sendable, Equatable {
    /// Optimiser steps.
    public let steps: Int
    /// Loss of the last step.
    public let finalLoss: Double
    /// Seconds over all sessions of the run.
    public let seconds: Double
    /// Input tokens that were trained on.
    public let tokens: Int
    /// Peak resident size of the process.
    public let peakRSSBytes: Int
    /// The folder with the adapter.
    public let adapter: String
    /// What became of `until`; nil where none was given.
    public let until: UntilOutcome?
    /// What `eval_data` came to; nil where none was given.
    public let evaluation: EvaluationOutcome?

    /// Tokens per second over the whole run.
    public var tokensPerSecond: Double { seconds > 0 ? Double(tokens) / seconds : 0 }

    /// The object that training commands print with `json`.
    public var json: JSONValue {
        [
            "steps": .integer(steps), "final_loss": .real(finalLoss), "seconds": .real(seconds),
            "tokens": .integer(tokens), "tokens_per_second": .real(tokensPerSecond),
            "peak_rss_bytes": .integer(peakRSSBytes), "adapter": .text(adapter),
            "until": until?.json ?? .null, "evaluation": evaluation?.json ?? .null,
        ]
    }
}
