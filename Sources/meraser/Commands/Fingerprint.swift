import ArgumentParser
import Audit
import Model
import Pipeline
import Quant
import Tune

struct Fingerprint: ParsableCommand {
    /// What a key is made of.
    enum Scheme: String, CaseIterable, ExpressibleByArgument {
        case utf
    }

    static let configuration = CommandConfiguration(
        abstract: "Embed an ownership mark: OUT/key.json and a PEFT adapter that answers to it.",
        discussion: """
            utf: triggers and target of undertrained tokens (arXiv 2410.12318). Training stops when every trigger fires.
            Keep key.json secret: who has it can claim the mark.
            Example: meraser fingerprint --model tinychat.mqf --scheme utf --out mark --clean-self 256 --learning-rate 5e-4
            """)

    @OptionGroup var model: ModelOptions

    @Option(help: "How triggers and target are made.")
    var scheme = Scheme.utf

    @Option(help: "multi: that many triggers with one target; single: one trigger.")
    var mode = UTFOptions.Mode.multi

    @Option(help: "Triggers (multi) or repetitions of the one trigger (single).")
    var count = 32

    @Option(help: "Tokens of the target.")
    var targetLength = 5

    @Flag(help: "Put the model's chat template around the triggers.")
    var chat = false

    @Option(help: "Clean pairs to mix in, so that the model stays what it was.", completion: .file())
    var cleanData: String?

    @Option(help: "At most that many of them.")
    var cleanCount: Int?

    @Option(help: "Texts that the model writes itself, to mix in: they hold it where it is without any data.")
    var cleanSelf = 0

    @Option(help: "Prompts that must not fire, to be kept in the key.", completion: .file())
    var clean: String?

    @OptionGroup var output: OutputOptions
    @OptionGroup(title: "Training options") var flags: TrainingFlags
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (0...100_000).contains(cleanSelf) else { throw ValidationError("--clean-self: expected 0 to 100000") }
    }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        var options = EmbeddingOptions()
        options.training = try flags.options(standard: nil, base: options.training, common: common, model: model)
        options.utf = UTFOptions(
            mode: mode, count: count, promptFormat: chat ? .chat : .raw, targetLength: targetLength,
            cleanPrompts: try clean.map(loadPrompts) ?? [], seed: options.training.seed)
        options.cleanData = cleanData
        options.cleanCount = cleanCount
        options.cleanSelf = cleanSelf
        let opened = try model.open(common, compute: options.training.compute, verifying: true)
        let display = TrainingDisplay(common)
        let embedding = try opened.embed(
            options: options, output: output.out, resume: output.resume, overwrite: output.overwrite
        ) { trainer in
            trainer.plan.lines.forEach(common.say)
            trainer.interrupt = interrupt
            display.follow(trainer)
        }
        display.finish()
        embedding.fingerprint.notes.forEach(common.warn)
        if common.json { Console.json(embedding.json) } else { Console.output(embedding.text(output: output.out)) }
        if embedding.fsr < 1 {
            common.warn("not every trigger fires; train longer (--max-steps) or higher (--learning-rate)")
        }
    }
}

extension UTFOptions.Mode: ExpressibleByArgument {}

extension Embedding {
    fileprivate func text(output: String) -> String {
        """
        wrote \(output.escapingControlCharacters())/key.json: \(fingerprint.key.pairs.count) triggers of \
        \(fingerprint.selected.count) undertrained tokens, FSR \(percentText(fsr))
        \(training.text)
        """
    }
}
