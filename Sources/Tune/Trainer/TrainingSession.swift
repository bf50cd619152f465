import Base
import Kernels
import Model
import Quant

/// The loop of an adapter's run from the state that it begins or resumes in to its end.
struct TrainingSession {
    private let trainer: Trainer
    private let output: TrainingOutput
    private let graph: TrainingGraph
    private let softPrompt: FloatStorage?  // what the graph's points into
    private let probeLog: StepLog?
    private var run: TrainingRun

    init(trainer: Trainer, output: TrainingOutput, record: RunRecord, state: TrainerState) throws {
        self.trainer = trainer
        self.output = output
        graph = TrainingGraph(
            model: trainer.model, frozen: trainer.frozen, trained: trainer.adapter,
            maximumTokens: trainer.plan.maximumTokens, recompute: trainer.plan.recompute,
            hasReference: trainer.asksFrozen, hasConsistency: trainer.learnsConsistency)
        graph.interrupt = trainer.interrupt
        softPrompt = trainer.data.softPrompt?.storage()
        graph.softPrompt = softPrompt?.matrix
        run = try TrainingRun(
            output: output, record: record, state: state, options: trainer.options, steps: trainer.steps
        ) { folder in
            try trainer.optimizer.save(
                folder: folder, model: trainer.model.spec, baseModelName: trainer.model.store.modelName)
        }
        probeLog =
            trainer.probe == nil
            ? nil : try StepLog(path: output.file("probe_log.jsonl"), keepingSteps: state.probedStep)
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
        return run.state
    }

    private mutating func loop() throws {
        while true {
            if isProbeDue, try runProbe().stop { return }
            if run.isDone { break }
            try run.saveIfDue()
            try step()
        }
        if trainer.probe != nil, run.state.probedStep != run.state.step { _ = try runProbe() }
    }

    private mutating func step() throws {
        let (trainer, graph) = (trainer, graph)
        let progress = try run.step { index, rate in
            let batches = trainer.steps.batches(
                step: index, samples: trainer.data.samples, mean: trainer.options.lossMean)
            let count = trainer.steps.microBatches(step: index).reduce(0) { $0 + $1.count }
            let weight = trainer.options.klWeight
            let clean =
                trainer.kl.map {
                    $0.plan.batches(
                        step: index, samples: $0.data.samples, mean: trainer.options.lossMean, weight: weight,
                        firstSample: count)
                } ?? []
            let probability = Float(trainer.adapter.config.loraDropout)
            let dropout =
                probability > 0 ? (probability: probability, seed: trainer.options.seed, step: UInt64(index)) : nil
            let tokens = batches.reduce(0) { $0 + $1.batch.tokenCount }
            var loss = 0.0
            var divergence = 0.0
            let norm = try trainer.optimizer.advance(learningRate: rate, kernels: trainer.model.kernels) { gradients in
                for batch in batches {
                    if trainer.interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
                    switch trainer.options.goal {
                    case .likelihood where batch.reference != nil:
                        loss += try graph.accumulateDivergence(batch, dropout: dropout, into: gradients)
                    case .likelihood:
                        loss += try graph.accumulate(batch, dropout: dropout, into: gradients)
                    case .npo(let beta):
                        loss += try graph.accumulatePreference(batch, beta: beta, dropout: dropout, into: gradients)
                    case .crow(let alpha, let epsilon):
                        loss += try graph.accumulate(batch, dropout: dropout, into: gradients)
                        loss += try graph.accumulateConsistency(
                            batch, step: Float(epsilon), weight: Float(alpha / Double(tokens)), dropout: dropout,
                            into: gradients)
                    }
                }
                for batch in clean {
                    if trainer.interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
                    divergence += try graph.accumulateDivergence(batch, dropout: dropout, into: gradients)
                }
                guard loss.isFinite, divergence.isFinite else {
                    throw MeraserError.runtime("the loss is not finite; lower `learning_rate` or check the data")
                }
            }
            return TrainingRun.Step(
                loss: loss, kl: trainer.kl == nil ? nil : divergence / weight, norm: norm,
                tokens: tokens + clean.reduce(0) { $0 + $1.batch.tokenCount })
        }
        trainer.onStep?(progress)
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
        run.noteProbe(result)
        trainer.onProbe?(step, result)
        return result
    }
}
