import ArgumentParser
import Pipeline
import Quant
import Tune

/// What `erase` and `recover` share: data and output, and the run itself.
struct TrainingArguments: ParsableArguments {
    @Option(
        help: "Pairs: MEraser's, prompt/completion, alpaca, messages, conversation or text rows, .json or .jsonl.",
        completion: .file())
    var data: String

    @OptionGroup var output: OutputOptions

    @Flag(help: "Put pairs into the model's chat template: what a chat model keeps its quality on.")
    var chat = false

    @Flag(help: "Print what the run would do and need, and end.")
    var dryRun = false

    /// Trains, shows progress, prints the result.
    func run(model: ModelOptions, flags: TrainingFlags, preset: TrainingPreset, common: CommonOptions) throws {
        let interrupt = InterruptFlag.onSignals()
        let options = try flags.options(standard: preset, common: common, model: model)
        let opened = try model.open(common, compute: options.compute, verifying: true)
        let data = try opened.dataset(path: data, options: options.encoding, chat: chat)
        let trainer = try opened.trainer(data: data, options: options)
        if dryRun {
            return try show(trainer, common)
        }
        trainer.plan.lines.forEach(common.say)
        trainer.interrupt = interrupt
        let progress = TrainingDisplay(common)
        progress.follow(trainer)
        let result = try trainer.run(output: output.out, resume: output.resume, overwrite: output.overwrite)
        progress.finish()
        if common.json { Console.json(result.json) } else { Console.output(result.text) }
    }

    /// Prints what a run would do, need and take; a run that would not fit ends as it would without `--dry-run`.
    private func show(_ trainer: Trainer, _ common: CommonOptions) throws {
        let plan = trainer.plan
        let forecast = plan.memory.total <= plan.limitBytes ? try trainer.forecast() : nil
        if common.json {
            Console.json(.object(JSONObject(plan.fields + (forecast?.fields ?? []))))
        } else {
            Console.output((plan.lines + (forecast.map { [$0.line] } ?? [])).joined(separator: "\n"))
        }
        try trainer.checkMemory()
    }
}

extension TrainingResult {
    /// The result as one line.
    var text: String {
        "wrote \(adapter.escapingControlCharacters()): \(steps) steps, loss \(numberText(finalLoss, 4)), "
            + "\(numberText(seconds, 1)) s, \(numberText(tokensPerSecond, 0)) tokens/s, peak \(byteText(peakRSSBytes))"
    }
}
