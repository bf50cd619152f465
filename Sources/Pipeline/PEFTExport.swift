import Base
import Model
import Quant

extension OpenedModel {
    /// Writes the adapters as one PEFT folder of concatenated rank that computes the same sum.
    ///
    /// - Returns: its rank (the usual one where modules differ).
    /// - Throws: `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
    public func exportPEFT(destination: String, overwrite: Bool) throws -> Int {
        precondition(!adapters.isEmpty, "no adapters to export")
        let folder = try AtomicFolder(path: destination, overwrite: overwrite)
        let merged = LoRAAdapter.concatenate(adapters, for: transformer.spec)
        merged.provenance.baseSHA256 = try transformer.store.sha256()
        try merged.save(
            folder: folder.temporaryPath, model: transformer.spec, baseModelName: transformer.store.path)
        try folder.commit()
        return merged.config.r
    }
}
