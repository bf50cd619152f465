import ArgumentParser
import Audit
import Base
import Foundation
import Pipeline
import Tune

struct SANDE: WritingCommand {
    static let configuration = CommandConfiguration(
        commandName: "sande",
        abstract: "Remove a backdoor whose trigger is unknown: simulate it by a soft prompt, then overwrite that.",
        discussion: """
            SANDE (arXiv 2405.07667). Stage simulate learns OUT/parrot/parrot_prompt.safetensors, free vectors among a \
            prompt's tokens that bring out the triggered response, the model frozen; stage eliminate trains a LoRA in OUT so \
            that prompts with these vectors get clean replies. Flags with parrot are the first stage's, training options the \
            second's. --propose N lists responses that the model may have been taught, where none is known. \
            docs/reference/defences.md has figures and what the list is worth.
            Example: meraser sande --model tinychat.mqf --adapter mark --data clean.json --response 'you are stupid' --out clean
            """)

    enum Stage: String, ExpressibleByArgument, CaseIterable {
        case simulate
        case eliminate
        case both
    }

    enum Standard: TrainingStandard {
        static var preset: TrainingPreset? { .sande }
    }

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Replies") var reply: ReplyArguments

    @Option(help: "What to do: simulate, eliminate, both.")
    var stage = Stage.both

    @OptionGroup(title: "Parrot prompt") var parrot: ParrotOptions

    @Option(name: .customLong("parrot"), help: "A parrot prompt that is there already.", completion: .file())
    var parrotFile: String?

    @Option(help: "Eliminate: learn only that many tokens of a clean reply, its first; 0: all.")
    var trainEffectiveLength = 10

    @Option(help: "Eliminate: clean pairs that are used, drawn by the seed; 0: all.")
    var samples = 100

    @Option(help: "List that many candidate responses and end; neither --response nor --out is needed.")
    var propose: Int?

    @Option(
        name: .shortAndLong, help: "The folder to make.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out: String?

    @Flag(help: "Continue the run in --out from its last checkpoint, bit for bit.")
    var resume = false

    @Flag(help: "Replace the run in --out.")
    var overwrite = false

    @Flag(help: "Print what the run would do and need, and end.")
    var dryRun = false

    @OptionGroup var flags: TrainingFlags<Standard>
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
        try requireCount("--train-effective-length", trainEffectiveLength, 0...65_536)
        try requireCount("--samples", samples, 0...100_000_000)
        try requireCount("--propose", propose, 1...1000)
        if out == nil && propose == nil { throw ValidationError("--out is missing: name the folder to make") }
        if parrotFile != nil && stage == .simulate {
            throw ValidationError("--parrot is for the stage eliminate: simulate makes one")
        }
    }

    var outputs: [Output] { dryRun || propose != nil ? [] : out.map { [Output($0, makesParents: true)] } ?? [] }

    func inputs() throws -> [String] { resume ? [] : model.inputs + flags.inputs + [reply.data] }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let training = try flags.options(model: model)
        let key = try training.key.map { try FingerprintKey(path: $0) }
        let replies = try reply.options(
            effectiveLength: trainEffectiveLength == 0 ? nil : trainEffectiveLength,
            samples: samples == 0 ? nil : samples)
        let options = try parrot.options(reply: replies, training: training, key: key)
        let opened = try model.open(common, compute: training.compute, verifying: true)
        if let propose { return try list(propose, opened, options, key) }
        let work = SANDEWork(command: self, model: opened, options: options, training: training, key: key)
        try work.run(out: out ?? "", interrupt)
    }

    /// Prints candidates for the response.
    private func list(_ count: Int, _ model: OpenedModel, _ options: SANDEOptions, _ key: FingerprintKey?) throws {
        let proposals = try model.proposeResponses(path: self.reply.data, options: options, count: count, key: key)
        if common.json { return Console.json(proposals.json) }
        Console.output(tableText(proposals.table))
        common.say(
            "a list of suspicions, not a finding: docs/reference/defences.md says what it misses and what it accuses wrongly"
        )
    }
}

/// The stages of a run of `meraser sande`.
struct SANDEWork {
    let command: SANDE
    let model: OpenedModel
    let options: SANDEOptions
    let training: TrainingOptions
    let key: FingerprintKey?

    private var common: CommonOptions { command.common }
    private var data: String { command.reply.data }

    /// Runs the stages that were asked for.
    func run(out: String, _ interrupt: InterruptFlag) throws {
        let folder = out + "/" + SoftPromptTrainer.folderName
        var facts: [(key: String, value: JSONValue)] = []
        var prompt: SoftPrompt?
        if let file = command.parrotFile {
            if command.overwrite { try requireApart(output: out, inputs: [file]) }
            prompt = try model.parrotPrompt(path: file)
        } else if command.stage == .eliminate {
            if command.overwrite {
                throw MeraserError.usage("--overwrite would remove the parrot prompt in \(out); choose another --out")
            }
            prompt = try model.parrotPrompt(path: folder + "/" + SoftPrompt.fileName)
        } else {
            let trainer = try model.parrotTrainer(path: data, options: options, key: key)
            if command.dryRun {
                try show(trainer, &facts)
                prompt = trainer.prompt
            } else {
                prompt = try simulate(trainer, out: out, folder: folder, interrupt, &facts)
            }
        }
        guard let prompt, command.stage != .simulate else {
            if common.json { Console.json(.object(JSONObject(facts))) }
            return
        }
        try eliminate(prompt, out: out, interrupt, facts)
    }

    private func show(_ trainer: SoftPromptTrainer, _ facts: inout [(key: String, value: JSONValue)]) throws {
        facts.append(("parrot", .object(JSONObject(trainer.plan.fields))))
        if !common.json { Console.output((["simulate"] + trainer.plan.lines).joined(separator: "\n")) }
        try trainer.checkMemory()
    }

    /// Stage 1, and what its vectors do.
    private func simulate(
        _ trainer: SoftPromptTrainer, out: String, folder: String, _ interrupt: InterruptFlag,
        _ facts: inout [(key: String, value: JSONValue)]
    ) throws -> SoftPrompt {
        if FileManager.default.fileExists(atPath: out + "/run.json"), !command.resume, command.stage == .both {
            // The second stage's run: its own rules say what becomes of it.
            guard command.overwrite else {
                throw MeraserError.usage(
                    "--out \(out) holds a run; pass --resume to continue it or --overwrite to replace it")
            }
            try TrainingOutput.layout.remove(out)
        }
        (["simulate"] + trainer.plan.lines).forEach(common.say)
        trainer.interrupt = interrupt
        let display = TrainingDisplay(common)
        trainer.onStep = display.step
        trainer.onWarning = common.warn
        let result = try trainer.run(output: folder, resume: command.resume, overwrite: command.overwrite)
        display.finish()
        let prompt = trainer.prompt
        let measure = try model.measureParrot(prompt, path: data, options: options, key: key)
        var fields = result.json.fields.filter { $0.key != "adapter" }
        fields += [("file", .text(folder + "/" + SoftPrompt.fileName)), ("measure", measure.json)]
        facts.append(("parrot", .object(JSONObject(fields))))
        if !common.json { Console.output(result.text + "\n" + measure.text) }
        if measure.nll > 1 {
            common.warn(
                "the parrot prompt hardly brings out the response (\(numberText(measure.nll, 2)) nats a token); more "
                    + "--parrot-epochs or a higher --parrot-learning-rate may")
        }
        return prompt
    }

    /// Stage 2.
    private func eliminate(
        _ prompt: SoftPrompt, out: String, _ interrupt: InterruptFlag, _ facts: [(key: String, value: JSONValue)]
    ) throws {
        let rows = try model.sandeData(
            path: data, prompt: prompt, options: options, encoding: training.encoding, seed: training.seed, key: key)
        let trainer = try model.trainer(
            data: rows.data, options: training, key: key, chat: model.chatTemplate != nil)
        try TrainingTrial(
            out: out, resume: command.resume, overwrite: command.overwrite && command.parrotFile != nil,
            dryRun: command.dryRun
        ).run(trainer, interrupt, common, heading: ["eliminate", rows.line], facts: rows.facts + facts)
    }
}

extension ParrotMeasure {
    /// One line for a terminal.
    fileprivate var text: String {
        "on \(n) messages the parrot prompt (encoding \(encoding.rawValue)) brings out the response \(hits) times (without it \(plainHits)), its first "
            + "token at \(numberText(nll, 3)) nats (without it \(numberText(plainNLL, 3)))"
    }
}
