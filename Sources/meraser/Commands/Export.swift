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
        case hf, gguf, ollama, peft
        case ggufLoRA = "gguf-lora"

        /// Adapters alone, without the model.
        var isAdapter: Bool { self == .peft || self == .ggufLoRA }
        /// One file, with its model card beside it; else a folder.
        var isFile: Bool { self == .gguf || self == .ggufLoRA }
    }

    static let configuration = CommandConfiguration(
        abstract: "Hand the result back: to Transformers, PEFT, llama.cpp or Ollama, with a model card.",
        discussion: """
            hf: a Hugging Face folder, the weights with the adapters in them; adapters may be DoRA or hold whole tensors \
            (modules_to_save). gguf: the same as one file for llama.cpp, with tokenizer and chat template. ollama: that file \
            with a Modelfile. peft: the stacked adapters as one PEFT folder of concatenated rank, exact. gguf-lora: the same \
            as llama.cpp's adapter file, for --lora.
            Sums are made in fp32 and rounded once. Of a quantized model hf holds dequantized weights; --base puts the \
            adapters on the original ones. Beside a file lies its card, NAME.README.md; a folder holds README.md.
            What was checked before need not hold for what is written: adapters that were trained on a quantized model meet \
            other weights on the original ones, and weights are rounded. --key tries a mark on the folder or file itself, \
            --requantize-report sets it beside the model with its adapters.
            Example: meraser export --model tinychat.mqf --adapter RUN/erase --adapter RUN/recover --format hf --out clean
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "hf, gguf, ollama, peft or gguf-lora.")
    var format = Format.hf

    @Option(
        help: ArgumentHelp(
            """
            The type of the weights: of a folder f32, f16 or bf16 (default: bf16), of a GGUF file also q8_0, q4_0, iq4_nl, \
            q4_1, q4_k, q5_k, q6_k (default: what they are in the model).
            """, valueName: "type"))
    var dtype: TensorType?

    @Option(
        help: """
            What the model was converted from, a folder or GGUF file: the adapters go onto its weights. With --format peft, \
            what the adapter names as its base.
            """, completion: .file())
    var base: String?

    @Option(
        name: .shortAndLong, help: "The folder or file to make.", completion: .file(), transform: withoutTrailingSlashes
    )
    var out: String

    @Option(
        help: "A key to try on the whole model that was written, as check does: key.json or pairs.jsonl.",
        completion: .file())
    var key: String?

    @Option(
        help: """
            Measure what was written beside the model with its adapters, by --key, --data or both, and write that as JSON \
            to this file.
            """, completion: .file())
    var requantizeReport: String?

    @Option(
        help: "The text of --requantize-report: rows with `text` in a .jsonl file, or one plain text.",
        completion: .file())
    var data: String?

    @Option(help: "The folder of a run whose figures go into the model card.", completion: .directory)
    var report: String?

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        let name = "--format \(format.rawValue)"
        if format.isAdapter {
            if model.adapter.isEmpty { throw ValidationError("\(name) needs at least one --adapter") }
            for (flag, isGiven) in [
                ("--dtype", dtype != nil), ("--key", key != nil), ("--requantize-report", requantizeReport != nil),
            ] where isGiven {
                throw ValidationError("\(flag) is for whole models, \(name) writes adapters alone")
            }
            if base != nil, format == .ggufLoRA { throw ValidationError("--base is not used by \(name)") }
        } else if base != nil, model.adapter.isEmpty {
            throw ValidationError("--base needs at least one --adapter: there is nothing to put on its weights")
        }
        if let dtype, format == .hf, ExportType(rawValue: dtype.name) == nil {
            throw ValidationError("--dtype \(dtype.name) is for GGUF files; a folder has f32, f16 or bf16")
        }
        if dtype == .nf4 { throw ValidationError("GGUF has no nf4; iq4_nl is the nearest to it") }
        if requantizeReport != nil, key == nil, data == nil {
            throw ValidationError("--requantize-report goes with --key or --data")
        }
        if data != nil, requantizeReport == nil { throw ValidationError("--data goes with --requantize-report") }
    }

    /// The model card of a file.
    private var cardPath: String { (out.hasSuffix(".gguf") ? String(out.dropLast(5)) : out) + ".README.md" }

    var outputs: [Output] {
        [Output(out)] + (format.isFile ? [Output(cardPath)] : []) + (requantizeReport.map { [Output($0)] } ?? [])
    }

    func inputs() throws -> [String] {
        let base = format.isAdapter ? nil : base
        return model.inputs + [key, base, data, report].compactMap { $0 }
    }

    func run() throws {
        if format.isFile {
            for path in [out, cardPath] { try AtomicFile.checkDestination(path, overwrite: overwrite) }
        } else {
            try AtomicFolder.checkDestination(out, overwrite: overwrite)
        }
        try requantizeReport.map { try AtomicFile.checkDestination($0, overwrite: overwrite) }
        let key = try key.map(FingerprintKey.init(path:))
        let run = try report.map(RunReport.init(folder:))
        var summary = try format.isAdapter ? writeAdapters(run) : writeModel(run)
        let kernels = try KernelContext.fromEnvironment(threads: common.threads)
        if let key, requantizeReport == nil { summary.check = try verify(key, kernels: kernels) }
        if let requantizeReport {
            let effect = try measure(key)
            try writeFileAtomically(
                path: requantizeReport, Array((effect.json.serialized(indent: 2) + "\n").utf8), overwrite: overwrite)
            summary.requantized = effect
        }
        if common.json { Console.json(summary.json) } else { Console.output(summary.text) }
    }
}

extension Export {
    /// Writes the adapters as one.
    private func writeAdapters(_ run: RunReport?) throws -> ExportSummary {
        let opened = try model.open(common, verifying: true)
        let spec = opened.transformer.spec
        let adapters = try model.adapter.map { try AdapterFile(path: $0, for: spec) }
        let store = opened.transformer.store
        let card = card(.peft, base ?? store.modelName, adapters, weights: nil, run)
        let rank: Int
        if format == .peft {
            rank = try opened.exportPEFT(
                destination: out, base: base, documents: [card], overwrite: overwrite)
        } else {
            rank = try opened.exportGGUFLoRA(destination: out, overwrite: overwrite)
            try writeFileAtomically(path: cardPath, Array(card.text.utf8), overwrite: overwrite)
        }
        return ExportSummary(
            path: out, format: format.rawValue, rank: rank, tensors: nil, bytes: nil, warnings: opened.warnings)
    }

    /// Writes the whole model.
    private func writeModel(_ run: RunReport?) throws -> ExportSummary {
        let interrupt = InterruptFlag.onSignals()
        let kernels = try KernelContext.fromEnvironment(threads: common.threads)
        let opened = try FusedModel(
            path: model.model, adapterPaths: model.adapter, transfer: model.on.transfer, base: base)
        opened.warnings.forEach(common.warn)
        let types = try StoredTypes(opened.store)
        let target = dtype?.name ?? (format == .hf ? ExportType.bf16.rawValue : "the types that they have there")
        let weights =
            (types.isQuantized ? "weights of the quantized model (\(types.main.name))" : "the original weights")
            + (opened.adapters.isEmpty ? "" : " with the adapters added in fp32") + ", rounded once to \(target)"
        let name = base.map { fileName(ofPath: $0) } ?? opened.store.modelName
        let kind: ModelCard.Kind = format == .hf ? .hf : format == .gguf ? .gguf : .ollama
        let card = card(kind, name, opened.adapters, weights: weights, run)
        let bar = common.progressBar("exporting", unit: .bytes)
        let progress: @Sendable (ConvertProgress) -> Void = { bar.update(done: $0.doneBytes, total: $0.totalBytes) }
        let isInterrupted: @Sendable () -> Bool = { interrupt.isSet }
        let written: (tensors: Int, bytes: Int, warnings: [String])
        if format == .hf {
            var options = HuggingFaceExportOptions()
            if let type = dtype.flatMap({ ExportType(rawValue: $0.name) }) { options.dtype = type }
            (options.documents, options.overwrite) = ([card], overwrite)
            let report = try exportHuggingFace(
                store: opened.store, adapters: opened.adapters, destination: out, options: options, kernels: kernels,
                isInterrupted: isInterrupted, progress: progress)
            written = (report.tensorCount, report.byteCount, report.warnings + dequantized(types))
        } else {
            var options = GGUFExportOptions()
            (options.dtype, options.overwrite) = (dtype, overwrite)
            let (report, warnings) =
                try format == .gguf
                ? opened.exportGGUF(
                    destination: out, options: options, kernels: kernels, isInterrupted: isInterrupted,
                    progress: progress)
                : opened.exportOllama(
                    destination: out, options: options, documents: [card], kernels: kernels,
                    isInterrupted: isInterrupted, progress: progress)
            if format == .gguf { try writeFileAtomically(path: cardPath, Array(card.text.utf8), overwrite: overwrite) }
            written = (report.tensors.count, report.byteCount, warnings + rounded(types, opened.adapters))
        }
        bar.finish()
        written.warnings.forEach(common.warn)
        return ExportSummary(
            path: out, format: format.rawValue, rank: nil, tensors: written.tensors, bytes: written.bytes,
            warnings: opened.warnings + written.warnings)
    }

    /// What a folder of a quantized model is.
    private func dequantized(_ types: StoredTypes) -> [String] {
        types.isQuantized
            ? ["the folder holds dequantized weights (\(types.main.name)); --base puts adapters on the original ones"]
            : []
    }

    /// What becomes of adapters in a file of few bits, unless it is measured.
    private func rounded(_ types: StoredTypes, _ adapters: [AdapterFile]) -> [String] {
        let type = dtype ?? types.main
        guard !adapters.isEmpty, key == nil, requantizeReport == nil, type.isTiled, type != .q8_0 else { return [] }
        return [
            "rounding to \(type.name) can take most of an adapter's effect away: --key tries the mark on what was written, "
                + "--dtype q8_0 keeps more"
        ]
    }

    private func card(
        _ kind: ModelCard.Kind, _ name: String, _ adapters: [AdapterFile], weights: String?, _ run: RunReport?
    ) -> Document {
        var card = ModelCard(
            kind, baseModel: name, folder: base ?? model.model, adapters: adapters, weights: weights,
            command: ["meraser"] + CommandLine.arguments.dropFirst())
        if let run { card.add(run) }
        return card.document
    }

    /// The model that was written.
    private var writtenModel: String { format == .ollama ? out + "/model.gguf" : out }

    /// The answers of what was written to a key: opened from its files, in f32 unless another precision is asked for.
    private func verify(_ key: FingerprintKey, kernels: KernelContext) throws -> KeyVerification {
        let written = try OpenedModel(
            path: writtenModel, kernels: kernels, compute: model.compute == .bf16 ? .bf16 : .f32)
        var result = KeyVerification(try written.check(key, options: CheckOptions()))
        result.report.model = fileName(ofPath: out)
        result.types = try written.types
        result.compute = written.transformer.compute
        return result
    }

    /// What was written beside the model with its adapters.
    private func measure(_ key: FingerprintKey?) throws -> QuantizationReport {
        let unfused = try model.open(common)
        let written = try OpenedModel(
            path: writtenModel, kernels: unfused.transformer.kernels, compute: unfused.transformer.compute)
        let bar = common.progressBar("report")
        defer { bar.finish() }
        return try QuantizationReport(of: written, unfused: unfused, key: key, data: data) {
            bar.update(done: $0, total: $1)
        }
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
    /// What rounding the sums anew did.
    var requantized: QuantizationReport?

    var json: JSONValue {
        [
            "path": .text(path), "format": .text(format), "rank": rank.map { .integer($0) } ?? .null,
            "tensors": tensors.map { .integer($0) } ?? .null, "bytes": bytes.map { .integer($0) } ?? .null,
            "warnings": .array(warnings.map { .text($0) }), "check": check?.json ?? .null,
            "requantized": requantized?.json ?? .null,
        ]
    }

    var text: String {
        let size = rank.map { "one adapter of rank \($0)" } ?? "\(tensors ?? 0) tensors, \(byteText(bytes ?? 0))"
        let tables = [check?.table, requantized?.table].compactMap { $0 }.map { "\n\n" + tableText($0) }
        return "wrote \(path.escapingControlCharacters()): \(size)\(tables.joined())"
    }
}
