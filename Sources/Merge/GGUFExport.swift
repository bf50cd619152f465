import Base
import Kernels
import Quant

/// How to write a model as a GGUF file.
public struct GGUFExportOptions: Sendable {
    /// The type of the matrices; embedding and head as in `convert`. Nil: each what it is in the model, q8_0 for nf4.
    public var dtype: TensorType?
    /// Replace a file that is there.
    public var overwrite = false

    /// The model's own types.
    public init() {}
}

/// Writes a model with its adapters fused into the weights as a GGUF file, tensor by tensor: the sum in fp32, rounded
/// once. What no adapter touches and keeps its type is the same numbers, bit for bit.
///
/// - Parameters:
///   - store: the model.
///   - adapters: what goes into it, lowest first.
///   - keys: metadata beside the architecture's: the tokenizer's and `general.…`.
///   - destination: the file to make.
///   - options: types and so on.
///   - kernels: what computes the adapters' part; the same bytes for any number of threads.
///   - isInterrupted: asked between pieces; true ends the export with an `interrupted` error.
///   - progress: called between pieces, never by two threads at once.
/// - Throws: `badInput` for adapters that do not fit and for a model that a GGUF file cannot say, `usage` if the
///   destination exists or for nf4, `runtime` for a full disk. Nothing is left behind.
public func exportGGUF(
    store: any WeightStore, adapters: [AdapterFile], keys: Metadata, destination: String, options: GGUFExportOptions,
    kernels: KernelContext, isInterrupted: @Sendable () -> Bool = { false },
    progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    guard options.dtype != .nf4 else {
        throw MeraserError.usage("`dtype` is nf4, which GGUF has not; iq4_nl is the nearest to it")
    }
    var writing = ConvertOptions()
    writing.type = options.dtype
    writing.threads = kernels.threads
    writing.overwrite = options.overwrite
    func write(_ source: any TensorSource) throws -> ConvertReport {
        try writeGGUF(
            source, keys: keys, destination: destination, options: writing, isInterrupted: isInterrupted,
            progress: progress)
    }
    if adapters.isEmpty { return try write(store) }
    let fused = try FusedWeights(store: store, adapters: adapters, type: nil, kernels: kernels)
    if options.dtype == nil {
        for name in fused.tensorNames where fused.isFused(name) { writing.assigned[name] = try fused.storedType(name) }
    }
    return try write(fused)
}
