import Base
import Foundation
import Kernels
import Model
import Quant

/// The loop of an adapter's run from the state that it begins or resumes in to its end.
struct TrainingSession {
    private let trainer: Trainer
    private let output: TrainingOutput
    private let graph: TrainingGraph
    private let ranks: SharedTraining?
    private let softPrompt: FloatStorage?  // what the graph's points into
    private let probeLog: StepLog?
    private let evaluationLog: StepLog?
    private var run: TrainingRun

    init(trainer: Trainer, output: TrainingOutput, record: RunRecord, state: TrainerState) throws {
        self.trainer = trainer
        self.output = output
        graph = trainer.makeGraph()
        graph.interrupt = trainer.interrupt
        softPrompt = trainer.data.softPrompt?.storage()
        graph.softPrompt = softPrompt?.matrix
        graph.frozenOutputs = try trainer.plan.frozen.map {
            try FrozenOutputs($0, hiddenSize: trainer.model.spec.hiddenSize, folder: output.path)
        }
        ranks = try SharedTraining(trainer.model, frozen: trainer.frozen, graph: graph, trained: trainer.adapter) {
            trainer.task($0, frozen: $1)
        }
        run = try TrainingRun(
            output: output, record: record, state: state, options: trainer.options, steps: trainer.steps
        ) { folder in
            try trainer.optimizer.save(
                folder: folder, model: trainer.model.spec, baseModelName: trainer.model.store.modelName)
        }
        probeLog =
            trainer.probe == nil
            ? nil : try StepLog(path: output.file("probe_log.jsonl"), keepingSteps: state.probedStep)
        evaluationLog =
            trainer.evaluation == nil
            ? nil : try StepLog(path: output.file("eval_log.jsonl"), keepingSteps: state.evaluation?.step ?? 0)
    }

    /// Runs to the end and leaves the adapter in the output folder; on interruption leaves a checkpoint and throws.
    mutating func finish() throws -> TrainerState {
        do {
            try loop()
        } catch {
            throw try run.ended(by: error)
        }
        try trainer.adapter.save(
            folder: output.path, model: trainer.model.spec, baseModelName: trainer.model.store.modelName,
            overwrite: true)
        try run.finish()
        if trainer.options.loadBest { try? FileManager.default.removeItem(atPath: output.best) }
        return run.state
    }

    private mutating func loop() throws {
        while true {
            if isProbeDue, try runProbe().stop { break }
            if isEvaluationDue, try evaluate() { break }
            if run.isDone { break }
            try run.saveIfDue()
            try step()
        }
        if trainer.evaluation != nil, run.state.evaluation?.step != run.state.step { _ = try evaluate() }
        let isAnother = try takeBest()
        if trainer.probe != nil, isAnother || run.state.probedStep != run.state.step { _ = try runProbe() }
    }

    private mutating func step() throws {
        let (trainer, graph, ranks) = (trainer, graph, ranks)
        let progress = try run.step { index, rate in
            let shards = trainer.shards(step: index)
            let dropout = trainer.dropout(step: index)
            var loss = 0.0
            var divergence = 0.0
            let norm = try trainer.optimizer.advance(learningRate: rate, kernels: trainer.model.kernels) { gradients in
                // One rank is the trivial case: it adds one shard after the other.
                let losses =
                    try ranks?.step(
                        shards, dropout: dropout, parameters: trainer.adapter.parameters, into: gradients.parameters)
                    ?? shards.map { try graph.accumulate($0, dropout: dropout, into: gradients) }
                for (shard, value) in zip(shards, losses) {
                    if shard.isClean { divergence += value } else { loss += value }
                }
                guard loss.isFinite, divergence.isFinite else {
                    throw MeraserError.runtime("the loss is not finite; lower `learning_rate` or check the data")
                }
            }
            return TrainingRun.Step(
                loss: loss, kl: trainer.kl == nil ? nil : divergence / trainer.options.klWeight, norm: norm,
                tokens: shards.reduce(0) { $0 + $1.tokenCount })
        }
        trainer.onStep?(progress)
    }

    // MARK: The loss on other rows

    private var isEvaluationDue: Bool {
        guard trainer.evaluation != nil, let every = trainer.options.evalSteps else { return false }
        let state = run.state
        return state.step > 0 && state.step % every == 0 && state.evaluation?.step != state.step
    }

    /// Measures `eval_data`; true if that ends the run.
    private mutating func evaluate() throws -> Bool {
        guard let rows = trainer.evaluation else { return false }
        let progress = try run.note(evaluation: try rows.loss(on: graph))
        try evaluationLog?.append(
            [
                "step": .integer(progress.step), "epoch": .real(run.state.epoch), "eval_loss": .real(progress.loss),
            ])
        if progress.isBest, trainer.options.loadBest {
            try output.keepBest {
                try trainer.adapter.save(
                    folder: $0, model: trainer.model.spec, baseModelName: trainer.model.store.modelName,
                    overwrite: true)
            }
        }
        trainer.onEvaluation?(progress)
        return trainer.options.earlyStoppingPatience.map { progress.sinceBest >= $0 } ?? false
    }

    /// Goes back to the adapter with the lowest loss, if it is to be kept; true if that is another than the last one.
    private func takeBest() throws -> Bool {
        guard trainer.options.loadBest, let evaluation = run.state.evaluation, evaluation.bestStep != run.state.step
        else { return false }
        let best = try LoRAAdapter(path: output.best, for: trainer.model.spec)
        guard best.modules == trainer.adapter.modules, best.parameters.count == trainer.adapter.parameters.count else {
            throw MeraserError.badInput("\(output.best): another adapter than the run's")
        }
        trainer.adapter.parameters.copy(from: best.parameters)
        return true
    }

    // MARK: Measuring

    private var isProbeDue: Bool {
        guard trainer.probe != nil, let every = trainer.options.checkSteps else { return false }
        let state = run.state
        return state.step > 0 && state.step % every == 0 && state.probedStep != state.step
    }

    private mutating func runProbe() throws -> ProbeResult {
        guard let probe = trainer.probe else { return ProbeResult(fields: [], stop: false) }
        let step = run.state.step
        let result = try probe(step, trainer.adapter)
        try probeLog?.append(.object(JSONObject([(key: "step", value: .integer(step))] + result.fields)))
        try run.noteProbe(result)
        trainer.onProbe?(step, result)
        return result
    }
}
