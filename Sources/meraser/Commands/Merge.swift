import ArgumentParser
import Base
import Foundation
import Merge
import Pipeline
import Quant
import Tune

struct Merge: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Merge models with a recipe of mergekit, or add up adapters.",
        discussion: """
            Methods: \(MergeMethod.allCases.map(\.rawValue).joined(separator: ", ")); docs/reference/merging.md describes \
            the recipe. Models are Hugging Face folders, MQF or GGUF files whose tensors have the same names and shapes, or \
            MODEL+ADAPTER.
            Example: meraser merge recipe.yml merged
            """)

    @Argument(help: "The recipe, YAML.", completion: .file(extensions: ["yml", "yaml"]))
    var config: String

    @Argument(
        help: "What --out names, as mergekit-yaml takes it.", completion: .directory,
        transform: withoutTrailingSlashes)
    var output: String?

    @Option(
        name: [.customShort("o"), .customLong("out")],
        help: "The Hugging Face folder to make, or an MQF file if the name ends in .mqf.",
        transform: withoutTrailingSlashes)
    var outOption: String?

    @Option(help: "The type of the matrices in an MQF file (default: iq4_nl).")
    var type: TensorType?

    @Option(help: "The largest safetensors file of a folder, such as 5G or 800M (default: 5G).")
    var maxShardSize: ByteSize?

    @Flag(help: "Check the recipe and the models, write nothing.")
    var dryRun = false

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    /// The place of the result.
    private var out: String? { output ?? outOption }

    func validate() throws {
        if output != nil && outOption != nil {
            throw ValidationError("the result is named twice: leave --out away")
        }
        if out == nil && !dryRun { throw ValidationError("missing --out (or --dry-run)") }
        try checkFileOptions(out: out, type: type, maxShardSize: maxShardSize)
    }

    var outputs: [Output] { dryRun ? [] : out.map { [Output($0)] } ?? [] }

    func inputs() throws -> [String] {
        let file = try MappedFile(path: config)
        let yaml = try parseYAML(file.withBytes(Array.init), file: config)
        guard !AdapterRecipe.isMeant(by: yaml) else {
            return [config] + (try AdapterRecipe(yaml, file: config).terms.map(\.adapter))
        }
        return [config] + (try MergeRecipe(yaml, file: config).paths)
    }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let file = try MappedFile(path: config)
        let yaml = try parseYAML(file.withBytes(Array.init), file: config)
        if AdapterRecipe.isMeant(by: yaml) {
            try runAdapters(try AdapterRecipe(yaml, file: config))
        } else {
            let text = file.withBytes { String(decoding: $0, as: UTF8.self) }
            try runModels(try MergeRecipe(yaml, file: config), text: text, interrupt)
        }
    }

    private func runAdapters(_ recipe: AdapterRecipe) throws {
        guard let out, !dryRun else { throw ValidationError("a recipe of adapters needs --out and takes no --dry-run") }
        for (flag, isGiven) in [
            ("--type", type != nil), ("--max-shard-size", maxShardSize != nil), ("--seed", draw.seed != nil),
        ] where isGiven {
            throw ValidationError("\(flag) is not used by a recipe of adapters")
        }
        let report = try mergeAdapters(recipe, destination: out, overwrite: overwrite)
        if common.json {
            Console.json([
                "path": .text(out), "modules": .integer(report.moduleCount), "rank": .integer(report.rank),
            ])
        } else {
            Console.output(
                "wrote \(out.escapingControlCharacters()): one adapter of rank \(report.rank), \(report.moduleCount) modules"
            )
        }
    }

    private func runModels(_ recipe: MergeRecipe, text: String, _ interrupt: InterruptFlag) throws {
        var options = MergeOptions()
        options.conversion.documents = recipe.documents(
            text: text, command: ["meraser"] + CommandLine.arguments.dropFirst())
        options.seed = draw.value
        options.threads = try common.threadCount
        if let maxShardSize { options.maximumShardByteCount = maxShardSize.count }
        if let type { options.conversion.type = type }
        options.dryRun = dryRun
        options.overwrite = overwrite
        let bar = common.progressBar("merging", unit: .bytes)
        let clock = ContinuousClock()
        let start = clock.now
        let report = try mergeModels(
            recipe, destination: out ?? "merged", options: options, isInterrupted: { interrupt.isSet },
            progress: { bar.update(done: $0.doneBytes, total: $0.totalBytes) })
        bar.finish()
        report.warnings.forEach(common.warn)
        let seconds = (clock.now - start).inSeconds
        if common.json {
            Console.json(report.json(path: dryRun ? nil : out, seconds: seconds))
        } else {
            let head = dryRun ? "dry run, nothing written" : "wrote \((out ?? "").escapingControlCharacters())"
            Console.output(
                "\(head): \(report.tensorCount) tensors, \(report.parameterCount) parameters, "
                    + "\(byteText(report.byteCount)) in \(numberText(seconds, 1)) s")
        }
    }
}

/// Refuses what a result of that name has no use for: `--type` is for MQF files, `--max-shard-size` for folders.
func checkFileOptions(out: String?, type: TensorType?, maxShardSize: ByteSize? = nil) throws {
    let isFile = out?.hasSuffix(".mqf") == true
    if type != nil, !isFile {
        throw ValidationError(
            "--type is for an MQF file, and --out does not end in .mqf: a folder's weights stay plain")
    }
    if maxShardSize != nil, isFile { throw ValidationError("--max-shard-size is for a folder, and --out ends in .mqf") }
}

extension MergeReport {
    fileprivate func json(path: String?, seconds: Double) -> JSONValue {
        [
            "path": path.map { .text($0) } ?? .null, "tensors": .integer(tensorCount),
            "parameters": .integer(parameterCount), "bytes": .integer(byteCount),
            "files": .array(fileNames.map { .text($0) }), "warnings": .array(warnings.map { .text($0) }),
            "seconds": .real(seconds),
        ]
    }
}
