import Audit
import Base
import Kernels
import Model
import Quant

/// The weights that a quantized model was made from, with the same adapters on them. What a model was taught lies in
/// its source; the quantized model may show less of it, and an adapter that was trained on that one meets the rest
/// again when it is put on the source.
public struct SourceModel {
    /// Whether it is what the quantized model says that it was converted from.
    public enum Identity: String, Sendable {
        /// Its hash is the one that is recorded.
        case recorded
        /// Another hash is recorded.
        case other
        /// The quantized model records none.
        case unknown
    }

    /// What is taken for the source.
    public enum Choice: Sendable, Equatable {
        /// What the model's file records, where that lies beside it unchanged.
        case recorded
        /// Nothing.
        case none
        /// A Hugging Face folder, a GGUF file or an MQF file of plain weights.
        case path(String)

        /// As it is written: `none`, or a path, which `resolve` may change; nil: what is recorded.
        public init(_ text: String?, resolve: (String) -> String = { $0 }) {
            switch text {
            case nil: self = .recorded
            case "none"?: self = .none
            case let path?: self = .path(resolve(path))
            }
        }
    }

    /// Its file or folder, without where it lies.
    public let name: String
    /// The source.
    public let model: OpenedModel
    /// Whether it is the source indeed.
    public let identity: Identity

    /// The source of a quantized model, with that model's adapters; nil where there is none at hand. A folder is read
    /// from where it lies, layer by layer as it is needed; of a GGUF file every number is kept (`ModelCache`).
    ///
    /// - Parameters:
    ///   - choice: what is taken for it.
    ///   - compute: f32 or bf16; nil: f32.
    /// - Throws: a usage error for a source that is quantized to MQF itself; what opening it throws; a bad-input error
    ///   for other tokens than the model's, or other shapes than an adapter's.
    public init?(of quantized: OpenedModel, _ choice: Choice, compute: Compute? = nil) throws {
        let file = quantized.transformer.store as? MQFFile
        switch choice {
        case .none: return nil
        case .path(let path):
            identity = try Self.identity(of: path, recorded: file?.sourceSHA256)
            (name, model) = (fileName(ofPath: path), try Self.open(path, identity, for: quantized, compute: compute))
        case .recorded:
            guard let file, try StoredTypes(file).isQuantized, let path = file.recordedSource() else { return nil }
            identity = .recorded
            (name, model) = (fileName(ofPath: path), try Self.open(path, identity, for: quantized, compute: compute))
        }
    }

    private static func open(
        _ path: String, _ identity: Identity, for quantized: OpenedModel, compute: Compute?
    ) throws -> OpenedModel {
        let store = try openWeightStore(path: path, exactly: true)
        if identity != .recorded, MQFFile.isMQF(path: path), try StoredTypes(store).isQuantized {
            throw MeraserError.usage(
                "`source` \(path) is quantized itself; name what it was converted from, a folder or a GGUF file")
        }
        let model = try OpenedModel(
            AdaptedModel(
                store: store, adapterPaths: quantized.adapterPaths, kernels: quantized.transformer.kernels,
                compute: compute == .bf16 ? .bf16 : .f32, transfer: true))
        try quantized.requireSameTokens(model, path: path)
        return model
    }

    /// A model has the identity that is recorded, or is an MQF file of plain weights that was made from one which has.
    static func identity(of path: String, recorded: String?) throws -> Identity {
        let source = try openTensorSource(path: path)
        guard let recorded else { return .unknown }
        if try source.sha256() == recorded { return .recorded }
        guard let file = source as? MQFFile, try !StoredTypes(file).isQuantized else { return .other }
        return file.sourceSHA256 == recorded ? .recorded : .other
    }

    /// A model in the place of the source of one that was made of it: with adapters on it, which that one has in its
    /// weights.
    init(unfused model: OpenedModel) {
        (name, identity) = (model.transformer.store.modelName, .recorded)
        self.model = model
    }

    private init(_ source: SourceModel, model: OpenedModel) {
        (name, identity) = (source.name, source.identity)
        self.model = model
    }

    /// The same with other adapters. Throws as opening does.
    public func with(adapterPaths: [String]) throws -> SourceModel {
        SourceModel(self, model: try model.with(adapterPaths: adapterPaths))
    }
}
