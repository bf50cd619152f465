import ArgumentParser
import Audit
import Base
import Kernels
import Pipeline
import Tune

struct LineageCommand: CommonCommand {
    static let configuration = CommandConfiguration(
        commandName: "lineage",
        abstract: "Say whether one model was made from another.",
        discussion: """
            Matches the channels of both models' MLPs layer by layer: tuning, merging, quantizing and pruning leave them where \
            they were, and of models that were trained apart no order is likelier than another. Two forms, each with a \
            p-value over all layers: plain, by the place of a channel; robust, which does not change if somebody has \
            permuted the channels. Needs no key, no data and nothing of how the models were made. Status 0 whatever \
            comes out, unless --fail-if is given.
            Example: meraser lineage mine.mqf theirs.gguf
            """)

    @Argument(help: "The model that may be the parent.", completion: .file())
    var first: String

    @Argument(help: "The model that may be made from it.", completion: .file())
    var second: String

    @Option(help: "An adapter of the second model, written into its weights; several are stacked.", completion: .file())
    var adapter: [String] = []

    @Flag(help: "Accept adapters of another base.")
    var transfer = false

    @Option(help: "Only these layers, from 0, as 4-29.")
    var layers: LayerRange?

    @Option(
        help: """
            End with status 4 if this holds: a condition on \(Lineage.metricNames.joined(separator: ", ")), or \
            'verdict=="related"'.
            """)
    var failIf: String?

    @OptionGroup var common: CommonOptions

    func run() throws {
        let condition = try failIf.map {
            try Condition($0, known: Lineage.metricNames, words: Lineage.conditionWords)
        }
        let bar = common.progressBar("matching")
        let found = try Lineage(
            first, second, adapters: adapter, transfer: transfer, layers: layers?.range,
            kernels: try KernelContext.fromEnvironment(threads: common.threads), interrupt: InterruptFlag.onSignals()
        ) { bar.update(done: $0, total: $1) }
        bar.finish()
        if common.json {
            Console.json(found.json)
        } else {
            Console.output(tableText(found.table) + "\n\n" + found.sentence)
        }
        if let condition, try condition.holds(found.metrics, words: ["verdict": found.verdict.rawValue]) {
            throw MeraserError(.checkFailed, "check failed: \(condition) holds")
        }
    }
}
