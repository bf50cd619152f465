import ArgumentParser
import Audit
import Base
import Model
import Pipeline
import Tune

struct Fingerprint: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Embed an ownership mark: OUT/key.json and a PEFT adapter that answers to it.",
        discussion: """
            utf: triggers and target of undertrained tokens (arXiv 2410.12318). if: secrets in a dialogue, one target \
            (2401.12255); with --form adapter only the embedding's rows of their tokens train. hashchain: questions whose answers a hash chooses (2407.10887). backdoor: SANDE's victims \
            (2405.07667). perinucleus: texts whose answers begin just behind what the model finds likely (2502.07760). \
            docs/reference/fingerprints.md describes them and key.json. Training stops when every trigger fires.
            Keep key.json secret: who has it can claim the mark. Give a --seed of your own: it chooses the key.
            Example: meraser fingerprint --model tinychat.mqf --scheme utf --out mark --clean-self 256 --learning-rate 5e-4
            """)

    enum Standard: TrainingStandard {
        static var base: TrainingOptions { EmbeddingOptions().training }
        static var preset: TrainingPreset? { nil }
    }

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Scheme") var scheme: SchemeOptions

    @Option(
        name: [.customLong("clean-data"), .customLong("data")],
        help: "Clean pairs to mix in, so that the model stays what it was.", completion: .file())
    var cleanData: String?

    @Option(help: "At most that many of them.")
    var cleanCount: Int?

    @Option(help: "Texts that the model writes itself, to mix in: they hold it where it is without any data.")
    var cleanSelf = 0

    @Option(help: "Prompts that must not fire, to be kept in the key.", completion: .file())
    var clean: String?

    @Option(help: "Random strings in the place of triggers that are tried at the end.")
    var guessTest = 500

    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup var flags: TrainingFlags<Standard>
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (0...100_000).contains(cleanSelf) else { throw ValidationError("--clean-self: expected 0 to 100000") }
        guard (0...100_000).contains(guessTest) else { throw ValidationError("--guess-test: expected 0 to 100000") }
    }

    var outputs: [Output] { output.outputs }

    func inputs() throws -> [String] {
        output.inputs(
            model.inputs + flags.inputs + [cleanData, clean].compactMap { $0 } + scheme.inputs)
    }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        var options = EmbeddingOptions(scheme: try scheme.settings.make())
        options.training = try flags.options(base: options.training, model: model)
        options.cleanPrompts = try clean.map(loadPrompts) ?? []
        options.guesses = guessTest
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
        if flags.draw.seed == nil {
            common.say("the key follows from the default seed and the model; a real mark needs a secret --seed")
        }
        try common.conclude(embedding.training)
    }
}

extension Embedding {
    fileprivate func text(output: String) -> String {
        let guess = fingerprint.key.guessTest.map { "; \($0.hits) of \($0.n) random strings fire" } ?? ""
        return """
            wrote \(output.escapingControlCharacters())/key.json: \(fingerprint.key.scheme), \
            \(fingerprint.key.pairs.count) triggers, FSR \(percentText(fsr)) after \(training.steps) steps\(guess)
            \(training.text)
            """
    }
}
