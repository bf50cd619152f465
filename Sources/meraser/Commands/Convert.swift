import ArgumentParser
import Quant

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a Hugging Face folder into an MQF file.",
        discussion: "Example: meraser convert Examples/tinychat --out tinychat.mqf --type iq4_nl")

    @Argument(help: "A folder with config.json, *.safetensors and tokenizer files.", completion: .directory)
    var source: String

    @Option(help: "The MQF file to make.", completion: .file(extensions: ["mqf"]))
    var out: String?

    @Option(help: "The type of the matrices.")
    var type = TensorType.iq4_nl

    @Option(help: "The type of the embedding (default: q8_0 for a quantized --type, else --type).")
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

    func run() throws {
        Signals.watchInterruption()
        var options = ConvertOptions()
        options.type = type
        options.embedType = embedType
        options.headType = headType
        options.threads = common.threadCount
        options.dryRun = dryRun
        options.overwrite = overwrite
        let bar = common.progressBar("converting")
        let clock = ContinuousClock()
        let start = clock.now
        let report = try Quant.convert(
            source: source, destination: out ?? "dry-run.mqf", options: options,
            isInterrupted: { Signals.isInterrupted }
        ) { progress in
            if progress.phase == .converting { bar.update(done: progress.doneBytes, total: progress.totalBytes) }
        }
        bar.finish()
        report.warnings.forEach(common.warn)
        let summary = ConvertSummary(report, path: dryRun ? nil : out, seconds: (clock.now - start).inSeconds)
        if common.json { try Console.json(summary) } else { Console.output(summary.text) }
    }
}

/// What `convert` prints.
private struct ConvertSummary: Encodable {
    let path: String?
    let tensors: Int
    let parameters: Int
    let bytes: Int
    let bitsPerWeight: Double
    let sourceBytes: Int
    let types: [String: Int]
    let warnings: [String]
    let seconds: Double

    enum CodingKeys: String, CodingKey {
        case path, tensors, parameters, bytes, types, warnings, seconds
        case bitsPerWeight = "bits_per_weight"
        case sourceBytes = "source_bytes"
    }

    init(_ report: ConvertReport, path: String?, seconds: Double) {
        self.path = path
        tensors = report.tensors.count
        parameters = report.parameterCount
        bytes = report.byteCount
        bitsPerWeight = Double(report.byteCount) * 8 / Double(max(report.parameterCount, 1))
        sourceBytes = report.sourceByteCount
        types = report.tensors.reduce(into: [:]) { $0[$1.type.name, default: 0] += 1 }
        warnings = report.warnings
        self.seconds = seconds
    }

    var text: String {
        let counts = types.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        let head = path.map { "wrote \($0.escapingControlCharacters())" } ?? "dry run, nothing written"
        return """
            \(head): \(byteText(bytes)), \(numberText(bitsPerWeight, 2)) bits a weight
            \(tensors) tensors (\(counts)), \(parameters) parameters, from \(byteText(sourceBytes)) in \
            \(numberText(seconds, 1)) s
            """
    }
}
