import Base
import Kernels
import Quant

/// The type of the weights in a Hugging Face folder.
public enum ExportType: String, Sendable, CaseIterable {
    case bf16, f16, f32

    /// As tensors have it.
    public var type: TensorType {
        switch self {
        case .bf16: .bf16
        case .f16: .f16
        case .f32: .f32
        }
    }
}

/// How to write a model as a Hugging Face folder.
public struct HuggingFaceExportOptions: Sendable {
    /// The type of every tensor.
    public var dtype = ExportType.bf16
    /// A safetensors file holds at most that many bytes of data.
    public var maximumShardByteCount = ShardedSafetensorsWriter.defaultShardByteCount
    /// Texts that are written into the folder: its model card.
    public var documents: [Document] = []
    /// Replace a folder that is there.
    public var overwrite = false

    /// bf16 in shards of 5 GB.
    public init() {}
}

/// What an export wrote.
public struct HuggingFaceExportReport: Sendable, Equatable {
    /// Tensors written.
    public let tensorCount: Int
    /// Bytes of their data.
    public let byteCount: Int
    /// The safetensors files.
    public let fileNames: [String]
    /// What the user should know.
    public let warnings: [String]
}

/// Writes a model with its adapters fused into the weights as a Hugging Face folder, tensor by tensor: memory is a few
/// pieces of a tensor whatever the model's size, and the folder appears under its name only when it is complete.
///
/// A tied output head stays tied, and is not written, unless an adapter replaces it or the embedding.
/// - Parameters:
///   - store: the model; its tensors are dequantized.
///   - adapters: what goes into it, lowest first.
///   - destination: the folder to make.
///   - options: type, shard size and so on.
///   - kernels: what computes the adapters' part; the same bytes for any number of threads.
///   - isInterrupted: asked between pieces; true ends the export with an `interrupted` error.
///   - progress: called between pieces, never by two threads at once.
/// - Throws: `badInput` for adapters that do not fit and for weights too large for f16, `usage` if the destination
///   exists, `runtime` for a full disk. Nothing is left behind.
public func exportHuggingFace(
    store: any WeightStore, adapters: [AdapterFile], destination: String, options: HuggingFaceExportOptions,
    kernels: KernelContext, isInterrupted: @Sendable () -> Bool = { false },
    progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> HuggingFaceExportReport {
    let weights = try FusedWeights(store: store, adapters: adapters, type: options.dtype.type, kernels: kernels)
    var writing = ConvertOptions()
    writing.threads = kernels.threads
    writing.maximumShardByteCount = options.maximumShardByteCount
    writing.documents = options.documents
    writing.overwrite = options.overwrite
    let written = try writeFolder(
        weights, destination: destination, options: writing, isInterrupted: isInterrupted, progress: progress)
    return HuggingFaceExportReport(
        tensorCount: written.tensors.count, byteCount: written.byteCount, fileNames: written.fileNames,
        warnings: written.warnings)
}
