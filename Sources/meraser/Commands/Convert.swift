import ArgumentParser
import Audit
import Base
import Kernels
import Pipeline
import Quant
import Tune

struct Convert: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a Hugging Face folder or a GGUF file into an MQF file.",
        discussion: """
            --report says what quantizing did: to a mark (--key), to perplexity and to what the model predicts (--data).
            Example: meraser convert Examples/tinychat --out tinychat.mqf --type iq4_nl
            """)

    @Argument(
        help: "A folder with config.json, *.safetensors or *.bin, or a .gguf (of a split one the first part).",
        completion: .file())
    var source: String

    @Option(
        name: .shortAndLong, help: "The MQF file to make.", completion: .file(extensions: ["mqf"]))
    var out: String?

    @Option(
        help: """
            The type of the matrices (default: iq4_nl; of quantized models their own types, and q8_0 where MQF lacks one).
            """)
    var type: TensorType?

    @Option(help: "The type of the embedding (default: as --type, and q8_0 for a quantized --type).")
    var embedType: TensorType?

    @Option(help: "The type of the output head (default: as for the embedding).")
    var headType: TensorType?

    @Option(
        help: """
            Round so that outputs stay what they are on this text: rows with `text` in a .jsonl file, one plain text, or \
            self: what the model writes itself.
            """, completion: .file())
    var calibrate: String?

    @Option(help: "Tokens of --calibrate that are read at most (default: \(CalibrationText.standardTokenCount)).")
    var calibrationTokens: Int?

    @Option(
        help: """
            Bits a weight of all tensors: each matrix gets the type that costs the model least by measure, instead of one \
            --type. Calibrates with --calibrate (default: self).
            """)
    var bits: Double?

    @Flag(help: "Measure the source and what was made of it side by side, by --key, --data or both.")
    var report = false

    @Option(help: "The key that --report tries: key.json or pairs.jsonl.", completion: .file())
    var key: String?

    @Option(help: "The text of --report: rows with `text` in a .jsonl file, or one plain text.", completion: .file())
    var data: String?

    @Flag(help: "Check the source and print the plan, write nothing.")
    var dryRun = false

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if out == nil && !dryRun { throw ValidationError("missing --out (or --dry-run)") }
        if let out, out.hasSuffix(".gguf") {
            throw ValidationError(
                "--out \(out): convert writes MQF files, which every command runs; meraser export --format gguf writes a GGUF "
                    + "file of any model")
        }
        if report == (key == nil && data == nil) { throw ValidationError("--report goes with --key or --data") }
        if calibrate == nil, bits == nil, calibrationTokens != nil {
            throw ValidationError("--calibration-tokens goes with --calibrate or --bits")
        }
        if bits != nil, type != nil { throw ValidationError("--bits and --type exclude each other") }
        if report, dryRun { throw ValidationError("--report and --dry-run exclude each other") }
    }

    var outputs: [Output] { dryRun ? [] : out.map { [Output($0)] } ?? [] }

    func inputs() throws -> [String] {
        [source] + [key, data, calibrate == CalibrationText.ownWord ? nil : calibrate].compactMap { $0 }
    }

    private func calibration() throws -> CalibratedConversion? {
        try (calibrate ?? bits.map { _ in CalibrationText.ownWord }).map { text in
            try CalibratedConversion(
                text == CalibrationText.ownWord ? .own(seed: draw.value) : .file(text),
                tokenCount: calibrationTokens ?? CalibrationText.standardTokenCount, bits: bits)
        }
    }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let key = try key.map { try FingerprintKey(path: $0) }
        var options = ConvertOptions()
        options.type = type
        options.embedType = embedType
        options.headType = headType
        options.threads = try common.threadCount
        options.dryRun = dryRun
        options.overwrite = overwrite
        let bar = common.progressBar("converting", unit: .bytes)
        let clock = ContinuousClock()
        let start = clock.now
        let destination = out ?? "dry-run.mqf"
        let isInterrupted: @Sendable () -> Bool = { interrupt.isSet }
        let update: @Sendable (ConvertProgress) -> Void = { bar.update(done: $0.doneBytes, total: $0.totalBytes) }
        let conversion: ConvertReport
        var mix: TypeMix?
        if let calibration = try calibration() {
            let report = try Pipeline.convert(
                source: source, destination: destination, options: options, calibration: calibration,
                kernels: try KernelContext.fromEnvironment(threads: common.threads), isInterrupted: isInterrupted,
                progress: update)
            conversion = report.conversion
            mix = report.mix
        } else {
            conversion = try Quant.convert(
                source: source, destination: destination, options: options, isInterrupted: isInterrupted,
                progress: update)
        }
        bar.finish()
        conversion.warnings.forEach(common.warn)
        let seconds = (clock.now - start).inSeconds
        let summary = ConvertSummary(report: conversion, mix: mix, path: dryRun ? nil : out, seconds: seconds)
        let effect = report ? try measure(out ?? "", key) : nil
        if common.json {
            let members = effect.map { [(key: "report", value: $0.json)] } ?? []
            Console.json(.object(JSONObject(summary.json.fields + members)))
        } else {
            Console.output(summary.text + (effect.map { "\n" + tableText($0.table) } ?? ""))
        }
    }

    /// What quantizing did, by the key and the text.
    private func measure(_ path: String, _ key: FingerprintKey?) throws -> QuantizationReport {
        let quantized = try OpenedModel(path: path, kernels: try KernelContext.fromEnvironment(threads: common.threads))
        let bar = common.progressBar("report")
        defer { bar.finish() }
        return try QuantizationReport(of: quantized, source: source, key: key, data: data) {
            bar.update(done: $0, total: $1)
        }
    }
}

/// What `convert` prints.
private struct ConvertSummary {
    let report: ConvertReport
    let mix: TypeMix?
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
            "mix": mixJSON,
        ]
    }

    var text: String {
        let counts = types.map { "\($0.count) \($0.name)" }.joined(separator: ", ")
        let head = path.map { "wrote \($0.escapingControlCharacters())" } ?? "dry run, nothing written"
        return """
            \(head): \(byteText(report.byteCount)), \(numberText(bitsPerWeight, 2)) bits a weight
            \(report.tensors.count) tensors (\(counts)), \(report.parameterCount) parameters, from \
            \(byteText(report.sourceByteCount)) in \(numberText(seconds, 1)) s\(mixText)
            """
    }

    private var mixJSON: JSONValue {
        guard let mix else { return .null }
        return ["bits": .real(mix.bits), "expected_kl": .real(mix.expectedLoss)]
    }

    private var mixText: String {
        guard let mix else { return "" }
        let (bits, loss) = (numberText(mix.bits, 3), numberText(mix.expectedLoss, 4))
        return "\nmix: \(bits) bits a weight of the tensors, expected KL \(loss)"
    }
}
