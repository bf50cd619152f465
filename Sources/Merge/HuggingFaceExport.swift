import Base
import Kernels
import Quant

/// How to write a model as a Hugging Face folder.
public struct HuggingFaceExportOptions: Sendable {
    /// The type of every tensor: bf16, f16 or f32.
    public var dtype = TensorType.bf16
    /// A safetensors file holds at most that many bytes of data.
    public var maximumShardByteCount = ShardedSafetensorsWriter.defaultShardByteCount
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
/// A tied output head stays tied: it is not written where the model has none.
/// - Parameters:
///   - store: the model; its tensors are dequantized.
///   - adapters: added to it, in any order.
///   - destination: the folder to make.
///   - options: type, shard size and so on.
///   - kernels: what computes the adapters' part; the same bytes for any number of threads.
///   - isInterrupted: asked between pieces; true ends the export with an `interrupted` error.
///   - progress: called between tensors with elements done and elements in all.
/// - Throws: `badInput` for adapters that do not fit and for weights too large for f16, `usage` if the destination exists,
///   `runtime` for a full disk. Nothing is left behind.
public func exportHuggingFace(
    store: any WeightStore, adapters: [PEFTAdapterFile], destination: String, options: HuggingFaceExportOptions,
    kernels: KernelContext, isInterrupted: () -> Bool = { false }, progress: (Int, Int) -> Void = { _, _ in }
) throws -> HuggingFaceExportReport {
    precondition(!options.dtype.isTiled, "\(options.dtype.name) is no type of a Hugging Face folder")
    let weights = try FusedWeights(store: store, adapters: adapters, kernels: kernels)
    let tensors = try ModelTensors(of: store)
    let infos = try tensors.names.map { try store.tensor($0).info }
    // What is wrong with config.json comes out before the work.
    let (config, warnings) = try ConfigChanges(types: [options.dtype], tensors: infos.map { ($0.name, $0.shape) })
        .applied(to: store)
    let total = infos.reduce(0) { $0 + $1.elementCount }

    let folder = try AtomicFolder(path: destination, overwrite: options.overwrite)
    let writer = try ShardedSafetensorsWriter(
        folder: folder.temporaryPath,
        tensors: infos.map { TensorDeclaration(name: $0.name, type: options.dtype, shape: $0.shape) },
        maximumShardByteCount: options.maximumShardByteCount)
    var done = 0
    for info in infos {
        try weights.forEachPiece(of: info.name) { piece in
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
            try checkRange(piece, info: info, store: store, dtype: options.dtype)
            try plainBytes(piece, type: options.dtype).withUnsafeBytes { try writer.write(info.name, $0) }
        }
        done += info.elementCount
        progress(done, total)
    }
    try writer.finish()
    try writeHuggingFaceFiles(of: store, folder: folder.temporaryPath, config: config)
    try folder.commit()
    return HuggingFaceExportReport(
        tensorCount: infos.count, byteCount: total * (options.dtype.elementByteCount ?? 0), fileNames: writer.fileNames,
        warnings: tensors.warnings(path: store.path) + warnings)
}

/// Refuses a piece with a weight that is not finite, or that is too large for f16 if that is written.
private func checkRange(_ piece: [Float], info: TensorInfo, store: any WeightStore, dtype: TensorType) throws {
    if let bad = firstNonFinite(piece) {
        throw MeraserError.badInput(
            "\(store.path): tensor '\(info.name)' with its adapters has the weight \(piece[bad]), expected finite ones")
    }
    guard dtype == .f16 else { return }
    if let large = piece.first(where: { abs($0) >= 65_520 }) {
        throw MeraserError.badInput(
            "\(store.path): tensor '\(info.name)' has the weight \(large), too large for f16; choose bf16 or f32")
    }
}
