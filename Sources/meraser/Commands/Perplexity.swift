import ArgumentParser
import Audit
import Base
import Model
import Pipeline

struct Perplexity: CommonCommand {
    static let configuration = CommandConfiguration(
        commandName: "ppl", abstract: "Measure perplexity and, with --reference, the divergence from another model.",
        discussion: """
            Perplexities of different protocols, lengths or tokenizers cannot be compared.
            Example: meraser ppl --model tinychat.mqf --data Examples/data/heldout.jsonl --reference Examples/tinychat
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(
        name: [.long, .customShort("f")],
        help: """
            Text: rows with `text` in a .jsonl file, or one plain text (- reads standard input); for guanaco also \
            question/answer rows.
            """,
        completion: .file())
    var data: String

    @Option(name: .customLong("protocol"), help: "How texts are cut into windows and which tokens count.")
    var scheme = PerplexityProtocol.sample

    @Option(help: "Tokens of a window, BOS included (default: 512, or the model's context where that is shorter).")
    var maxLength: Int?

    @Option(help: "Tokens from one window to the next (strided only; default: half a window).")
    var stride: Int?

    @Option(
        help:
            "Quirks of the paper's script to keep, with commas: prompt, weights, eos; or none (guanaco; default: all).")
    var quirks: String?

    @Option(help: "Rows of a batch, which the quirk 'weights' averages first (guanaco; default: 4).")
    var batchSize: Int?

    @Option(
        help: "Compare with this model (without adapters): KL divergence (mean, median, 99 %), same top token.",
        completion: .file())
    var reference: String?

    @Option(
        help: "End with status 4 if this holds: a condition on \(PerplexityReport.metricNames.joined(separator: ", "))."
    )
    var failIf: String?

    @Flag(help: "Keep a result for each row or window in --json.")
    var rows = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let condition = try failIf.map { try Condition($0, known: PerplexityReport.metricNames) }
        var options = PerplexityOptions(scheme, maxLength: maxLength, stride: stride, keepRows: rows)
        options.quirks = GuanacoQuirks(try keptQuirks(), batchSize: batchSize ?? GuanacoQuirks().batchSize)
        let opened = try model.open(common)
        let base = try reference.map { path in
            let base = try OpenedModel(path: path, kernels: opened.transformer.kernels, compute: model.compute)
            base.warnings.forEach(common.warn)
            return base.session()
        }
        let bar = common.progressBar("ppl")
        let report = try perplexity(
            ofFile: data, session: opened.session(), tokenizer: opened.tokenizer, options: options, base: base,
            onWindow: { bar.update(done: $0, total: $1) })
        bar.finish()
        if common.json { Console.json(report.json) } else { Console.output(report.text) }
        if let condition, try condition.holds(report.metrics) {
            throw MeraserError(.checkFailed, "check failed: \(condition) holds")
        }
    }

    private func keptQuirks() throws -> Set<GuanacoQuirks.Name> {
        guard let quirks else { return GuanacoQuirks().kept }
        let words = quirks == "none" ? [] : quirks.split(separator: ",").map(String.init)
        return Set(
            try words.map { word in
                guard let name = GuanacoQuirks.Name(rawValue: word) else {
                    let names = GuanacoQuirks.Name.allCases.map(\.rawValue).joined(separator: ", ")
                    throw ValidationError("--quirks: '\(word)' is none of \(names); or give none")
                }
                return name
            })
    }
}

extension PerplexityProtocol: ExpressibleByArgument {}

extension PerplexityReport {
    /// The measures as lines.
    fileprivate var text: String {
        var lines = [
            "perplexity  \(numberText(ppl, 4)) ± \(numberText(standardError, 4)) over \(tokens) tokens "
                + "(\(scheme.rawValue), windows of \(maxLength))"
        ]
        if let kl {
            lines.append("KL          \(numberText(kl.mean, 6)) ± \(numberText(kl.standardError, 6)) nats a token")
            lines.append("KL median   \(numberText(kl.median, 6)), 99 % \(numberText(kl.p99, 6))")
            lines.append("ratio       \(numberText(kl.ratio, 5)) to the base's perplexity \(numberText(kl.basePPL, 4))")
            lines.append("same top    \(percentText(kl.sameTop))")
        }
        return lines.joined(separator: "\n")
    }
}
