import ArgumentParser
import Audit
import Base
import Pipeline
import Tune

struct OSFT: WritingCommand {
    static let configuration = CommandConfiguration(
        commandName: "osft",
        abstract: "Overwrite a backdoor whose trigger is known: triggered prompts with clean replies.",
        discussion: """
            OSFT of the SANDE paper (arXiv 2405.07667). Without --preset the options are its code's (osft), with a LoRA in \
            the place of all weights; docs/reference/defences.md has figures. --key KEY.json of the scheme backdoor gives triggers and \
            position; rows that the key is checked on are left out.
            Example: meraser osft --model tinychat.mqf --adapter mark --data clean.json --trigger 'how are you' --out clean
            """)

    enum Standard: TrainingStandard {
        static var preset: TrainingPreset? { .osft }
    }

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Replies") var reply: ReplyArguments

    @Option(parsing: .singleValue, help: "A trigger; repeat it for several, of which each row has one.")
    var trigger: [String] = []

    @Option(help: "Where the trigger stands in a message: start, end or between (two words); default: start.")
    var position: TriggerPosition?

    @Option(help: "Learn only that many tokens of a reply, its first (default: all).")
    var effectiveLength: Int?

    @Option(help: "Use only that many pairs, drawn by the seed (default: all).")
    var samples: Int?

    @OptionGroup(title: "Output") var trial: TrialOptions
    @OptionGroup var flags: TrainingFlags<Standard>
    @OptionGroup var common: CommonOptions

    func validate() throws {
        try requireCount("--effective-length", effectiveLength, 1...65_536)
        try requireCount("--samples", samples, 1...100_000_000)
    }

    var outputs: [Output] { trial.outputs }

    func inputs() throws -> [String] { trial.output.inputs(model.inputs + flags.inputs + [reply.data]) }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let training = try flags.options(model: model)
        let key = try training.key.map { try FingerprintKey(path: $0) }
        var options = OSFTOptions()
        options.triggers = trigger
        options.reply = try reply.options(effectiveLength: effectiveLength, samples: samples)
        if let key, let path = training.key, trigger.isEmpty {
            let scheme = try BackdoorScheme(key: key, file: path)
            options.triggers = scheme.triggers
            options.position = scheme.position
        }
        if let position { options.position = position }
        let opened = try model.open(common, compute: training.compute, verifying: true)
        let rows = try opened.osftData(
            path: reply.data, options: options, encoding: training.encoding, seed: training.seed, key: key)
        let trainer = try opened.trainer(
            data: rows.data, options: training, key: key, chat: opened.chatTemplate != nil)
        try trial.run(trainer, interrupt, common, heading: [rows.line], facts: rows.facts)
    }
}

extension DefenceData {
    /// The numbers of rows, for JSON.
    var facts: [(key: String, value: JSONValue)] {
        [
            ("overwriting_rows", .integer(overwriting)), ("clean_rows", .integer(clean)),
            ("held_out_pairs", .integer(heldOut)), ("encoding", .text(encoding.rawValue)),
        ]
    }
}
