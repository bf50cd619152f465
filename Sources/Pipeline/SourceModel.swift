import Audit
import Base
import Kernels
import Model
import Quant

/// The weights that a quantized model was made from, with the same adapters on them. What a model was taught lies in its
/// source; the quantized model may show less of it, and an adapter that was trained on that one meets the rest again when it
/// is put on the source.
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

    /// Its file or folder, without where it lies.
    public let name: String
    /// The source.
    public let model: OpenedModel
    /// Whether it is the source indeed.
    public let identity: Identity

    /// The source of a quantized model, with that model's adapters; nil where there is none at hand. A folder is read from where
    /// it lies, layer by layer as it is needed; of a GGUF file every number is kept (`ModelCache`).
    ///
    /// - Parameters:
    ///   - given: a Hugging Face folder, a GGUF file or an MQF file of plain weights; `none`: no source; nil: what the
    ///     model's file records, where that lies beside it unchanged.
    ///   - compute: f32 or bf16; nil: f32.
    /// - Throws: a usage error for a source that is quantized to MQF itself; what opening it throws; a bad-input error for other
    ///   tokens than the model's, or other shapes than an adapter's.
    public init?(of quantized: OpenedModel, given: String?, compute: Compute? = nil) throws {
        let file = quantized.transformer.store as? MQFFile
        switch given {
        case "none"?: return nil
        case let path?:
            let recorded = file?.sourceSHA256
            identity = try recorded.map { try Self.sha256(path: path) == $0 ? .recorded : .other } ?? .unknown
            (name, model) = (fileName(ofPath: path), try Self.open(path, for: quantized, compute: compute))
        case nil:
            guard let file, try StoredTypes(file).isQuantized, let path = file.recordedSource() else { return nil }
            identity = .recorded
            (name, model) = (fileName(ofPath: path), try Self.open(path, for: quantized, compute: compute))
        }
    }

    private static func open(_ path: String, for quantized: OpenedModel, compute: Compute?) throws -> OpenedModel {
        let store = try openWeightStore(path: path, exactly: true)
        // A GGUF file's own types are its numbers; an MQF file's are somebody's choice.
        if MQFFile.isMQF(path: path), try StoredTypes(store).isQuantized {
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

    /// The hash that a conversion of the model at that path records.
    private static func sha256(path: String) throws -> String? {
        MQFFile.isMQF(path: path) ? try MQFFile(path: path).sourceSHA256 : try Quant.sourceSHA256(path: path)
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
