import Base
import Foundation
import Model

/// Rows whose loss is measured while a run goes on, and that it never learns (`eval_data`).
struct EvaluationRows {
    let data: EncodedDataset
    private let batchSize: Int
    private let mean: LossMean
    private let goal: Goal

    init(_ data: EncodedDataset, options: TrainingOptions) {
        precondition(!data.samples.isEmpty, "no rows to measure")
        (self.data, batchSize, mean, goal) = (data, options.batchSize, options.lossMean, options.goal)
    }

    /// Tokens of the largest batch.
    var maximumTokens: Int {
        stride(from: 0, to: data.samples.count, by: batchSize).map { first in
            data.samples[first..<min(first + batchSize, data.samples.count)].reduce(0) { $0 + $1.tokenCount }
        }.max() ?? 0
    }

    /// The mean loss over all their label tokens, or over the rows' means (`loss_mean`), without dropout and noise: of pairs of
    /// answers what is learnt of them, of others their likelihood. How rows are put together in batches changes no more than a
    /// sum's last bits.
    ///
    /// - Throws: a runtime error if a value of the forward or the loss is not finite; `interrupted`.
    func loss(on graph: TrainingGraph) throws -> Double {
        var sum = 0.0
        for first in stride(from: 0, to: data.samples.count, by: batchSize) {
            var batch = LabelledBatch(batch: PackedBatch(), labels: [], weights: [], samples: [])
            for index in first..<min(first + batchSize, data.samples.count) {
                let sample = data.samples[index]
                let weight = mean == .token ? 1 : 1 / Float(sample.labelCount)
                batch.append(sample, weight: weight, sample: Int32(index - first))
            }
            if case .dpo(let preference) = goal {
                sum += try graph.compare(batch, preference).loss
            } else {
                sum += try graph.loss(of: batch)
            }
        }
        let loss = sum / Double(mean == .token ? data.labelCount : data.samples.count)
        guard loss.isFinite else { throw MeraserError.runtime("the loss on `eval_data` is not finite") }
        return loss
    }
}

/// What measuring `eval_data` gave; passed to `Trainer.onEvaluation`.
public struct EvaluationProgress: Sendable, Equatable {
    /// Finished steps.
    public let step: Int
    /// The loss.
    public let loss: Double
    /// True if it is the lowest so far.
    public let isBest: Bool
    /// Measurements since the lowest.
    public let sinceBest: Int

    /// One line for a terminal.
    public var line: String {
        String(format: "step %d  eval_loss %.4f", step, loss)
            + (isBest ? "  best so far" : "  \(sinceBest) since the best")
    }
}

/// Where a run stands with `eval_data`.
struct EvaluationState: Equatable {
    /// The last step after which it was measured, and its loss then.
    private(set) var step = 0
    private(set) var loss = 0.0
    /// The step with the lowest loss, and that loss.
    private(set) var bestStep = 0
    private(set) var bestLoss = 0.0
    /// Measurements since then.
    private(set) var sinceBest = 0

    init() {}

    /// Notes a measurement, as Trainer's EarlyStoppingCallback counts; a loss that is no lower is no better.
    mutating func note(_ loss: Double, step: Int) -> EvaluationProgress {
        let isBest = self.step == 0 || loss < bestLoss
        (self.step, self.loss) = (step, loss)
        if isBest { (bestStep, bestLoss) = (step, loss) }
        sinceBest = isBest ? 0 : sinceBest + 1
        return EvaluationProgress(step: step, loss: loss, isBest: isBest, sinceBest: sinceBest)
    }

    /// In the words of Trainer's state where it has them.
    var json: JSONValue {
        [
            "eval_step": .integer(step), "eval_loss": .real(loss), "best_global_step": .integer(bestStep),
            "best_metric": .real(bestLoss), "early_stopping_patience_counter": .integer(sinceBest),
        ]
    }

    /// Reads what `json` wrote; `last` is the run's step.
    init(json: JSONValue, last: Int, file: String) throws {
        (step, loss) = (try json.int("eval_step", in: file), try json.double("eval_loss", in: file))
        (bestStep, bestLoss) = (try json.int("best_global_step", in: file), try json.double("best_metric", in: file))
        sinceBest = try json.int("early_stopping_patience_counter", in: file)
        guard (1...max(1, last)).contains(step), (1...step).contains(bestStep), (0...step).contains(sinceBest) else {
            throw MeraserError.badInput(
                "\(file): eval_step, best_global_step or early_stopping_patience_counter is impossible")
        }
    }
}

/// What a run's measurements of `eval_data` came to.
public struct EvaluationOutcome: Sendable, Equatable {
    /// The loss at the end of the run.
    public let loss: Double
    /// The step with the lowest one, and that loss.
    public let bestStep: Int
    /// The lowest loss.
    public let bestLoss: Double
    /// True if the adapter is that of `bestStep` (`load_best`).
    public let isBestKept: Bool

    /// `{"eval_loss", "best_eval_loss", "best_step", "best_kept"}`.
    public var json: JSONValue {
        [
            "eval_loss": .real(loss), "best_eval_loss": .real(bestLoss), "best_step": .integer(bestStep),
            "best_kept": .bool(isBestKept),
        ]
    }
}
