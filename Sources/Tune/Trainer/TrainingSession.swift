import Foundation
import Kernels
import Model
import Quant

/// The loop of a run from the state that it begins or resumes in to its end.
struct TrainingSession {
    private let trainer: Trainer
    private let output: TrainingOutput
    private let record: RunRecord
    private let graph: TrainingGraph
    private let softPrompt: FloatStorage?  // what the graph's points into
    private let log: StepLog
    private let probeLog: StepLog?
    private var state: TrainerState
    private let firstStep: Int
    private let secondsBefore: Double
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant

    init(trainer: Trainer, output: TrainingOutput, record: RunRecord, state: TrainerState) throws {
        self.trainer = trainer
        self.output = output
        self.record = record
        self.state = state
        graph = TrainingGraph(
            model: trainer.model, frozen: trainer.frozen, trained: trainer.adapter,
            maximumTokens: trainer.plan.maximumTokens, recompute: trainer.plan.recompute,
            hasReference: trainer.kl != nil)
        graph.interrupt = trainer.interrupt
        softPrompt = trainer.data.softPrompt?.storage()
        graph.softPrompt = softPrompt?.matrix
        log = try StepLog(path: output.file("train_log.jsonl"), keepingSteps: state.step)
        probeLog =
            trainer.probe == nil
            ? nil : try StepLog(path: output.file("probe_log.jsonl"), keepingSteps: state.probedStep)
        firstStep = state.step
        secondsBefore = state.seconds
        start = clock.now
    }

    private var totalSteps: Int { trainer.plan.steps }

    /// Runs to the end and leaves the adapter in the output folder; on interruption leaves a checkpoint and throws.
    mutating func run() throws {
        do {
            try loop()
        } catch let error as MeraserError where error.kind == .interrupted {
            if state.step > 0, output.checkpointSteps.last != state.step { try saveCheckpoint() }
            throw MeraserError(
                .interrupted,
                "interrupted after step \(state.step) of \(totalSteps); \(output.path) can be continued with --resume")
        }
        try trainer.adapter.save(
            folder: output.path, model: trainer.model.config, baseModelName: trainer.model.store.path, overwrite: true)
        // Written last: it says that the run is finished.
        try output.write(stateJSON(), to: TrainingOutput.stateName)
    }

    private mutating func loop() throws {
        while true {
            if isProbeDue, try runProbe().stop { return }
            if state.step >= totalSteps { break }
            if isCheckpointDue { try saveCheckpoint() }
            try step()
        }
        if trainer.probe != nil, state.probedStep != state.step { _ = try runProbe() }
    }

    // MARK: Steps

    private mutating func step() throws {
        let index = state.step
        let began = clock.now
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
        let rate = trainer.schedule.rate(step: index)
        let probability = Float(trainer.adapter.config.loraDropout)
        let dropout =
            probability > 0 ? (probability: probability, seed: trainer.options.seed, step: UInt64(index)) : nil
        var loss = 0.0
        var divergence = 0.0
        let graph = graph
        let norm = try naming(step: index + 1) {
            try trainer.optimizer.advance(learningRate: rate, kernels: trainer.model.kernels) { gradients in
                for batch in batches {
                    if trainer.interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
                    loss += try graph.accumulate(batch, dropout: dropout, into: gradients)
                }
                for batch in clean {
                    if trainer.interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
                    divergence += try graph.accumulateDivergence(batch, dropout: dropout, into: gradients)
                }
                guard loss.isFinite, divergence.isFinite else {
                    throw MeraserError.runtime("the loss is not finite; lower --learning-rate or check the data")
                }
            }
        }
        let tokens = (batches + clean).reduce(0) { $0 + $1.batch.tokenCount }
        state.step += 1
        state.epoch = trainer.steps.epochs(after: state.step)
        state.loss = loss
        state.kl = trainer.kl == nil ? nil : divergence / weight
        state.tokens += tokens
        updateCosts()
        try report(rate: rate, norm: norm, tokensPerSecond: Double(tokens) / (clock.now - began).inSeconds)
    }

    /// Says in which step a run-time failure happened.
    private func naming<R>(step: Int, _ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as MeraserError where error.kind == .runtime {
            throw MeraserError.runtime("step \(step): \(error.message)")
        }
    }

    private mutating func updateCosts() {
        state.seconds = secondsBefore + (clock.now - start).inSeconds
        state.peakRSSBytes = max(state.peakRSSBytes, ProcessMemory.peakBytes)
    }

    private func report(rate: Double, norm: Double, tokensPerSecond: Double) throws {
        let done = state.step - firstStep
        let pace = (clock.now - start).inSeconds / Double(max(1, done))
        let progress = TrainingProgress(
            step: state.step, totalSteps: totalSteps, epoch: state.epoch, loss: state.loss, kl: state.kl,
            learningRate: rate,
            gradNorm: norm, tokensPerSecond: tokensPerSecond, elapsedSeconds: state.seconds,
            secondsLeft: pace * Double(totalSteps - state.step), peakRSSBytes: state.peakRSSBytes,
            isLogged: state.step == 1 || state.step == totalSteps
                || state.step % trainer.options.loggingSteps == 0)
        try log.append(progress.json)
        trainer.onStep?(progress)
    }

    // MARK: Measuring

    private var isProbeDue: Bool {
        guard trainer.probe != nil, let every = trainer.options.checkSteps else { return false }
        return state.step > 0 && state.step % every == 0 && state.probedStep != state.step
    }

    private mutating func runProbe() throws -> ProbeResult {
        guard let probe = trainer.probe else { return ProbeResult(fields: [], stop: false) }
        let result = try probe(state.step, trainer.adapter)
        let fields = [(key: "step", value: JSONValue.integer(state.step))] + result.fields
        try probeLog?.append(.object(JSONObject(fields)))
        state.probedStep = state.step
        updateCosts()
        trainer.onProbe?(state.step, result)
        return result
    }

    // MARK: Checkpoints

    private var isCheckpointDue: Bool {
        let every = trainer.options.saveSteps
        return every > 0 && state.step > firstStep && state.step % every == 0
    }

    private func stateJSON() -> JSONValue { state.json(totalSteps: totalSteps, record: record) }

    private func saveCheckpoint() throws {
        try output.makeCheckpoint(state.step, limit: trainer.options.saveTotalLimit) { folder in
            try trainer.optimizer.save(
                folder: folder, model: trainer.model.config, baseModelName: trainer.model.store.path)
            let text = stateJSON().serialized(indent: 2) + "\n"
            try writeFileAtomically(path: folder + "/" + TrainingOutput.stateName, Array(text.utf8))
        }
    }
}
