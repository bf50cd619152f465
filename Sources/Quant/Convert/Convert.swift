import Base
import Foundation
import Synchronization

/// Converts a Hugging Face folder or a GGUF file to an MQF file, in pieces that are quantized and written where they belong
/// on several threads; every byte of a folder is read once and hashed on the way. Memory is a few megabytes per thread whatever the model's
/// size; the file's bytes do not depend on the number of threads, and the file appears under its name only when it is
/// complete.
///
/// - Parameters:
///   - source: a folder with config.json and safetensors files, or a GGUF file (of a split one, the first part).
///   - destination: the MQF file to make.
///   - options: types, threads and so on.
///   - isInterrupted: asked between pieces; true ends the conversion with an `interrupted` error.
///   - progress: called between pieces, never by two threads at once.
/// - Returns: what was done; with `dryRun`, what would be done.
/// - Throws: `badInput` for anything wrong with the source (missing tensor, wrong shape, unknown architecture, non-finite
///   weight), `usage` if the destination exists, `runtime` for a full disk. Nothing is left behind.
public func convert(
    source: String, destination: String, options: ConvertOptions, isInterrupted: @Sendable () -> Bool = { false },
    progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    precondition(options.threads >= 1, "\(options.threads) threads")
    if GGUFFile.isGGUF(path: source) {
        return try convert(
            GGUFModel(path: source), destination: destination, options: options, isInterrupted: isInterrupted,
            progress: progress)
    }
    let folder = try SafetensorsFolder(path: source)
    let plan = try ConvertPlan(source: folder, options: options)
    let views = try plan.items.map { try folder.tensor($0.source.name) }
    // The digest has a fixed length, so the layout is known before it.
    let placeholder = plan.metadata(options: options, sourceSHA256: String(repeating: "0", count: 64))
    let report = try plan.report(destination: destination, metadata: placeholder)
    if options.dryRun { return report }
    let (declarations, sourceByteCount) = (plan.items.map(\.target), report.sourceByteCount)
    let writer = try MQFWriter(
        path: destination, metadata: placeholder, tensors: declarations, overwrite: options.overwrite)
    let queue = SourceQueue(
        folder.files.map { source in
            let inside = views.indices.filter { views[$0].file === source.file }
            return (
                source.file,
                SourceSegment.cut(
                    fileByteCount: source.file.count, items: inside.map { (index: $0, info: views[$0].info) })
            )
        })
    let done = Mutex(0)
    let digests = try queue.run(threads: options.threads) { _, rows, bytes in
        if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
        try RowConverter(item: plan.items[rows.item], index: rows.item).convert(rows.range, bytes, to: writer)
        done.withLock {
            $0 += bytes.count
            progress(ConvertProgress(doneBytes: $0, totalBytes: sourceByteCount))
        }
    }
    let sourceSHA256 = try folder.sha256(ofFiles: digests)
    try writer.finish(metadata: plan.metadata(options: options, sourceSHA256: sourceSHA256))
    return report
}

/// The same for a GGUF file that is open.
func convert(
    _ source: GGUFModel, destination: String, options: ConvertOptions,
    isInterrupted: @Sendable () -> Bool = { false }, progress: @Sendable (ConvertProgress) -> Void = { _ in }
) throws -> ConvertReport {
    let plan = try ConvertPlan(source: source, options: options)
    let sha256 = options.dryRun ? String(repeating: "0", count: 64) : try source.sha256()
    let metadata = plan.metadata(options: options, sourceSHA256: sha256)
    let report = try plan.report(destination: destination, metadata: metadata)
    if options.dryRun { return report }
    let writer = try MQFWriter(
        path: destination, metadata: metadata, tensors: plan.items.map(\.target), overwrite: options.overwrite)
    try RowPump(source: source, plan: plan).run(
        to: writer, threads: options.threads,
        check: {
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
        }, progress: progress)
    try writer.finish()
    return report
}
