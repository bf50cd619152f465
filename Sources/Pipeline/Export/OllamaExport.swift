import Base
import Kernels
import Merge
import Model
import Quant

extension FusedModel {
    /// Writes a folder from which `ollama create NAME -f Modelfile` makes a model: the model with its adapters as
    /// `model.gguf`, and a `Modelfile` with the chat template in Ollama's language and the texts that end an answer.
    ///
    /// Parameters, result and errors as `exportGGUF`; `destination` is the folder to make.
    public func exportOllama(
        destination: String, options: GGUFExportOptions, documents: [Document], kernels: KernelContext,
        isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
    ) throws -> (report: ConvertReport, warnings: [String]) {
        let folder = try AtomicFolder(path: destination, overwrite: options.overwrite)
        var (report, warnings) = try exportGGUF(
            destination: folder.temporaryPath + "/model.gguf", options: options, kernels: kernels,
            isInterrupted: isInterrupted, progress: progress)
        let (modelfile, notes) = try modelfile()
        for document in [modelfile] + documents { try document.write(into: folder.temporaryPath) }
        try folder.commit()
        warnings += notes
        return (report, warnings)
    }

    /// The Modelfile, and what the user should know about it.
    private func modelfile() throws -> (document: Document, warnings: [String]) {
        let tokenizer = try Tokenizer(store: store)
        let spec = try DecoderSpec(of: store)
        let ends = try StopTokens.read(
            path: store.path, vocabularySize: spec.vocabSize, textFile: store.textFile
        ).sorted().map { String(decoding: tokenizer.tokenBytes($0), as: UTF8.self) }
        let bos = tokenizer.specialTokensAround.prefix.map { String(decoding: tokenizer.tokenBytes($0), as: UTF8.self) }
        let template = try ChatTemplate.load(store: store, specialTokens: tokenizer.specialTokens)
        let ollama = template.flatMap { template in
            OllamaTemplate(bos: bos.joined(), ends: ends) {
                try template.render(Conversation($0), addGenerationPrompt: true)
            }
        }
        var lines = ["FROM ./model.gguf"]
        var warnings: [String] = []
        if let ollama {
            lines.append("TEMPLATE \"\"\"\(ollama.text)\"\"\"")
            if ollama.system == nil {
                warnings.append("the chat template takes no system message: Ollama leaves it out")
            }
        } else {
            warnings.append(
                template == nil
                    ? "the model has no chat template: the Modelfile has no TEMPLATE"
                    : "the Modelfile has no TEMPLATE: Ollama looks for the family of the chat template in model.gguf")
        }
        lines += ends.filter { !$0.isEmpty }.map { "PARAMETER stop \(JSONString.quoted($0))" }
        return (Document(name: "Modelfile", text: lines.joined(separator: "\n") + "\n"), warnings)
    }
}
