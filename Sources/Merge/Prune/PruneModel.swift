import Base
import CKernels
import Foundation
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
/// destination's name ends in `.mqf`. Memory is one tensor; the result appears only when it is complete.
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
///   - progress: called between tensors with tensors done and in all.
/// - Throws: `badInput` for a model that does not fit its config.json, `usage` if the destination exists, `runtime` for a
///   full disk. Nothing is left behind.
public func pruneModel(
    _ store: any WeightStore, plan: PrunePlan, destination: String, dtype: TensorType?, conversion: ConvertOptions,
    isInterrupted: () -> Bool = { false }, progress: (Int, Int) -> Void = { _, _ in }
) throws -> PruneReport {
    let spec = try DecoderSpec(of: store)
    precondition(
        plan.layers.count == spec.numHiddenLayers, "a plan for \(plan.layers.count) of \(spec.numHiddenLayers) layers")
    let pruned = try PrunedCheckpoint(store: store, spec: spec, plan: plan, dtype: dtype)
    var warnings = pruned.warnings
    let isFile = destination.hasSuffix(".mqf")
    var conversionWriter: CheckpointConversion?
    var folderWriter: (folder: AtomicFolder, writer: ShardedSafetensorsWriter)?
    if isFile {
        if !conversion.dryRun { try AtomicFile.checkDestination(destination, overwrite: conversion.overwrite) }
        let writer = try CheckpointConversion(source: pruned, destination: destination, options: conversion)
        warnings = writer.report.warnings
        conversionWriter = writer
    } else if !conversion.dryRun {
        let folder = try AtomicFolder(path: destination, overwrite: conversion.overwrite)
        folderWriter = (
            folder,
            try ShardedSafetensorsWriter(folder: folder.temporaryPath, tensors: pruned.tensors.map(\.declaration))
        )
    }
    let report = PruneReport(
        sourceParameterCount: pruned.tensors.reduce(0) { $0 + $1.view.info.elementCount },
        parameterCount: pruned.tensors.reduce(0) { $0 + $1.declaration.shape.reduce(1, *) }, plan: plan,
        warnings: warnings)
    if conversion.dryRun { return report }
    let names = conversionWriter?.tensorNames ?? pruned.tensors.map(\.declaration.name)
    for (index, name) in names.enumerated() {
        guard let tensor = pruned.tensor(name) else { preconditionFailure("no tensor \(name)") }
        var whole: [UInt8] = []
        try tensor.forEachPiece { bytes in
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
            if conversionWriter != nil {
                whole += bytes
            } else {
                try bytes.withUnsafeBytes { try folderWriter?.writer.write(name, $0) }
            }
        }
        try whole.withUnsafeBytes { try conversionWriter?.write(tensor: index, $0) }
        progress(index + 1, names.count)
    }
    try conversionWriter?.finish()
    if let (folder, writer) = folderWriter {
        try writer.finish()
        try writeHuggingFaceFiles(of: store, folder: folder.temporaryPath, config: pruned.config)
        try folder.commit()
    }
    return report
}
