import Kernels
import Model
import Quant

/// The loop of a soft prompt's run from the state that it begins or resumes in to its end.
struct SoftPromptSession {
    private let trainer: SoftPromptTrainer
    private let output: TrainingOutput
    private let record: RunRecord
    private let graph: TrainingGraph
    private let log: StepLog
    private var state: TrainerState
    private let firstStep: Int
    private let secondsBefore: Double
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant

    init(trainer: SoftPromptTrainer, output: TrainingOutput, record: RunRecord, state: TrainerState) throws {
        self.trainer = trainer
        self.output = output
        self.record = record
        self.state = state
        graph = TrainingGraph(
            model: trainer.model, frozen: trainer.frozen, trained: trainer.nothing,
            maximumTokens: trainer.plan.maximumTokens, throughEmbeddings: true, recompute: trainer.plan.recompute)
        graph.interrupt = trainer.interrupt
        graph.softPrompt = trainer.state.vectors
        graph.softPromptGradient = trainer.state.gradient
        log = try StepLog(path: output.file("train_log.jsonl"), keepingSteps: state.step)
        firstStep = state.step
        secondsBefore = state.seconds
        start = clock.now
    }

    private var totalSteps: Int { trainer.plan.steps }

    /// Runs to the end and leaves the vectors in the output folder; on interruption leaves a checkpoint and throws.
    mutating func run() throws {
        do {
            while state.step < totalSteps {
                let every = trainer.options.saveSteps
                if every > 0, state.step > firstStep, state.step % every == 0 { try saveCheckpoint() }
                try step()
            }
        } catch let error as MeraserError where error.kind == .interrupted {
            if state.step > 0, output.checkpointSteps.last != state.step { try saveCheckpoint() }
            throw MeraserError(
                .interrupted,
                "interrupted after step \(state.step) of \(totalSteps); \(output.path) can be continued with --resume")
        }
        try trainer.prompt.save(path: output.file(SoftPrompt.fileName))
        // Written last: it says that the run is finished.
        try output.write(stateJSON(), to: TrainingOutput.stateName)
    }

    private mutating func step() throws {
        let index = state.step
        let began = clock.now
        let batches = trainer.steps.batches(
            step: index, samples: trainer.data.samples, mean: trainer.options.lossMean)
        let rate = trainer.schedule.rate(step: index)
        var loss = 0.0
        let norm: Double
        do {
            norm = try trainer.state.advance(learningRate: rate, kernels: trainer.model.kernels) {
                for batch in batches { loss += try graph.accumulate(batch, into: trainer.nothing) }
                guard loss.isFinite else {
                    throw MeraserError.runtime("the loss is not finite; lower --learning-rate or check the data")
                }
            }
        } catch let error as MeraserError where error.kind == .runtime {
            throw MeraserError.runtime("step \(index + 1): \(error.message)")
        }
        let tokens = batches.reduce(0) { $0 + $1.batch.tokenCount }
        state.step += 1
        state.epoch = trainer.steps.epochs(after: state.step)
        state.loss = loss
        state.tokens += tokens
        state.seconds = secondsBefore + (clock.now - start).inSeconds
        state.peakRSSBytes = max(state.peakRSSBytes, ProcessMemory.peakBytes)
        try report(rate: rate, norm: norm, tokensPerSecond: Double(tokens) / (clock.now - began).inSeconds)
    }

    private func report(rate: Double, norm: Double, tokensPerSecond: Double) throws {
        let pace = (clock.now - start).inSeconds / Double(max(1, state.step - firstStep))
        let progress = TrainingProgress(
            step: state.step, totalSteps: totalSteps, epoch: state.epoch, loss: state.loss, learningRate: rate,
            gradNorm: norm, tokensPerSecond: tokensPerSecond, elapsedSeconds: state.seconds,
            secondsLeft: pace * Double(totalSteps - state.step), peakRSSBytes: state.peakRSSBytes,
            isLogged: state.step == 1 || state.step == totalSteps || state.step % trainer.options.loggingSteps == 0)
        try log.append(progress.json)
        trainer.onStep?(progress)
    }

    private func stateJSON() -> JSONValue { state.json(totalSteps: totalSteps, record: record) }

    private func saveCheckpoint() throws {
        try output.makeCheckpoint(state.step, limit: trainer.options.saveTotalLimit) { folder in
            try trainer.state.save(folder: folder)
            let text = stateJSON().serialized(indent: 2) + "\n"
            try writeFileAtomically(path: folder + "/" + TrainingOutput.stateName, Array(text.utf8))
        }
    }
}
