import Base
import Model
import Quant

/// A model's weights and the adapters that are to be written into them: nothing is computed with them here, so that
/// adapters may be of every kind, DoRA and whole tensors too.
public struct FusedModel {
    /// The weights that the adapters go into.
    public let store: any WeightStore
    /// The adapters, lowest first.
    public let adapters: [AdapterFile]
    /// What the user should know: adapters that are transferred, a folder that holds two models.
    public let warnings: [String]

    /// Opens a model, compares its checksums and checks that the adapters belong to it; see `AdaptedModel`.
    ///
    /// - Parameters:
    ///   - path: the model that the adapters belong to.
    ///   - adapterPaths: PEFT folders or GGUF adapters, lowest first.
    ///   - transfer: accept adapters of another base, as long as every shape fits.
    ///   - base: what the model was converted from, whose weights are taken in place of its own; nil: its own.
    /// - Throws: what the parts throw; for an adapter of another base or without its parents an error that names them;
    ///   `badInput` for a base that is another model than the one that is recorded.
    public init(path: String, adapterPaths: [String], transfer: Bool, base: String? = nil) throws {
        let store = try openWeightStore(path: path)
        try store.verify()
        let spec = try DecoderSpec(of: store)
        let adapters = try adapterPaths.map { try AdapterFile(path: $0, for: spec) }
        let transferred = try AdapterProvenance.validate(
            adapters.map { ($0.path, $0.sha256, $0.provenance) }, base: store.path,
            baseSHA256: { try store.sha256() }, transfer: transfer)
        self.adapters = adapters
        guard let base else {
            (self.store, warnings) = (store, store.warnings + transferred)
            return
        }
        let original = try openWeightStore(path: base, exactly: true)
        try original.verify()
        guard try DecoderSpec(of: original).tensors == spec.tensors else {
            throw MeraserError.badInput("\(base) has other tensors than \(path), which cannot have been made of it")
        }
        let identity = try SourceModel.identity(of: base, recorded: (store as? MQFFile)?.sourceSHA256)
        guard identity != .other || transfer else {
            throw MeraserError.badInput(
                "\(base) is not what \(path) was converted from: it records another SHA-256; name that one, or `transfer`"
            )
        }
        let notes = identity == .recorded ? [] : ["\(base): nothing shows that \(path) was converted from it"]
        (self.store, warnings) = (original, original.warnings + transferred + notes)
    }
}
