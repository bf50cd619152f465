import ArgumentParser
import Base
import Merge
import Model
import Pipeline
import Quant
import Tune

struct Export: WritingCommand {
    /// What to write.
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case hf, peft
    }

    static let configuration = CommandConfiguration(
        abstract:
            "Hand the result back: a Hugging Face folder with the adapters fused, or one PEFT adapter of them all.",
        discussion: """
            hf: the weights dequantized with the adapters added, tensor by tensor. peft: the stacked adapters as one of \
            concatenated rank, exact.
            Example: meraser export --model tinychat.mqf --adapter RUN/erase --adapter RUN/recover --format hf --out clean
            """)

    @OptionGroup var model: ModelOptions

    @Option(help: "hf or peft.")
    var format = Format.hf

    @Option(help: "The type of the weights in an hf folder (default: bf16).")
    var dtype: ExportType?

    @Option(help: "The folder to make.", completion: .directory, transform: withoutTrailingSlashes)
    var out: String

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if format == .peft && model.adapter.isEmpty {
            throw ValidationError("--format peft needs at least one --adapter")
        }
        if format == .peft && dtype != nil {
            throw ValidationError("--dtype is for --format hf: adapters stay as they are")
        }
    }

    var outputs: [Output] { [Output(out)] }

    func inputs() throws -> [String] { model.inputs }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        try AtomicFolder.checkDestination(out, overwrite: overwrite)
        let opened = try model.open(common, verifying: true)
        let summary: ExportSummary
        switch format {
        case .peft:
            let rank = try opened.exportPEFT(destination: out, overwrite: overwrite)
            summary = ExportSummary(
                path: out, format: format.rawValue, rank: rank, tensors: nil, bytes: nil, warnings: opened.warnings)
        case .hf:
            var options = HuggingFaceExportOptions()
            if let dtype { options.dtype = dtype }
            options.overwrite = overwrite
            let bar = common.progressBar("exporting")
            let report = try exportHuggingFace(
                store: opened.transformer.store, adapters: try model.adapter.map(PEFTAdapterFile.init(folder:)),
                destination: out, options: options, kernels: opened.transformer.kernels,
                isInterrupted: { interrupt.isSet },
                progress: { bar.update(done: $0.doneBytes, total: $0.totalBytes) })
            bar.finish()
            report.warnings.forEach(common.warn)
            summary = ExportSummary(
                path: out, format: format.rawValue, rank: nil, tensors: report.tensorCount, bytes: report.byteCount,
                warnings: opened.warnings + report.warnings)
        }
        if common.json { Console.json(summary.json) } else { Console.output(summary.text) }
    }
}

extension ExportType: ExpressibleByArgument {}

/// What `export` prints.
private struct ExportSummary {
    let path: String
    let format: String
    let rank: Int?
    let tensors: Int?
    let bytes: Int?
    let warnings: [String]

    var json: JSONValue {
        [
            "path": .text(path), "format": .text(format), "rank": rank.map { .integer($0) } ?? .null,
            "tensors": tensors.map { .integer($0) } ?? .null, "bytes": bytes.map { .integer($0) } ?? .null,
            "warnings": .array(warnings.map { .text($0) }),
        ]
    }

    var text: String {
        let size = rank.map { "one adapter of rank \($0)" } ?? "\(tensors ?? 0) tensors, \(byteText(bytes ?? 0))"
        return "wrote \(path.escapingControlCharacters()): \(size)"
    }
}
