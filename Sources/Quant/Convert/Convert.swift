import Base
import Foundation

/// Converts a model to an MQF file, in pieces that are quantized and written where they belong on several threads;
/// every byte of a safetensors folder is read once and hashed on the way. Memory is a few megabytes a thread whatever
/// the model's size; the file's bytes do not depend on the number of threads, and the file appears under its name only
/// when it is complete.
///
/// - Parameters:
///   - source: what `openTensorSource` opens.
///   - destination: the MQF file to make.
///   - options: types, threads and so on.
///   - isInterrupted: asked between pieces; true ends the conversion with an `interrupted` error.
///   - progress: called between pieces, never by two threads at once.
/// - Returns: what was done; with `dryRun`, what would be done.
/// - Throws: `badInput` for anything wrong with the source (missing tensor, wrong shape, unknown architecture,
///   non-finite weight), `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
public func convert(
    source: String, destination: String, options: ConvertOptions, isInterrupted: @Sendable () -> Bool = { false },
    progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    try convert(
        openTensorSource(path: source), destination: destination, options: options, isInterrupted: isInterrupted,
        progress: progress)
}

/// The same of a source that is open, whatever it is.
public func convert(
    _ source: any TensorSource, destination: String, options: ConvertOptions,
    isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    let stored = (source as? any StoredSource)?.readOnce()
    let plan = try ConvertPlan(source: stored ?? source, options: options)
    // The digest has a fixed length, so the layout is known before it.
    let placeholder = plan.metadata(
        try stored.map { _ in Provenance(sourceSHA256: String(repeating: "0", count: 64)) } ?? source.provenance)
    let report = try plan.report(destination: destination, metadata: placeholder, isDry: options.dryRun)
    if options.dryRun { return report }
    let writer = try MQFWriter(
        path: destination, metadata: placeholder, tensors: report.tensors, overwrite: options.overwrite)
    try RowPump(source: plan.source, items: plan.items, threads: options.threads).run(
        to: writer, check: { try refuseInterrupted(isInterrupted, destination) }, progress: progress)
    try writer.finish(metadata: try stored.map { plan.metadata(try $0.provenance) })
    return report
}

/// Writes a model of any source: as an MQF file where the destination's name ends in `.mqf`, as `convert`, else as
/// `writeFolder`.
public func writeModel(
    _ source: any TensorSource, destination: String, options: ConvertOptions,
    isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    destination.hasSuffix(".mqf")
        ? try convert(
            source, destination: destination, options: options, isInterrupted: isInterrupted, progress: progress)
        : try writeFolder(
            source, destination: destination, options: options, isInterrupted: isInterrupted, progress: progress)
}

/// Writes a model of any source as a Hugging Face folder, with all of its weights in plain types. Parameters, result
/// and errors as `convert`; the folder too appears only when it is complete, with the same bytes for any number of
/// threads.
public func writeFolder(
    _ source: any TensorSource, destination: String, options: ConvertOptions,
    isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    let items = try source.tensorNames.filter { !HuggingFaceFiles.isBuffer($0) }.map { name in
        let entry = try source.tensorEntry(name)
        let target = TensorDeclaration(name: name, type: entry.plainType, shape: entry.shape)
        return RowPump.Item(source: entry, target: target)
    }
    func report(_ fileNames: [String]) -> ConvertReport {
        ConvertReport(
            items: items,
            byteCount: items.reduce(0) { $0 + (byteCount(of: $1.target.type, shape: $1.target.shape) ?? 0) },
            fileNames: fileNames, warnings: source.warnings)
    }
    if options.dryRun { return report([]) }
    let folder = try AtomicFolder(path: destination, overwrite: options.overwrite)
    let writer = try ShardedSafetensorsWriter(
        folder: folder.temporaryPath, tensors: items.map(\.target),
        maximumShardByteCount: options.maximumShardByteCount)
    try RowPump(source: source, items: items, threads: options.threads).run(
        to: writer, check: { try refuseInterrupted(isInterrupted, destination) }, progress: progress)
    try writer.finish()
    for name in HuggingFaceFiles.names + HuggingFaceFiles.vocabularyNames {
        if let bytes = try source.textFile(name) {
            try writeFileAtomically(path: "\(folder.temporaryPath)/\(name)", bytes)
        }
    }
    for document in options.documents { try document.write(into: folder.temporaryPath) }
    try folder.commit()
    return report(writer.fileNames)
}

/// Writes a model of any source as a GGUF file that llama.cpp runs. Parameters, result and errors as `convert`; the
/// types too, but every source keeps its own where no other is asked for, and nf4, which GGUF has not, becomes q8_0.
///
/// - Parameters:
///   - keys: metadata beside the architecture's: the tokenizer's and `general.…`.
/// - Throws: `badInput` also for a model that a GGUF file cannot say: classifiers, architectures that llama.cpp does
///   not run, switches that GGUF has no key for.
public func writeGGUF(
    _ source: any TensorSource, keys: Metadata, destination: String, options: ConvertOptions,
    isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    var options = options
    options.keepsTypes = true
    let plan = try ConvertPlan(source: source, options: options)
    guard case .decoder(let spec) = plan.spec else {
        throw MeraserError.badInput("\(source.path) is a classifier; a GGUF file of it would not be read by llama.cpp")
    }
    var warnings = plan.warnings
    let items = plan.items.map { item in
        guard item.target.type == .nf4 else { return item }
        return RowPump.Item(
            source: item.source,
            target: TensorDeclaration(name: item.target.name, type: .q8_0, shape: item.target.shape))
    }
    let count = zip(items, plan.items).count { $0.target != $1.target }
    if count > 0 { warnings.append("\(count) tensors are nf4, which GGUF has not: stored as q8_0") }
    let targets = items.map(\.target)
    let description = try GGUFDescription(spec, tensors: targets, path: source.path)
    warnings += description.warnings
    var metadata = description.metadata
    metadata["general.type"] = .string("model")
    metadata["general.name"] = .string(HuggingFaceCache.modelName(source.path))
    if let type = ConvertPlan.mainType(targets)?.ggufFileType { metadata["general.file_type"] = .uint32(type) }
    metadata["general.quantization_version"] = .uint32(2)
    for key in keys.keys { metadata[key] = keys[key] }
    let tensors = try GGUFTensorPlan(
        targets, layout: GGUFLayout(spec), vectors: description.vectors, path: source.path)
    func report(_ byteCount: Int, _ fileNames: [String]) -> ConvertReport {
        ConvertReport(items: items, byteCount: byteCount, fileNames: fileNames, warnings: warnings)
    }
    if options.dryRun { return report(tensors.dataByteCount, []) }
    let writer = try GGUFWriter(
        path: destination, metadata: metadata, plan: tensors, vectors: description.vectors,
        overwrite: options.overwrite)
    try RowPump(source: plan.source, items: items, threads: options.threads).run(
        to: writer, check: { try refuseInterrupted(isInterrupted, destination) }, progress: progress)
    try writer.finish()
    return report(writer.fileLength, [destination])
}

private func refuseInterrupted(_ isInterrupted: @Sendable () -> Bool, _ destination: String) throws {
    if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
}
