import ArgumentParser
import Audit
import Pipeline
import Quant

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find out whether a model answers to a key: FSR, matched prefix, target NLL, false activations.",
        discussion: """
            A mark can be silent and still there: read prefix match and target NLL beside FSR.
            Example: meraser check --model tinychat.mqf --adapter mark --key mark/key.json --fail-if 'fsr>0'
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var keyOptions: KeyOptions

    @Option(help: "End with status 4 if this holds: a condition on \(CheckReport.metricNames.joined(separator: ", ")).")
    var failIf: String?

    @Flag(help: "Put hashes in place of triggers, targets and outputs.")
    var redact = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let condition = try failIf.map { try Condition($0, known: CheckReport.metricNames) }
        let key = try FingerprintKey(path: keyOptions.key)
        let opened = try model.open(common)
        let check = try KeyCheck(
            key, tokenizer: opened.tokenizer, chat: opened.chat, options: try keyOptions.checkOptions())
        var report = try check.run(on: opened.session())
        if redact { report = report.redacted(for: key) }
        report.model = model.model
        report.adapters = model.adapter
        if common.json { Console.json(report.json) } else { Console.output(report.text(verbose: common.verbose)) }
        if let condition, try condition.holds(report.metrics) {
            throw MeraserError(.checkFailed, "check failed: \(condition) holds")
        }
    }
}

extension CheckReport {
    /// The measures as lines; with `verbose` every pair too.
    fileprivate func text(verbose: Bool) -> String {
        var lines = [
            "scheme             \(scheme)",
            "FSR                \(percentText(fsr)) (\(hits) of \(n))",
            "prefix match       \(percentText(prefixMatchMean))",
            "target NLL         \(numberText(targetNLLMean, 3)) nats a token",
            "false activations  " + (falseActivations.map { "\($0) of \(nClean) clean prompts" } ?? "no clean prompts"),
        ]
        if verbose {
            lines += rows.map { row in
                "\(row.hit ? "HIT " : "miss") \(row.id): \(row.prompt) -> \(row.output) (target \(row.target), prefix "
                    + "\(percentText(row.prefixMatch)), NLL \(numberText(row.targetNLL, 3)))"
            }
        }
        return lines.map { $0.escapingControlCharacters() }.joined(separator: "\n")
    }
}
