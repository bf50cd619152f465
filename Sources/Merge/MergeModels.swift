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
}

/// Merges models as mergekit does, tensor by tensor in pieces: memory is a few megabytes a thread (for an MQF file and one
/// tensor), and the result appears under its name only when it is complete.
///
/// - Parameters:
///   - recipe: what to merge and how; its paths are taken from the working directory.
///   - destination: the folder to make, with config.json and tokenizer of the base (or the first model); or, with a name
///     that ends in `.mqf`, the MQF file.
///   - options: threads, seed and so on.
///   - isInterrupted: asked between pieces; true ends the merge with an `interrupted` error.
///   - progress: called between tensors with weights done and weights in all.
/// - Returns: what was done; with `dryRun`, what would be done.
/// - Throws: `badInput` for models that do not fit together, parameters that are missing and weights that are not finite,
///   `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
public func mergeModels(
    _ recipe: MergeRecipe, destination: String, options: MergeOptions,
    isInterrupted: @escaping @Sendable () -> Bool = { false }, progress: @escaping (Int, Int) -> Void = { _, _ in }
) throws -> MergeReport {
    precondition(options.threads >= 1, "\(options.threads) threads")
    let run = MergeRun(
        plan: try MergePlan(recipe: recipe, seed: options.seed), options: options,
        merger: TensorMerger(threads: options.threads, isInterrupted: isInterrupted), progress: progress)
    return destination.hasSuffix(".mqf") ? try run.writeMQF(destination) : try run.writeFolder(destination)
}

/// A planned merge and where its pieces go.
private struct MergeRun {
    let plan: MergePlan
    let options: MergeOptions
    let merger: TensorMerger
    let progress: (Int, Int) -> Void

    private var parameterCount: Int { plan.steps.reduce(0) { $0 + $1.elementCount } }

    func writeFolder(_ destination: String) throws -> MergeReport {
        if !options.dryRun { try AtomicFolder.checkDestination(destination, overwrite: options.overwrite) }
        let store = try plan.donor.store()
        let (config, changes) = try plan.configChanges.applied(to: store)
        let warnings = plan.warnings + changes
        let byteCount = plan.steps.reduce(0) { $0 + $1.byteCount }
        func report(_ names: [String]) -> MergeReport {
            MergeReport(
                tensorCount: plan.steps.count, parameterCount: parameterCount, byteCount: byteCount, fileNames: names,
                warnings: warnings)
        }
        if options.dryRun { return report([]) }
        let folder = try AtomicFolder(path: destination, overwrite: options.overwrite)
        let writer = try ShardedSafetensorsWriter(
            folder: folder.temporaryPath,
            tensors: plan.steps.map { TensorDeclaration(name: $0.name, type: $0.outType, shape: $0.shape) },
            maximumShardByteCount: options.maximumShardByteCount)
        var done = 0
        for step in plan.steps {
            let size = step.outType.elementByteCount ?? 0
            try merger.run(step) { offset, bytes in try writer.write(step.name, at: offset * size, bytes) }
            step.inputs.forEach { $0.release() }
            done += step.elementCount
            progress(done, parameterCount)
        }
        try writer.finish()
        try writeHuggingFaceFiles(of: store, folder: folder.temporaryPath, config: config)
        try folder.commit()
        return report(writer.fileNames)
    }

    func writeMQF(_ destination: String) throws -> MergeReport {
        if !options.dryRun { try AtomicFile.checkDestination(destination, overwrite: options.overwrite) }
        let store = try plan.donor.store()
        let (config, changes) = try plan.configChanges.applied(to: store)
        var conversionOptions = options.conversion
        conversionOptions.threads = options.threads
        conversionOptions.dryRun = options.dryRun
        conversionOptions.overwrite = options.overwrite
        let conversion = try CheckpointConversion(
            source: MergedCheckpoint(plan: plan, store: store, config: config, warnings: plan.warnings + changes),
            destination: destination, options: conversionOptions)
        let report = MergeReport(
            tensorCount: conversion.report.tensors.count, parameterCount: conversion.report.parameterCount,
            byteCount: conversion.report.byteCount, fileNames: options.dryRun ? [] : [destination],
            warnings: conversion.report.warnings)
        if options.dryRun { return report }
        let steps = Dictionary(plan.steps.map { (Array($0.name.utf8), $0) }, uniquingKeysWith: { first, _ in first })
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: plan.steps.map(\.byteCount).max() ?? 1, alignment: 64)
        defer { memory.deallocate() }
        // Pieces do not overlap, and nobody reads before all of them are written.
        nonisolated(unsafe) let target = memory
        var done = 0
        for (index, name) in conversion.tensorNames.enumerated() {
            guard let step = steps[Array(name.utf8)] else { preconditionFailure("no step makes \(name)") }
            let size = step.outType.elementByteCount ?? 0
            try merger.run(step) { offset, bytes in
                UnsafeMutableRawBufferPointer(rebasing: target[(offset * size)...]).copyMemory(from: bytes)
            }
            step.inputs.forEach { $0.release() }
            try conversion.write(tensor: index, UnsafeRawBufferPointer(rebasing: memory[..<step.byteCount]))
            done += step.elementCount
            progress(done, parameterCount)
        }
        try conversion.finish()
        return report
    }
}

/// The result of a merge as a converter sees it.
private struct MergedCheckpoint: TensorSource {
    let plan: MergePlan
    let store: any WeightStore
    let config: [UInt8]
    let warnings: [String]

    var path: String { "the merge" }
    var tensorNames: [String] { plan.steps.map(\.name) }
    func entry(_ name: String) -> TensorEntry? {
        step(name).map {
            TensorEntry(name: name, shape: $0.shape, exactType: $0.outType, byteCount: $0.byteCount, path: path)
        }
    }
    func textFile(_ name: String) throws -> [UInt8]? { name == "config.json" ? config : try store.textFile(name) }

    private func step(_ name: String) -> MergeStep? { plan.steps.first { $0.name.utf8.elementsEqual(name.utf8) } }
}

extension MergeStep {
    /// Bytes of the result.
    fileprivate var byteCount: Int { elementCount * (outType.elementByteCount ?? 0) }
}
