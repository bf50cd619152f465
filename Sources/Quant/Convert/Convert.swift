import CKernels
import Foundation
import Synchronization

/// Converts a Hugging Face folder to an MQF file: reads pieces of rows, quantizes them on several threads, writes them
/// where they belong. Memory is a few megabytes per thread whatever the model's size; the file's bytes do not depend on the
/// number of threads, and the file appears under its name only when it is complete.
///
/// - Parameters:
///   - source: a folder with config.json and safetensors files.
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
    let folder = try SafetensorsFolder(path: source)
    let plan = try ConvertPlan(source: folder, options: options)
    let sourceByteCount = plan.items.reduce(0) { $0 + $1.source.info.byteCount }
    let declarations = plan.items.map(\.target)
    // The digest has a fixed length, so the layout is known before it.
    let placeholder = plan.metadata(options: options, sourceSHA256: String(repeating: "0", count: 64))
    let layout = try MQFLayout(path: destination, metadata: placeholder, tensors: declarations)
    let report = ConvertReport(
        tensors: declarations, parameterCount: plan.items.reduce(0) { $0 + $1.source.info.elementCount },
        sourceByteCount: sourceByteCount, byteCount: layout.header.fileLength, warnings: plan.warnings)
    if options.dryRun { return report }
    // What would be in the way is found before minutes of hashing.
    try AtomicFile.checkDestination(destination, overwrite: options.overwrite)
    try checkFreeSpace(for: layout.header.fileLength, path: destination)
    progress(ConvertProgress(phase: .hashing, doneBytes: 0, totalBytes: sourceByteCount))
    let sourceSHA256 = try folder.sha256()
    progress(ConvertProgress(phase: .hashing, doneBytes: sourceByteCount, totalBytes: sourceByteCount))

    let writer = try MQFWriter(
        path: destination, metadata: plan.metadata(options: options, sourceSHA256: sourceSHA256), tensors: declarations,
        overwrite: options.overwrite)
    let pieces = plan.items.indices.flatMap { Piece.cut(plan.items[$0].source.info, index: $0) }
    let done = Mutex(0)
    try forEachInParallel(count: pieces.count, threads: options.threads) { i in
        if isInterrupted() { throw MeraserError(.interrupted, "interrupted; \(destination) was not written") }
        try pieces[i].convert(plan.items[pieces[i].index], to: writer)
        done.withLock {
            $0 += pieces[i].byteCount
            progress(ConvertProgress(phase: .converting, doneBytes: $0, totalBytes: sourceByteCount))
        }
    }
    try writer.finish()
    return report
}

/// Some rows of one tensor: what a thread converts at a time. The cut depends on the tensor's shape only.
private struct Piece: Sendable {
    let index: Int
    let rows: Range<Int>
    let byteCount: Int

    /// fp32 elements of a piece: 1 MiB.
    static let elementCount = 1 << 18

    /// Cuts a tensor into pieces that begin at multiples of 16 rows.
    static func cut(_ tensor: TensorInfo, index: Int) -> [Piece] {
        let step = max(elementCount / tensor.columns / TensorType.tileRows, 1) * TensorType.tileRows
        let rowByteCount = tensor.byteCount / tensor.rows
        return stride(from: 0, to: tensor.rows, by: step).map {
            let rows = $0..<min($0 + step, tensor.rows)
            return Piece(index: index, rows: rows, byteCount: rows.count * rowByteCount)
        }
    }

    /// Reads, checks, converts and writes these rows.
    func convert(_ item: ConvertPlan.Item, to writer: MQFWriter) throws {
        let info = item.source.info
        let columns = info.columns
        let type = item.target.type
        guard let targetCount = type.byteCount(rows: rows.count, columns: columns),
            let targetOffset = rows.lowerBound == 0 ? 0 : type.byteCount(rows: rows.lowerBound, columns: columns)
        else { preconditionFailure("tensor \(info.name): type \(type.name) with \(columns) columns") }
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
        defer { raw.deallocate() }
        let floats = UnsafeMutableBufferPointer<Float>.allocate(capacity: rows.count * columns)
        defer { floats.deallocate() }
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: targetCount, alignment: 64)
        defer { target.deallocate() }

        try item.source.file.read(into: raw, at: info.offset + rows.lowerBound * (info.byteCount / info.rows))
        var matrix = mk_matrix()
        matrix.type = Int32(info.type.rawValue)
        matrix.rows = Int64(rows.count)
        matrix.cols = Int64(columns)
        matrix.data = UnsafeRawPointer(raw.baseAddress)
        mk_dequantize(&matrix, 0, Int64(rows.count), floats.baseAddress)
        let bad = Int(mk_find_nonfinite(floats.baseAddress, Int64(floats.count)))
        guard bad < 0 else {
            throw MeraserError.badInput(
                "\(item.source.file.path): tensor '\(info.name)' has the value \(floats[bad]) in row "
                    + "\(rows.lowerBound + bad / columns), column \(bad % columns), expected finite weights")
        }
        mk_quantize(Int32(type.rawValue), floats.baseAddress, Int64(rows.count), Int64(columns), target.baseAddress)
        if let bad = firstOverflow(UnsafeRawBufferPointer(target), type: type) {
            throw MeraserError.badInput(
                "\(item.source.file.path): tensor '\(info.name)' has weights too large for \(type.name) near row "
                    + "\(rows.lowerBound + bad * rows.count / targetCount); choose f32 or bf16")
        }
        try writer.write(tensor: index, at: targetOffset, UnsafeRawBufferPointer(target))
    }

    /// The byte offset of the first number that was too large for fp16, or nil: an element that became infinite, or the
    /// scale of a tile, likewise (or the largest fp16, where it rounds down to that).
    private func firstOverflow(_ bytes: UnsafeRawBufferPointer, type: TensorType) -> Int? {
        let (step, count, limit): (Int, Int, UInt16)
        switch type {
        case .f32, .bf16: return nil
        case .f16: (step, count, limit) = (2, 1, 0x7C00)
        case .q4_0, .iq4_nl, .nf4, .q8_0:
            (step, count, limit) = (type.tileByteCount ?? bytes.count, TensorType.tileRows, 0x7BFF)
        }
        for start in stride(from: 0, to: bytes.count, by: step) {
            for i in 0..<count {
                let bits = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 2 * i, as: UInt16.self))
                if bits & 0x7FFF >= limit { return start + 2 * i }
            }
        }
        return nil
    }
}
