import ArgumentParser
import Base
import Quant
import Tune

struct Convert: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a Hugging Face folder or a GGUF file into an MQF file.",
        discussion: "Example: meraser convert Examples/tinychat --out tinychat.mqf --type iq4_nl")

    @Argument(
        help: "A folder with config.json, *.safetensors or *.bin, or a .gguf (of a split one the first part).",
        completion: .file())
    var source: String

    @Option(help: "The MQF file to make.", completion: .file(extensions: ["mqf"]))
    var out: String?

    @Option(
        help: "The type of the matrices (default: iq4_nl; of a GGUF file its own types, and q8_0 where MQF lacks one).")
    var type: TensorType?

    @Option(help: "The type of the embedding (default: as --type, and q8_0 for a quantized --type).")
    var embedType: TensorType?

    @Option(help: "The type of the output head (default: as for the embedding).")
    var headType: TensorType?

    @Flag(help: "Check the source and print the plan, write nothing.")
    var dryRun = false

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if out == nil && !dryRun { throw ValidationError("missing --out (or --dry-run)") }
    }

    var outputs: [Output] { dryRun ? [] : out.map { [Output($0)] } ?? [] }

    func inputs() throws -> [String] { [source] }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        var options = ConvertOptions()
        options.type = type
        options.embedType = embedType
        options.headType = headType
        options.threads = try common.threadCount
        options.dryRun = dryRun
        options.overwrite = overwrite
        let bar = common.progressBar("converting")
        let clock = ContinuousClock()
        let start = clock.now
        let report = try Quant.convert(
            source: source, destination: out ?? "dry-run.mqf", options: options,
            isInterrupted: { interrupt.isSet }
        ) { progress in
            bar.update(done: progress.doneBytes, total: progress.totalBytes)
        }
        bar.finish()
        report.warnings.forEach(common.warn)
        let summary = ConvertSummary(report: report, path: dryRun ? nil : out, seconds: (clock.now - start).inSeconds)
        if common.json { Console.json(summary.json) } else { Console.output(summary.text) }
    }
}

/// What `convert` prints.
private struct ConvertSummary {
    let report: ConvertReport
    let path: String?
    let seconds: Double

    private var bitsPerWeight: Double { Double(report.byteCount) * 8 / Double(max(report.parameterCount, 1)) }

    private var types: [(name: String, count: Int)] {
        let counts = report.tensors.reduce(into: [:]) { $0[$1.type.name, default: 0] += 1 }
        return counts.sorted { $0.key < $1.key }.map { (name: $0.key, count: $0.value) }
    }

    var json: JSONValue {
        [
            "path": path.map { .text($0) } ?? .null, "tensors": .integer(report.tensors.count),
            "parameters": .integer(report.parameterCount), "bytes": .integer(report.byteCount),
            "bits_per_weight": .real(bitsPerWeight), "source_bytes": .integer(report.sourceByteCount),
            "types": .object(JSONObject(types.map { (key: $0.name, value: .integer($0.count)) })),
            "warnings": .array(report.warnings.map { .text($0) }), "seconds": .real(seconds),
        ]
    }

    var text: String {
        let counts = types.map { "\($0.count) \($0.name)" }.joined(separator: ", ")
        let head = path.map { "wrote \($0.escapingControlCharacters())" } ?? "dry run, nothing written"
        return """
            \(head): \(byteText(report.byteCount)), \(numberText(bitsPerWeight, 2)) bits a weight
            \(report.tensors.count) tensors (\(counts)), \(report.parameterCount) parameters, from \
            \(byteText(report.sourceByteCount)) in \(numberText(seconds, 1)) s
            """
    }
}
