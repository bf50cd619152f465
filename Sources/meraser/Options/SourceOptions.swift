import ArgumentParser
import Audit
import Base
import Kernels
import Model
import Pipeline
import Quant

/// What a quantized model was made from, to be measured beside it.
struct SourceOptions: ParsableArguments {
    @Option(
        help: """
            What a quantized model was converted from, a Hugging Face folder or a GGUF file, to be measured beside it, with \
            the same adapters (default: what its file records, where that lies beside it; none: no).
            """, completion: .file())
    var source: String?

    /// The source, where it is at hand; says on standard error what it is.
    func open(for quantized: OpenedModel, compute: Compute?, _ common: CommonOptions) throws -> SourceModel? {
        guard let source = try SourceModel(of: quantized, SourceModel.Choice(source), compute: compute) else {
            return nil
        }
        source.model.transformer.store.warnings.forEach(common.warn)
        switch source.identity {
        case .recorded: common.say("source: \(source.name)")
        case .other:
            common.warn("source: \(source.name) is not what the model was converted from: another SHA-256 is recorded")
        case .unknown: common.say("source: \(source.name); the model does not record what it was converted from")
        }
        return source
    }

    /// What the source shows of a key and a text; nil where there is no source.
    ///
    /// - Throws: a usage error for a text without a source.
    func report(
        on quantized: OpenedModel, key: FingerprintKey?, options: CheckOptions = CheckOptions(), data: String?,
        compute: Compute?, _ common: CommonOptions
    ) throws -> SourceReport? {
        guard let source = try open(for: quantized, compute: compute, common) else {
            if data != nil {
                throw MeraserError.usage("--data needs --source: what the model was converted from is not beside it")
            }
            return nil
        }
        let bar = common.progressBar("source")
        defer { bar.finish() }
        return try source.report(key: key, options: options, data: data, quantized: quantized) {
            bar.update(done: $0, total: $1)
        }
    }
}
