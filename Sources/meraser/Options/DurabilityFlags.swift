import ArgumentParser
import Audit
import Base
import Pipeline
import Tune

/// Whether a mark stays away.
struct DurabilityFlags: ParsableArguments {
    @Option(
        defaultAsFlag: "all",
        help: ArgumentHelp(
            """
            Beside --decoys, try the mark again in a grid of cells, weights {as_is, source, q8_0, q4_0, iq4_nl, nf4, bf16; \
            slerp, linear with --reference} by treatment {as_is, relearn_clean, relearn_half}: all, or WEIGHTS or \
            WEIGHTS/TREATMENT with commas between (docs/reference/certificate.md). The verdict is the worst cell's.
            """, valueName: "cells"))
    var durable: String?

    @Option(help: "Steps of relearning in the cells of --durable (default: 10).")
    var durableSteps: Int?

    func validate() throws {
        if durableSteps != nil, durable == nil { throw ValidationError("--durable-steps needs --durable") }
        try requireCount("--durable-steps", durableSteps, 1...100_000)
        _ = try cells()
    }

    private func cells() throws -> DurabilitySelection? {
        do {
            return try durable.map { try DurabilitySelection($0) }
        } catch let error as MeraserError {
            throw ValidationError(FlagNames.spell(error.message))
        }
    }

    /// The options that these flags set; nil without `--durable`.
    func options() throws -> DurabilityOptions? {
        guard let cells = try cells() else { return nil }
        var options = DurabilityOptions()
        (options.cells, options.steps) = (cells, durableSteps ?? options.steps)
        return options
    }

    /// Tries the cells with a display; nil without `--durable`.
    ///
    /// - Parameter set: sets the options that are no flags of these.
    func report(
        _ key: FingerprintKey, on model: OpenedModel, source: OpenedModel?, certificate: Certificate?,
        _ common: CommonOptions, _ interrupt: InterruptFlag, set: (inout DurabilityOptions) -> Void
    ) throws -> DurabilityReport? {
        guard var options = try options() else { return nil }
        set(&options)
        return try DurabilityDisplay(common).check(key, options, interrupt) {
            try $0.run(on: model, source: source, certificate: certificate)
        }
    }
}

/// Shows the cells of a durability check on standard error.
final class DurabilityDisplay {
    private let common: CommonOptions
    private let training: TrainingDisplay
    private var bar: ProgressBar?

    init(_ common: CommonOptions) {
        self.common = common
        training = TrainingDisplay(common)
    }

    /// Runs a check that is shown.
    func check<Result>(
        _ key: FingerprintKey, _ options: DurabilityOptions, _ interrupt: InterruptFlag,
        _ body: (DurabilityCheck) throws -> Result
    ) throws -> Result {
        defer {
            bar?.finish()
            training.finish()
        }
        return try body(DurabilityCheck(key, options: options, interrupt: interrupt, onEvent: show))
    }

    /// Shows what happens.
    func show(_ event: DurabilityCheck.Event) {
        switch event {
        case .cell(let cell, let number, let count):
            bar?.finish()
            bar = nil
            training.finish()
            common.say("cell \(number) of \(count): \(cell)")
        case .training(let trainer): training.follow(trainer)
        case .decoys(let done, let total):
            if bar == nil { bar = common.progressBar("decoys") }
            bar?.update(done: done, total: total)
        }
    }
}
