import Base
import Quant

/// How to run a merge.
public struct MergeOptions: Sendable {
    /// The seed of DARE's masks.
    public var seed: UInt64 = 42
    /// How many threads to use, at least 1. The result does not depend on it.
    public var threads = 1
    /// A safetensors file holds at most that many bytes of data.
    public var maximumShardByteCount = ShardedSafetensorsWriter.defaultShardByteCount
    /// The types of an MQF file.
    public var conversion = ConvertOptions()
    /// Check and plan everything, write nothing.
    public var dryRun = false
    /// Replace what is there.
    public var overwrite = false

    /// Shards of 5 GB, on one thread.
    public init() {}
}

/// What a merge wrote, or would write.
public struct MergeReport: Sendable, Equatable {
    /// Tensors of the result.
    public let tensorCount: Int
    /// Their weights.
    public let parameterCount: Int
    /// Bytes of their data.
    public let byteCount: Int
    /// The files with the data; empty for a dry run.
    public let fileNames: [String]
    /// What the user should know.
    public let warnings: [String]

    init(_ written: ConvertReport) {
        (tensorCount, parameterCount) = (written.tensors.count, written.parameterCount)
        (byteCount, fileNames, warnings) = (written.byteCount, written.fileNames, written.warnings)
    }
}

/// Merges models as mergekit does, tensor by tensor in pieces: memory is a few megabytes a thread, and the result appears
/// under its name only when it is complete.
///
/// - Parameters:
///   - recipe: what to merge and how; its paths are taken from the working directory.
///   - destination: the folder to make, with config.json and tokenizer of the base (or the first model); or, with a name
///     that ends in `.mqf`, the MQF file.
///   - options: threads, seed and so on.
///   - isInterrupted: asked between pieces; true ends the merge with an `interrupted` error.
///   - progress: called between pieces, never by two threads at once.
/// - Returns: what was done; with `dryRun`, what would be done.
/// - Throws: `badInput` for models that do not fit together, parameters that are missing and weights that are not finite,
///   `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
public func mergeModels(
    _ recipe: MergeRecipe, destination: String, options: MergeOptions,
    isInterrupted: @escaping @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> MergeReport {
    let source = try MergedWeights(
        plan: try MergePlan(recipe: recipe, seed: options.seed),
        merger: TensorMerger(threads: options.threads, isInterrupted: isInterrupted))
    var conversion = options.conversion
    conversion.threads = options.threads
    conversion.maximumShardByteCount = options.maximumShardByteCount
    conversion.dryRun = options.dryRun
    conversion.overwrite = options.overwrite
    return MergeReport(
        try writeModel(
            source, destination: destination, options: conversion, isInterrupted: isInterrupted, progress: progress))
}
