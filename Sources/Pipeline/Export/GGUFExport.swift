import Base
import Kernels
import Merge
import Model
import Quant

extension FusedModel {
    /// Writes the model with its adapters as a GGUF file that llama.cpp runs, with tokenizer and chat template.
    ///
    /// - Parameters:
    ///   - destination: the file to make.
    ///   - options: types and so on.
    ///   - kernels: what computes the adapters' part.
    ///   - isInterrupted: asked between pieces; true ends the export with an `interrupted` error.
    ///   - progress: called between pieces, never by two threads at once.
    /// - Throws: what `exportGGUF` of Merge throws, and `badInput` for a tokenizer that GGUF cannot say.
    public func exportGGUF(
        destination: String, options: GGUFExportOptions, kernels: KernelContext,
        isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
    ) throws -> (report: ConvertReport, warnings: [String]) {
        let spec = try DecoderSpec(of: store)
        let keys = try GGUFVocabularyKeys(of: store, vocabularySize: spec.vocabSize)
        var metadata = keys.metadata
        metadata["general.name"] = .string(store.modelName)
        let report = try Merge.exportGGUF(
            store: store, adapters: adapters, keys: metadata, destination: destination, options: options,
            kernels: kernels, isInterrupted: isInterrupted, progress: progress)
        return (report, keys.warnings + report.warnings)
    }
}
