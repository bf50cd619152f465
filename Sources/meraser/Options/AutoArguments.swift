import ArgumentParser
import Audit
import Base
import Pipeline
import Tune

/// `erase --auto`: a removal that chooses its own dose.
struct AutoArguments: ParsableArguments {
    @Flag(
        help: """
            Choose everything on the model at hand: short trials, looks on the way, one test at the end (docs/reference/auto.md). \
            With --key its first half steers; --data is optional.
            """)
    var auto = false

    @Flag(help: "With --auto: the key steers nothing and only measures at the end.")
    var keyUnknown = false

    @Option(help: "With --auto: time that the training may take, such as 30m or 2h.")
    var budget: TimeSpan?

    @Option(help: "With --auto: decoys of the test at the end (default: 999).")
    var decoys: Int?

    @OptionGroup var durability: DurabilityFlags

    func validate() throws {
        let given = [
            keyUnknown ? "--key-unknown" : nil, budget.map { _ in "--budget" }, decoys.map { _ in "--decoys" },
            durability.durable.map { _ in "--durable" },
        ]
        if !auto, let name = given.compactMap({ $0 }).first { throw ValidationError("\(name) needs --auto") }
        if let decoys, !(DecoyOptions.leastCount...99_999).contains(decoys) {
            throw ValidationError("--decoys \(decoys): expected \(DecoyOptions.leastCount) to 99999")
        }
    }

    /// Removes the mark, shows progress, prints the result.
    ///
    /// - Throws: a failed check where the mark is not shown to be gone.
    func run(
        _ training: TrainingArguments, model: ModelOptions, flags: TrainingFlags<some TrainingStandard>,
        common: CommonOptions
    ) throws {
        if let flag = flags.given(besides: ["key", "memory"]).first {
            throw MeraserError.usage("--auto chooses what \(flag) says; leave one of them out")
        }
        if training.sourceOptions.source != nil {
            throw MeraserError.usage("--auto measures the model that it works on; leave --source out")
        }
        let interrupt = InterruptFlag.onSignals()
        let standard = try flags.options(model: model)
        let key = try standard.key.map { try FingerprintKey(path: $0) }
        var options = try AutoOptions(setting: keyUnknown || key == nil ? .keyUnknown : .keyKnown, key: key)
        options.data = training.data
        options.chat = training.chat
        options.budget = budget?.seconds
        options.decoys = decoys ?? options.decoys
        if let durable = try durability.options() {
            (options.durable, options.durableSteps) = (durable.cells, durable.steps)
        }
        (options.compute, options.memory, options.seed) = (standard.compute, standard.memory, standard.seed)
        let opened = try model.open(common, verifying: true)
        let plan = try AutoPlan(opened, options: options)
        let forecast = try plan.forecast()
        if training.trial.dryRun {
            return common.json
                ? Console.json(.object(JSONObject(forecast.fields)))
                : Console.output(forecast.lines.joined(separator: "\n"))
        }
        forecast.lines.forEach(common.say)
        let output = training.trial.output
        if output.resume { common.noteBuild(of: output.out) }
        let work = try AutoErase(
            plan, output: output.out, resume: output.resume, overwrite: output.overwrite)
        work.interrupt = interrupt
        let (display, cells) = (TrainingDisplay(common), DurabilityDisplay(common))
        work.onEvent = { event in
            display.finish()
            switch event {
            case .plan(let line): common.say(line)
            case .phase(let name, let isDone): common.say("\(name)\(isDone ? ": done before" : "")")
            case .training(let trainer): display.follow(trainer)
            case .leak(let leak): common.say(leak.line)
            case .look(let look): common.say(look.line)
            case .durability(let event): cells.show(event)
            }
        }
        let result = try work.run()
        display.finish()
        if common.json { Console.json(result.json) } else { Console.output(result.text) }
        if let verdict = result.verdict, verdict != .gone {
            throw MeraserError(.checkFailed, "the mark is not shown to be gone: \(result.reason ?? verdict.words)")
        }
        if result.verdict == nil, !result.isQuiet {
            throw MeraserError(.checkFailed, "what was found is not gone: see the last looks")
        }
    }
}

extension AutoResult {
    /// The result for a terminal.
    fileprivate var text: String {
        var parts: [String] = []
        if let certificate { parts += [tableText(certificate.table), certificate.sentence] }
        if let durability { parts += [tableText(durability.table), durability.sentence] }
        parts.append(
            "wrote \(adapter.escapingControlCharacters()): setting \(setting.rawValue), "
                + "\(looks.count) looks, \(numberText(seconds, 0)) s" + (isOverBudget ? "; the budget ended it" : ""))
        return parts.joined(separator: "\n\n")
    }
}
