import Base

/// A run that is going on, whatever it trains: where it stands and what it has cost, its log, its checkpoints.
struct TrainingRun {
    /// What a step has done.
    struct Step {
        /// The loss, without the divergence.
        let loss: Double
        /// Mean divergence from the frozen model; nil where none is learnt.
        var kl: Double?
        /// Norm of the gradient before clipping.
        let norm: Double
        /// Input tokens.
        let tokens: Int
    }

    /// Where the run stands.
    private(set) var state: TrainerState
    private let output: TrainingOutput
    private let record: RunRecord
    private let options: TrainingOptions
    private let steps: StepPlan
    private let schedule: LearningRateSchedule
    private let log: StepLog
    private let events: EventFile?
    private let save: (_ folder: String) throws -> Void
    private let firstStep: Int
    private let secondsBefore: Double
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant

    /// Takes up a run in the state that it begins or resumes in.
    ///
    /// - Parameter save: writes what changes from step to step into the folder of a checkpoint.
    init(
        output: TrainingOutput, record: RunRecord, state: TrainerState, options: TrainingOptions, steps: StepPlan,
        save: @escaping (_ folder: String) throws -> Void
    ) throws {
        self.output = output
        self.record = record
        self.state = state
        self.options = options
        self.steps = steps
        self.save = save
        schedule = try LearningRateSchedule(options: options, totalSteps: steps.totalSteps)
        log = try StepLog(path: output.file("train_log.jsonl"), keepingSteps: state.step)
        events =
            options.reportTo == .tensorboard
            ? try EventFile(folder: output.file(EventFile.folder), firstStep: state.step) : nil
        firstStep = state.step
        secondsBefore = state.seconds
        start = clock.now
    }

    /// True if every step is done.
    var isDone: Bool { state.step >= steps.totalSteps }

    // MARK: Steps

    /// Does the next step and writes its line: `work` is given its number, from 0, and its learning rate.
    ///
    /// - Throws: what `work` throws, with the step's number in runtime errors; then nothing has changed.
    mutating func step(_ work: (_ index: Int, _ rate: Double) throws -> Step) throws -> TrainingProgress {
        let began = clock.now
        let rate = state.plateau?.rate ?? schedule.rate(step: state.step)
        let step: Step
        do {
            step = try work(state.step, rate)
        } catch let error as MeraserError where error.kind == .runtime {
            throw MeraserError.runtime("step \(state.step + 1): \(error.message)")
        }
        state.step += 1
        state.epoch = steps.epochs(after: state.step)
        state.loss = step.loss
        state.kl = step.kl
        state.tokens += step.tokens
        updateCosts()
        let pace = (clock.now - start).inSeconds / Double(max(1, state.step - firstStep))
        let progress = TrainingProgress(
            step: state.step, totalSteps: steps.totalSteps, epoch: state.epoch, loss: state.loss, kl: state.kl,
            learningRate: rate, gradNorm: step.norm,
            tokensPerSecond: Double(step.tokens) / (clock.now - began).inSeconds, elapsedSeconds: state.seconds,
            secondsLeft: pace * Double(steps.totalSteps - state.step), peakRSSBytes: state.peakRSSBytes,
            isLogged: state.step == 1 || isDone || state.step % options.loggingSteps == 0)
        try log.append(progress.json)
        try events?.append(step: progress.step, progress.scalars)
        return progress
    }

    /// Notes that a key was measured after the last step, and whether that ends the run.
    ///
    /// - Throws: a run-time error if it cannot be written for `report_to`.
    mutating func noteProbe(_ result: ProbeResult) throws {
        let measured = result.fields.compactMap { key, value in
            ["hits", "n"].contains(key) ? nil : value.double.map { (tag: "eval/\(key)", value: $0) }
        }
        try events?.append(step: state.step, measured)
        state.probedStep = state.step
        state.untilHeld = result.stop
        updateCosts()
    }

    /// Notes the loss on `eval_data` after the last step.
    ///
    /// - Throws: a run-time error if it cannot be written for `report_to`.
    mutating func note(evaluation loss: Double) throws -> EvaluationProgress {
        try events?.append(step: state.step, [(tag: "eval/loss", value: loss)])
        var evaluation = state.evaluation ?? EvaluationState()
        let progress = evaluation.note(loss, step: state.step)
        state.evaluation = evaluation
        if let rule = schedule.plateau {
            var plateau = state.plateau ?? PlateauState(rate: schedule.peak)
            rule.note(loss, in: &plateau)
            state.plateau = plateau
        }
        updateCosts()
        return progress
    }

    private mutating func updateCosts() {
        state.seconds = secondsBefore + (clock.now - start).inSeconds
        state.peakRSSBytes = max(state.peakRSSBytes, ProcessMemory.peakBytes)
    }

    // MARK: Checkpoints

    /// Leaves a checkpoint if the options ask for one here.
    func saveIfDue() throws {
        let every = options.saveSteps
        if every > 0, state.step > firstStep, state.step % every == 0 { try saveCheckpoint() }
    }

    /// The error that a run ends with. An interruption leaves a checkpoint of the last step first.
    func ended(by error: any Error) throws -> any Error {
        guard let error = error as? MeraserError, error.kind == .interrupted else { return error }
        if state.step > 0, output.checkpointSteps.last != state.step { try saveCheckpoint() }
        return MeraserError(
            .interrupted,
            "interrupted after step \(state.step) of \(steps.totalSteps); \(output.path) can be continued with `resume`"
        )
    }

    /// Says that the run is finished: to be called when everything else is written.
    func finish() throws { try output.write(stateJSON, to: TrainingOutput.stateName) }

    private var stateJSON: JSONValue { state.json(totalSteps: steps.totalSteps, record: record) }

    private func saveCheckpoint() throws {
        try output.makeCheckpoint(state.step, limit: options.saveTotalLimit) { folder in
            try save(folder)
            let text = stateJSON.serialized(indent: 2) + "\n"
            try writeFileAtomically(path: folder + "/" + TrainingOutput.stateName, Array(text.utf8))
        }
    }
}
