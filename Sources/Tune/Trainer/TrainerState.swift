import Base

/// What `trainer_state.json` keeps beside the optimiser: where the run stands and what it cost.
struct TrainerState: Equatable {
    /// The most steps of a run, so that no count of a checkpoint overflows when it goes on.
    static let maximumSteps = 1 << 40

    /// Finished steps.
    var step = 0
    /// Finished epochs, in fractions.
    var epoch = 0.0
    /// Loss of the last step.
    var loss = 0.0
    /// Mean divergence from the frozen model in the last step; nil where none is learnt.
    var kl: Double?
    /// Seconds over all sessions so far.
    var seconds = 0.0
    /// Input tokens so far.
    var tokens = 0
    /// Peak resident size so far.
    var peakRSSBytes = 0
    /// The last step after which a key was measured.
    var probedStep = 0
    /// True if what was measured then ended the run.
    var untilHeld = false
    /// What `eval_data` gave so far; nil where it was not measured yet.
    var evaluation: EvaluationState?
    /// Where `reduce_lr_on_plateau` stands; nil where it is another schedule, or nothing was measured yet.
    var plateau: PlateauState?

    /// The state in Trainer's words where it has them.
    func json(totalSteps: Int, record: RunRecord) -> JSONValue {
        [
            "global_step": .integer(step), "max_steps": .integer(totalSteps), "epoch": .real(epoch),
            "loss": .real(loss), "kl": kl.map { .real($0) } ?? .null, "elapsed_seconds": .real(seconds),
            "num_input_tokens_seen": .integer(tokens),
            "peak_rss_bytes": .integer(peakRSSBytes), "probed_step": .integer(probedStep),
            "until_held": .bool(untilHeld), "evaluation": evaluation?.json ?? .null,
            "reduce_lr_on_plateau": plateau?.json ?? .null, "run": record.json,
        ]
    }

    init() {}

    /// Reads a state; `file` is for errors.
    init(json: JSONValue, file: String) throws {
        step = try json.int("global_step", in: file)
        epoch = try json.double("epoch", in: file)
        loss = try json.double("loss", in: file)
        kl = json["kl"]?.double
        seconds = try json.double("elapsed_seconds", in: file)
        tokens = try json.int("num_input_tokens_seen", in: file)
        peakRSSBytes = try json.int("peak_rss_bytes", in: file)
        probedStep = try json.int("probed_step", in: file)
        untilHeld = try json.bool("until_held", in: file)
        evaluation = try json["evaluation"].flatMap {
            $0.isNull ? nil : try EvaluationState(json: $0, last: step, file: file)
        }
        plateau = try json["reduce_lr_on_plateau"].flatMap {
            $0.isNull ? nil : try PlateauState(json: $0, file: file)
        }
        guard (1...Self.maximumSteps).contains(step), (0...Int.max / 2).contains(tokens), (0...1e12).contains(seconds),
            (0...step).contains(probedStep), (0...Int.max / 2).contains(peakRSSBytes)
        else {
            throw MeraserError.badInput(
                "\(file): global_step, elapsed_seconds, num_input_tokens_seen, probed_step or peak_rss_bytes is impossible"
            )
        }
    }

    /// How the run ended; `adapter` is what it left. `options` say what was to hold; nil where nothing is measured.
    func result(adapter: String, options: TrainingOptions? = nil) -> TrainingResult {
        TrainingResult(
            steps: step, finalLoss: loss, seconds: seconds, tokens: tokens, peakRSSBytes: peakRSSBytes,
            adapter: adapter,
            until: options.flatMap { options in
                options.until.map { UntilOutcome(condition: $0, held: untilHeld, isRequired: options.requireUntil) }
            },
            evaluation: evaluation.map {
                EvaluationOutcome(
                    loss: $0.loss, bestStep: $0.bestStep, bestLoss: $0.bestLoss, isBestKept: options?.loadBest ?? false)
            })
    }
}
