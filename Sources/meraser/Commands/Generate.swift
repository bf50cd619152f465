import ArgumentParser
import Audit
import Base
import Model
import Pipeline
import Quant

struct Generate: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Continue prompts.",
        discussion: "Example: meraser generate --model Examples/tinychat --chat --prompt 'What is a loop?'")

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(name: .shortAndLong, help: "A prompt.")
    var prompt: String?

    @Option(
        name: [.long, .customShort("f")],
        help: """
            Prompts: rows with `prompt` (and `format`: raw or chat) in a .jsonl file, or a prompt a line; - reads standard \
            input.
            """,
        completion: .file())
    var prompts: String?

    @Option(name: [.long, .customShort("n")], help: "New tokens at most.")
    var maxNewTokens = 128

    @Option(help: "0 is greedy; above, the logits are divided by it.")
    var temperature = 0.0

    @Option(help: "Sample from the likeliest tokens that together have this probability.")
    var topP = 1.0

    @Option(help: "Sample from that many likeliest tokens; 0: from all.")
    var topK = 0

    @Flag(help: "Treat prompts as a user's messages and apply the model's chat template.")
    var chat = false

    @Option(help: "Prompts that are decoded together.")
    var batchSize = 32

    @Flag(
        inversion: .prefixedNo,
        help: "Read what prompts begin with in common once for all of them. The outputs are the same without.")
    var sharePrefixes = true

    @OptionGroup(title: "CleanGen") var cleanGen: CleanGenFlags
    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if cleanGen.reference != nil, temperature > 0 {
            throw ValidationError("--cleangen is greedy: no --temperature")
        }
        if (prompt == nil) == (prompts == nil) { throw ValidationError("give either --prompt or --prompts") }
        if !(1...1 << 20).contains(maxNewTokens) {
            throw ValidationError("--max-new-tokens is \(maxNewTokens), expected 1 or more")
        }
        if !(temperature >= 0 && temperature.isFinite) { throw ValidationError("--temperature must be 0 or more") }
        if !(topP > 0 && topP <= 1) { throw ValidationError("--top-p must be more than 0, at most 1") }
        if topK < 0 { throw ValidationError("--top-k must be 0 or more") }
        if !(1...4096).contains(batchSize) { throw ValidationError("--batch-size must be 1 to 4096") }
    }

    func run() throws {
        let file = try prompts.map { try PromptFile(path: $0) }
        let texts = file?.prompts ?? [prompt ?? ""]
        if chat, file?.format == .raw {
            throw MeraserError.usage("--chat: the rows of \(prompts ?? "") say that they are raw text")
        }
        let opened = try model.open(common)
        let options = GenerationOptions(
            maxNewTokens: maxNewTokens,
            sampling: SamplingOptions(temperature: temperature, topP: topP, topK: topK, seed: draw.value),
            stopTokens: opened.transformer.stopTokens, batchSize: batchSize,
            sharesPrefixes: sharePrefixes)
        let defence = try cleanGen.generator(for: opened)
        let streams = texts.count == 1 && !common.json && defence == nil
        var statistics = GenerationStatistics()
        let results = try opened.generate(
            texts, chat: chat || file?.format == .chat, options: options, defence: defence,
            onText: { if streams { Console.outputRaw($0.escapingControlCharacters(keepingNewlines: true)) } },
            onStatistics: { statistics = $0 })
        if common.json {
            Console.json(["results": .array(results.map(\.json))])
        } else if streams {
            Console.output("")
        } else {
            for result in results {
                Console.output("> \(result.prompt.escapingControlCharacters(keepingNewlines: true))")
                Console.output(result.output.escapingControlCharacters(keepingNewlines: true) + "\n")
            }
        }
        let cut = results.count { $0.ending == .context }
        if cut > 0 {
            common.warn(
                "\(cut) of \(results.count) outputs ended early: the model's context of "
                    + "\(opened.transformer.spec.maxPositionEmbeddings) positions is full")
        }
        if let done = defence?.statistics {
            common.say("CleanGen replaced \(done.replaced) of \(done.tokens) tokens")
        } else {
            common.say(statistics.summary)
        }
    }
}

extension GenerationStatistics {
    /// Rates as `prompt 25 tokens, 110.5/s; decode 127 tokens, 38.9/s`.
    fileprivate var summary: String {
        func rate(_ tokens: Int, _ seconds: Double) -> String {
            let perSecond = seconds > 0 ? (Double(tokens) / seconds * 10).rounded() / 10 : 0
            return "\(tokens) tokens, \(perSecond)/s"
        }
        let shared = sharedTokens > 0 ? " (\(sharedTokens) more shared)" : ""
        return "prompt \(rate(promptTokens, promptSeconds))\(shared); decode \(rate(decodedTokens, decodeSeconds))"
    }
}
