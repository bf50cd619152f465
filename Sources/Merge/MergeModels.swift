import Quant
import Synchronization

/// How to run a merge.
public struct MergeOptions: Sendable {
    /// The seed of DARE's masks.
    public var seed: UInt64 = 42
    /// How many threads to use, at least 1. The result does not depend on it.
    public var threads = 1
    /// A safetensors file holds at most that many bytes of data.
    public var maximumShardByteCount = ShardedSafetensorsWriter.defaultShardByteCount
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

/// Merges models into a Hugging Face folder as mergekit does, tensor by tensor in pieces: memory is a few megabytes a thread
/// whatever the models' size, and the folder appears under its name only when it is complete.
///
/// - Parameters:
///   - recipe: what to merge and how; its paths are taken from the working directory.
///   - destination: the folder to make, with config.json and tokenizer of the base (or the first model).
///   - options: threads, seed and so on.
///   - isInterrupted: asked between pieces; true ends the merge with an `interrupted` error.
///   - progress: called between tensors with weights done and weights in all.
/// - Returns: what was done; with `dryRun`, what would be done.
/// - Throws: `badInput` for models that do not fit together, parameters that are missing and weights that are not finite,
///   `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
public func mergeModels(
    _ recipe: MergeRecipe, destination: String, options: MergeOptions,
    isInterrupted: @escaping @Sendable () -> Bool = { false }, progress: (Int, Int) -> Void = { _, _ in }
) throws -> MergeReport {
    precondition(options.threads >= 1, "\(options.threads) threads")
    if !options.dryRun { try AtomicFolder.checkDestination(destination, overwrite: options.overwrite) }
    let plan = try MergePlan(recipe: recipe, seed: options.seed)
    let store = plan.donor.store
    let changes = plan.configChanges
    var warnings = plan.warnings
    let config = try JSONValue.parse(try changedConfig(of: store, changes), file: "\(store.path): config.json")
    if config["tie_word_embeddings"]?.bool == true, plan.steps.contains(where: { $0.name == "lm_head.weight" }) {
        warnings.append("the result has an output head of its own, but its config.json says tie_word_embeddings")
    }
    let declarations = plan.steps.map { TensorDeclaration(name: $0.name, type: $0.outType, shape: $0.shape) }
    let total = plan.steps.reduce(0) { $0 + $1.elementCount }
    let byteCount = plan.steps.reduce(0) { $0 + $1.elementCount * ($1.outType.elementByteCount ?? 0) }
    func report(_ names: [String]) -> MergeReport {
        MergeReport(
            tensorCount: plan.steps.count, parameterCount: total, byteCount: byteCount, fileNames: names,
            warnings: warnings)
    }
    if options.dryRun { return report([]) }

    let folder = try AtomicFolder(path: destination, overwrite: options.overwrite)
    let writer = try ShardedSafetensorsWriter(
        folder: folder.temporaryPath, tensors: declarations, maximumShardByteCount: options.maximumShardByteCount)
    let merger = TensorMerger(threads: options.threads, isInterrupted: isInterrupted)
    var done = 0
    for step in plan.steps {
        let size = step.outType.elementByteCount ?? 0
        try merger.run(step) { offset, bytes in try writer.write(step.name, at: offset * size, bytes) }
        for input in step.inputs where input.view.info.type.isTiled { input.view.file.releasePages() }
        done += step.elementCount
        progress(done, total)
    }
    try writer.finish()
    try writeHuggingFaceFiles(of: store, folder: folder.temporaryPath, changes: changes)
    try folder.commit()
    return report(writer.fileNames)
}

extension MergePlan {
    /// What the result's config.json says otherwise than the base's.
    fileprivate var configChanges: ConfigChanges {
        let types = Set(steps.map(\.outType))
        return ConfigChanges(
            dtype: types.count == 1 ? types.first : nil,
            layerCount: recipe.slices.contains { $0.inputs.contains { $0.layers != nil } } ? layerCount : nil)
    }
}
