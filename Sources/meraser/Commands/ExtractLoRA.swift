import ArgumentParser
import Base
import Foundation
import Merge
import Tune

struct ExtractLoRA: WritingCommand {
    static let configuration = CommandConfiguration(
        commandName: "extract-lora",
        abstract: "Make a PEFT adapter of what a tuned model has that its base has not.",
        discussion: """
            Of each matrix of a layer the difference is cut to its largest singular values, as mergekit-extract-lora does; \
            what has no rank (embeddings, head, norms) is saved whole where it differs (modules_to_save). \
            docs/reference/merging.md says more.
            Example: meraser extract-lora --model tuned --base-model base --max-rank 16 --out adapter
            """)

    @Option(help: "The tuned model, a Hugging Face folder, MQF or GGUF file.", completion: .file())
    var model: String

    @Option(help: "What it was tuned from.", completion: .file())
    var baseModel: String

    @Option(
        name: [.customShort("o"), .customLong("out"), .customLong("out-path")], help: "The adapter's folder.",
        completion: .directory, transform: withoutTrailingSlashes)
    var out: String

    @Option(help: "The most singular values of a module.")
    var maxRank = 128

    @Option(help: "Leave out singular values up to this.")
    var svEpsilon = 0.0

    @Flag(
        inversion: .prefixedNo, help: "Put the square root of a singular value into A and into B, not all of it into A."
    )
    var distributeScale = true

    @Flag(
        inversion: .prefixedNo, help: "Make factors of embedding and head too, instead of saving them whole.")
    var embedLora = false

    @Option(
        name: .customLong("save-module"), parsing: .singleValue,
        help: "The end of the path of modules to save whole, such as q_proj; may be repeated.")
    var saveModules: [String] = []

    @Option(
        name: [.customShort("i"), .customLong("include-regex")], parsing: .singleValue,
        help: "Take only modules whose path has a match of this regular expression; may be repeated.")
    var includes: [String] = []

    @Option(
        name: [.customShort("e"), .customLong("exclude-regex")], parsing: .singleValue,
        help: "Leave out modules whose path has a match of this regular expression; may be repeated.")
    var excludes: [String] = []

    @Flag(help: "Leave out norms and the like, which have no rank, instead of saving them whole.")
    var skipUndecomposable = false

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        try requireCount("--max-rank", maxRank, 1...65_536)
        guard svEpsilon >= 0, svEpsilon.isFinite else {
            throw ValidationError("--sv-epsilon is \(svEpsilon), expected no negative number")
        }
    }

    var outputs: [Output] { [Output(out)] }

    func inputs() throws -> [String] { [model, baseModel] }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        var options = ExtractionOptions()
        (options.maxRank, options.svEpsilon, options.distributesScale) = (maxRank, svEpsilon, distributeScale)
        options.embedsLoRA = embedLora
        (options.saveModules, options.includes, options.excludes) = (saveModules, includes, excludes)
        (options.skipsUndecomposable, options.overwrite) = (skipUndecomposable, overwrite)
        options.threads = try common.threadCount
        let bar = common.progressBar("extracting")
        let report = try extractLoRA(
            model: model, base: baseModel, destination: out, options: options, isInterrupted: { interrupt.isSet },
            progress: { bar.update(done: $0, total: $1) })
        bar.finish()
        report.warnings.forEach(common.warn)
        if common.json {
            Console.json([
                "path": .text(out), "modules": .integer(report.moduleCount), "rank": .integer(report.rank),
                "modules_to_save": .array(report.saved.map { .text($0) }), "residual": .real(report.residual),
            ])
        } else {
            Console.output(
                "wrote \(out.escapingControlCharacters()): rank \(report.rank) of \(report.moduleCount) modules, "
                    + "\(report.saved.count) tensors whole; left out: \(numberText(100 * report.residual, 2)) % of the "
                    + "difference's norm")
        }
    }
}
