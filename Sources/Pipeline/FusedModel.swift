import Model
import Quant

/// A model's weights and the adapters that are to be written into them: nothing is computed with them here, so that
/// adapters may be of every kind, DoRA and whole tensors too.
public struct FusedModel {
    /// The model.
    public let store: any WeightStore
    /// The adapters, lowest first.
    public let adapters: [AdapterFile]
    /// What the user should know: adapters that are transferred, a folder that holds two models.
    public let warnings: [String]

    /// Opens a model, compares its checksums and checks that the adapters belong to it; see `AdaptedModel`.
    ///
    /// - Throws: what the parts throw; for an adapter of another base or without its parents an error that names them.
    public init(path: String, adapterPaths: [String], transfer: Bool) throws {
        let store = try openWeightStore(path: path)
        try store.verify()
        let spec = try DecoderSpec(of: store)
        let adapters = try adapterPaths.map { try AdapterFile(path: $0, for: spec) }
        let transferred = try AdapterProvenance.validate(
            adapters.map { ($0.path, $0.sha256, $0.provenance) }, base: store.path,
            baseSHA256: { try store.sha256() }, transfer: transfer)
        (self.store, self.adapters, warnings) = (store, adapters, store.warnings + transferred)
    }
}
