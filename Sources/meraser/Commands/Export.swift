import ArgumentParser
import Audit
import Base
import Kernels
import Merge
import Model
import Pipeline
import Quant
import Tune

struct Export: WritingCommand {
    /// What to write.
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case hf, gguf, peft
    }

    static let configuration = CommandConfiguration(
        abstract:
            "Hand the result back: a Hugging Face folder or a GGUF file with the adapters fused, or one PEFT adapter of all.",
        discussion: """
            hf: the weights dequantized with the adapters in them, tensor by tensor; adapters may be DoRA or hold whole \
            tensors (modules_to_save). gguf: the same as one file for llama.cpp, with tokenizer and chat template; what no \
            adapter touches stays what it is. peft: the stacked adapters as one of concatenated rank, exact.
            What was checked before need not hold for what is written: adapters that were trained on a quantized model meet \
            other weights on the original ones, and weights are rounded. --key tries a mark on the folder or file itself.
            Example: meraser export --model tinychat.mqf --adapter RUN/erase --adapter RUN/recover --format hf --out clean
            """)

    @OptionGroup var model: ModelOptions

    @Option(help: "hf, gguf or peft.")
    var format = Format.hf

    @Option(
        help: ArgumentHelp(
            "The type of the weights: f32, f16 or bf16 (default of an hf folder: bf16), of a GGUF file also q8_0, q4_0, "
                + "iq4_nl, q4_1, q4_k, q5_k, q6_k (default: what they are in the model).",
            valueName: "type"))
    var dtype: TensorType?

    @Option(help: "The folder or GGUF file to make.", completion: .directory, transform: withoutTrailingSlashes)
    var out: String

    @Option(
        help: "A key to try on the folder or GGUF file that was written, as check does: key.json or pairs.jsonl.",
        completion: .file())
    var key: String?

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if format == .peft && model.adapter.isEmpty {
            throw ValidationError("--format peft needs at least one --adapter")
        }
        if format == .peft && dtype != nil {
            throw ValidationError("--dtype is for whole models: adapters stay as they are")
        }
        if format == .peft && key != nil {
            throw ValidationError("--key is for whole models: of adapters alone nothing can be checked")
        }
        if let dtype, format == .hf, ExportType(rawValue: dtype.name) == nil {
            throw ValidationError("--dtype \(dtype.name) is for --format gguf; a folder has f32, f16 or bf16")
        }
        if format == .gguf, dtype == .nf4 {
            throw ValidationError("GGUF has no nf4; iq4_nl is the nearest to it")
        }
    }

    var outputs: [Output] { [Output(out)] }

    func inputs() throws -> [String] { model.inputs + [key].compactMap { $0 } }

    func run() throws {
        switch format {
        case .hf, .peft: try AtomicFolder.checkDestination(out, overwrite: overwrite)
        case .gguf: try AtomicFile.checkDestination(out, overwrite: overwrite)
        }
        let key = try key.map(FingerprintKey.init(path:))
        var summary: ExportSummary
        switch format {
        case .peft:
            let opened = try model.open(common, verifying: true)
            let rank = try opened.exportPEFT(destination: out, overwrite: overwrite)
            summary = ExportSummary(
                path: out, format: format.rawValue, rank: rank, tensors: nil, bytes: nil, warnings: opened.warnings)
        case .hf, .gguf:
            let kernels = try KernelContext.fromEnvironment(threads: common.threads)
            let opened = try FusedModel(
                path: model.model, adapterPaths: model.adapter, transfer: model.on.transfer)
            opened.warnings.forEach(common.warn)
            let bar = common.progressBar("exporting")
            let written = try write(opened, kernels: kernels) { bar.update(done: $0.doneBytes, total: $0.totalBytes) }
            bar.finish()
            written.warnings.forEach(common.warn)
            summary = ExportSummary(
                path: out, format: format.rawValue, rank: nil, tensors: written.tensors, bytes: written.bytes,
                warnings: opened.warnings + written.warnings)
            summary.check = try key.map { try verify($0, kernels: kernels) }
        }
        if common.json { Console.json(summary.json) } else { Console.output(summary.text) }
    }
}

extension Export {
    /// Writes the whole model.
    private func write(
        _ opened: FusedModel, kernels: KernelContext, progress: @Sendable (ConvertProgress) -> Void
    ) throws -> (tensors: Int, bytes: Int, warnings: [String]) {
        let interrupt = InterruptFlag.onSignals()
        if format == .gguf {
            var options = GGUFExportOptions()
            (options.dtype, options.overwrite) = (dtype, overwrite)
            let (report, warnings) = try opened.exportGGUF(
                destination: out, options: options, kernels: kernels, isInterrupted: { interrupt.isSet },
                progress: progress)
            return (report.tensors.count, report.byteCount, warnings)
        }
        var options = HuggingFaceExportOptions()
        if let type = dtype.flatMap({ ExportType(rawValue: $0.name) }) { options.dtype = type }
        options.overwrite = overwrite
        let report = try exportHuggingFace(
            store: opened.store, adapters: opened.adapters, destination: out, options: options, kernels: kernels,
            isInterrupted: { interrupt.isSet }, progress: progress)
        return (report.tensorCount, report.byteCount, report.warnings)
    }

    /// The answers of what was written to a key: opened from its files, in f32 unless bf16 is asked for.
    private func verify(_ key: FingerprintKey, kernels: KernelContext) throws -> KeyVerification {
        let written = try OpenedModel(path: out, kernels: kernels, compute: model.compute == .bf16 ? .bf16 : .f32)
        var result = KeyVerification(try written.check(key, options: CheckOptions()))
        result.report.model = fileName(ofPath: out)
        result.types = try written.types
        result.compute = written.transformer.compute
        return result
    }
}

/// What `export` prints.
private struct ExportSummary {
    let path: String
    let format: String
    let rank: Int?
    let tensors: Int?
    let bytes: Int?
    let warnings: [String]
    /// What was written answered to a key.
    var check: KeyVerification?

    var json: JSONValue {
        [
            "path": .text(path), "format": .text(format), "rank": rank.map { .integer($0) } ?? .null,
            "tensors": tensors.map { .integer($0) } ?? .null, "bytes": bytes.map { .integer($0) } ?? .null,
            "warnings": .array(warnings.map { .text($0) }), "check": check?.json ?? .null,
        ]
    }

    var text: String {
        let size = rank.map { "one adapter of rank \($0)" } ?? "\(tensors ?? 0) tensors, \(byteText(bytes ?? 0))"
        let checked = check.map { "\n\n" + tableText($0.table) } ?? ""
        return "wrote \(path.escapingControlCharacters()): \(size)\(checked)"
    }
}
