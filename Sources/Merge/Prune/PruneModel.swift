import Quant

/// What a pruning wrote.
public struct PruneReport: Sendable, Equatable {
    /// Weights before.
    public let sourceParameterCount: Int
    /// Weights of the result.
    public let parameterCount: Int
    /// Groups of heads and channels that stay, one pair a layer.
    public let plan: PrunePlan
    /// What the user should know.
    public let warnings: [String]
}

/// Writes a model without the heads and channels that a plan drops: as a Hugging Face folder, or as an MQF file where the
/// destination's name ends in `.mqf`. Memory is a few megabytes a thread; the result appears only when it
/// is complete.
///
/// Where all layers keep equally many, the tensors get smaller and config.json says so; otherwise the columns of o_proj and
/// down_proj that belong to what is dropped become zero, which computes the same.
/// - Parameters:
///   - store: a decoder that is served.
///   - plan: what stays.
///   - destination: the folder or file to make.
///   - dtype: the type of a folder's tensors; nil keeps plain types and makes bf16 of quantized ones.
///   - conversion: types of an MQF file, threads, `overwrite`, `dryRun`.
///   - isInterrupted: asked between pieces; true ends the work with an `interrupted` error.
///   - progress: called between pieces, never by two threads at once.
/// - Throws: `badInput` for a model that does not fit its config.json, `usage` if the destination exists, `runtime` for a
///   full disk. Nothing is left behind.
public func pruneModel(
    _ store: any WeightStore, plan: PrunePlan, destination: String, dtype: TensorType?, conversion: ConvertOptions,
    isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> PruneReport {
    let spec = try DecoderSpec(of: store)
    precondition(
        plan.layers.count == spec.numHiddenLayers, "a plan for \(plan.layers.count) of \(spec.numHiddenLayers) layers")
    let pruned = try PrunedWeights(store, spec: spec, plan: plan, dtype: dtype)
    let written = try writeModel(
        pruned, destination: destination, options: conversion, isInterrupted: isInterrupted, progress: progress)
    return PruneReport(
        sourceParameterCount: pruned.tensors.reduce(0) { $0 + $1.source.elementCount },
        parameterCount: pruned.tensors.reduce(0) { $0 + $1.entry.elementCount }, plan: plan,
        warnings: written.warnings)
}
