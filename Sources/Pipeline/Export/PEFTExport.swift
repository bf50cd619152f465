import Base
import Model
import Quant

extension OpenedModel {
    /// Writes the adapters as one PEFT folder of concatenated rank that computes the same sum.
    ///
    /// - Parameters:
    ///   - destination: the folder to make.
    ///   - base: the folder or Hugging Face's name that the adapter names as its base; nil: the model's name.
    ///   - documents: texts that are written into the folder.
    ///   - overwrite: replace a folder that is there.
    /// - Returns: its rank (the usual one where modules differ).
    /// - Throws: `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
    public func exportPEFT(
        destination: String, base: String? = nil, documents: [Document] = [], overwrite: Bool
    ) throws -> Int {
        let folder = try AtomicFolder(path: destination, overwrite: overwrite)
        let merged = try joinedAdapter()
        try merged.save(
            folder: folder.temporaryPath, model: transformer.spec, baseModelName: transformer.store.modelName,
            basePath: base)
        for document in documents { try document.write(into: folder.temporaryPath) }
        try folder.commit()
        return merged.config.r
    }

    /// Writes the adapters as one GGUF file that llama.cpp puts on the model's GGUF file (`--lora`): the sum of all,
    /// rows of queries and keys in llama.cpp's order.
    ///
    /// - Returns: its rank (the usual one where modules differ).
    /// - Throws: `badInput` for an architecture that llama.cpp does not run and for rows of tokens, `usage` if the
    ///   destination exists, `runtime` for a full disk. Nothing is left behind.
    public func exportGGUFLoRA(destination: String, overwrite: Bool) throws -> Int {
        let merged = try joinedAdapter()
        guard merged.tokenRows == nil else {
            throw MeraserError.badInput(
                "the adapters hold rows of the embedding (trainable_token_indices), which llama.cpp's adapters cannot; write "
                    + "the whole model (`format` gguf)")
        }
        try AdapterFile.writeGGUF(
            path: destination, factors: merged.scaledFactors(for: transformer.spec), model: transformer.spec,
            name: transformer.store.modelName, overwrite: overwrite)
        return merged.config.r
    }

    private func joinedAdapter() throws -> LoRAAdapter {
        precondition(!adapters.isEmpty, "no adapters to export")
        let merged = LoRAAdapter.concatenate(adapters, for: transformer.spec)
        merged.provenance = try transformer.store.adapterProvenance(parents: [])
        return merged
    }
}
