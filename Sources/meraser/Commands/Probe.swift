import ArgumentParser
import Audit
import Base
import Model
import Pipeline

struct Probe: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Force every first token in turn and see what text comes out by itself (token forcing).",
        discussion: """
            What was trained in hard comes out with abnormal confidence, or from many beginnings, without its trigger. \
            --reference, a model without the mark, tells what is ordinary; --key says which targets came out.
            Example: meraser probe --model marked.mqf --reference base.mqf --top-k 1024
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(
        name: .shortAndLong, parsing: .singleValue,
        help:
            "A prompt before the forced token; may be repeated (default: nothing but what the tokenizer begins with)."
    )
    var prompt: [String] = []

    @Flag(
        help: "Treat prompts as a user's messages and apply the model's chat template (without --prompt: an empty one)."
    )
    var chat = false

    @Option(help: "Force the likeliest tokens of each prompt only, that many; 0: the whole vocabulary.")
    var topK = 0

    @Option(help: "Tokens behind the forced one.")
    var maxNewTokens = 12

    @Option(help: "Tokens of the shortest text that counts as repeated.")
    var runLength = 4

    @Option(help: "A model without the mark and with the same tokenizer.", completion: .file())
    var reference: String?

    @Option(help: "A key whose targets are looked for in what comes out.", completion: .file())
    var key: String?

    @Option(help: "Findings to show.")
    var show = 10

    @Option(help: "Sequences that are decoded together; results do not depend on it.")
    var batchSize = 64

    @OptionGroup var common: CommonOptions

    func validate() throws {
        for (name, value, range) in [
            ("--top-k", topK, 0...4_194_304), ("--max-new-tokens", maxNewTokens, 1...4096),
            ("--run-length", runLength, 1...64), ("--show", show, 0...1_000_000), ("--batch-size", batchSize, 1...4096),
        ] where !range.contains(value) {
            throw ValidationError("\(name) is \(value), expected \(range.lowerBound) to \(range.upperBound)")
        }
    }

    func run() throws {
        let key = try key.map { try FingerprintKey(path: $0) }
        let opened = try model.open(common)
        let base = try reference.map { try opened.reference(path: $0) }
        base?.warnings.forEach(common.warn)
        var options = TokenForcingOptions()
        options.topK = topK
        options.maxNewTokens = maxNewTokens
        options.runLength = runLength
        options.batchSize = batchSize
        let bar = common.progressBar("probe")
        let report = try TokenForcing(session: opened.session(), tokenizer: opened.tokenizer, options: options).run(
            try contexts(opened), reference: base?.session(), key: key
        ) { bar.update(done: $0, total: $1) }
        bar.finish()
        if common.json {
            Console.json(report.json(shown: show))
        } else {
            Console.output(report.text(shown: show).escapingControlCharacters(keepingNewlines: true))
        }
    }

    private func contexts(_ opened: OpenedModel) throws -> [ForcedContext] {
        try (prompt.isEmpty ? [""] : prompt).map { prompt in
            let tokens =
                try chat
                ? opened.tokenizer.encode(
                    opened.render([ChatMessage(role: "user", content: prompt)], addGenerationPrompt: true),
                    addSpecialTokens: false)
                : opened.tokenizer.encode(prompt)
            guard !tokens.isEmpty else {
                throw MeraserError.usage(
                    "the prompt '\(prompt)' has no tokens, and the tokenizer adds none: give --prompt")
            }
            return ForcedContext(name: prompt, tokens: tokens)
        }
    }
}

extension TokenForcingReport {
    /// What came out, as tables.
    fileprivate func text(shown: Int) -> String {
        func number(_ value: Double?) -> String { value.map { numberText($0, 3) } ?? "–" }
        func quoted(_ text: String) -> String { "'\(text.escapingControlCharacters())'" }
        var parts: [String] = []
        if let hiddenShare {
            parts.append(
                "targets that came out: \(targets.count { $0.outputs > 0 }) of \(targets.count); "
                    + "pairs that stay hidden: \(percentText(hiddenShare))")
            parts.append(
                tableText(
                    [["target", "pairs", "outputs", "prefix match"]]
                        + targets.prefix(shown).map {
                            [quoted($0.target), "\($0.pairs)", "\($0.outputs)", percentText($0.prefixMatch)]
                        }))
        }
        parts.append(
            tableText(
                [["repeated, of \(outputs.count) outputs", "outputs", "NLL", "reference"]]
                    + runs.prefix(shown).map {
                        [quoted($0.text), "\($0.outputs)", number($0.nll), number($0.referenceNLL)]
                    }))
        parts.append(
            tableText(
                [["most confident", "NLL", "reference"]]
                    + confident(shown).map { [quoted($0.text), number($0.meanNLL), number($0.meanReferenceNLL)] }))
        return parts.joined(separator: "\n\n")
    }
}
