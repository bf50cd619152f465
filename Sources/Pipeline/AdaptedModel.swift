import Kernels
import Model
import Quant

/// A model's weights with adapters on them, which needs no tokenizer. Use from one thread at a time.
public struct AdaptedModel {
    /// The base model.
    public let transformer: Transformer
    /// The adapters, lowest first.
    public let adapters: [LoRAAdapter]
    /// Where they were read from.
    public let adapterPaths: [String]
    /// A line for each adapter that is used where it does not belong; empty unless transfer was allowed.
    public let transferred: [String]
    /// What the user should know: adapters that are transferred, a folder that holds two models.
    public var warnings: [String] { transformer.store.warnings + transferred }
    private let allowsTransfer: Bool

    /// Opens a model and checks that its adapters belong to it.
    ///
    /// - Parameters:
    ///   - path: an `.mqf` file or a Hugging Face folder.
    ///   - adapterPaths: PEFT folders or GGUF adapters, lowest first.
    ///   - kernels: instruction set and threads.
    ///   - compute: precision of the forward; nil: int8 for quantized weights, f32 for plain ones.
    ///   - verifying: compares all checksums first, as everything that trains or exports must.
    ///   - transfer: accept adapters of another base, or without their parents, as long as every shape fits.
    /// - Throws: what the parts throw; for an adapter of another base or without its parents an error that names them.
    public init(
        path: String, adapterPaths: [String] = [], kernels: KernelContext, compute: Compute? = nil,
        verifying: Bool = false, transfer: Bool = false
    ) throws {
        let store = try openWeightStore(path: path)
        if verifying { try store.verify() }
        try self.init(store: store, adapterPaths: adapterPaths, kernels: kernels, compute: compute, transfer: transfer)
    }

    /// The same for weights that are open.
    init(
        store: any WeightStore, adapterPaths: [String], kernels: KernelContext, compute: Compute?, transfer: Bool
    ) throws {
        let isQuantized = try StoredTypes(store).isQuantized
        let transformer = try Transformer(
            store: store, kernels: kernels, compute: compute ?? kernels.inferenceCompute(quantized: isQuantized))
        try self.init(transformer, adapterPaths: adapterPaths, transfer: transfer)
    }

    /// The same model with other adapters, transferred if that was allowed when it was opened.
    ///
    /// - Throws: as opening it does.
    public func with(adapterPaths: [String]) throws -> AdaptedModel {
        try AdaptedModel(transformer, adapterPaths: adapterPaths, transfer: allowsTransfer)
    }

    /// The same model, whose weights are in memory only while their layer is at work.
    ///
    /// - Throws: what `Transformer.streamingWeights` throws.
    func streamingWeights() throws -> AdaptedModel { AdaptedModel(self, try transformer.streamingWeights()) }

    private init(_ other: AdaptedModel, _ transformer: Transformer) {
        self.transformer = transformer
        (adapters, adapterPaths) = (other.adapters, other.adapterPaths)
        (transferred, allowsTransfer) = (other.transferred, other.allowsTransfer)
    }

    private init(_ transformer: Transformer, adapterPaths: [String], transfer: Bool) throws {
        self.transformer = transformer
        self.adapterPaths = adapterPaths
        allowsTransfer = transfer
        adapters = try adapterPaths.map { try LoRAAdapter(path: $0, for: transformer.spec) }
        transferred = try AdapterProvenance.validate(
            zip(adapterPaths, adapters).map { ($0, $1.sha256, $1.provenance) }, base: transformer.store.path,
            baseSHA256: { try transformer.store.sha256() }, transfer: transfer)
    }

    /// A session that runs the model with its adapters and, on top of them, `trained` if it is given.
    public func session(trained: LoRAAdapter? = nil) -> InferenceSession {
        InferenceSession(model: transformer, adapters: AdapterStack(frozen: adapters, trained: trained))
    }
}
