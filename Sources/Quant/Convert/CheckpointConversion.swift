/// The conversion of a checkpoint whose weights are computed one tensor after the other: the same plan, rows and file as
/// `convert` makes from a folder.
public final class CheckpointConversion: Sendable {
    /// What is being written.
    public let report: ConvertReport
    /// The tensors in the order in which the file has them; only these are wanted.
    public var tensorNames: [String] { plan.items.map(\.source.name) }

    private let plan: ConvertPlan
    private let writer: MQFWriter?
    private let threads: Int

    /// Checks everything that can be known without the weights and creates the temporary file (not with `dryRun`).
    /// Errors: as `convert`.
    public init(source: any TensorSource, destination: String, options: ConvertOptions) throws {
        plan = try ConvertPlan(source: source, options: options)
        let metadata = plan.metadata(options: options, sourceSHA256: nil)
        report = try plan.report(destination: destination, metadata: metadata)
        threads = options.threads
        writer =
            options.dryRun
            ? nil
            : try MQFWriter(
                path: destination, metadata: metadata, tensors: plan.items.map(\.target), overwrite: options.overwrite)
    }

    /// Converts and writes tensor number `index` of `tensorNames`, all of it: row-major, in the source's type.
    /// Errors: `badInput` for a weight that is not finite or too large for the type, `runtime` for a full disk.
    public func write(tensor index: Int, _ bytes: UnsafeRawBufferPointer) throws {
        guard let writer else { preconditionFailure("a dry run writes nothing") }
        let item = plan.items[index]
        let rowByteCount = item.source.columns * (item.source.exactType?.elementByteCount ?? 0)
        precondition(bytes.count == item.source.rows * rowByteCount, "\(item.source.name): \(bytes.count) bytes")
        let converter = RowConverter(item: item, index: index)
        let step = max((1 << 20) / item.source.columns / TensorType.tileRows, 1) * TensorType.tileRows
        // The pointer is only read, and the call returns when all threads are done.
        nonisolated(unsafe) let source = bytes
        let rows = item.source.rows
        try forEachInParallel(count: (rows + step - 1) / step, threads: threads) { piece in
            let range = piece * step..<min((piece + 1) * step, rows)
            let part = source[range.lowerBound * rowByteCount..<range.upperBound * rowByteCount]
            try converter.convert(range, UnsafeRawBufferPointer(rebasing: part), to: writer)
        }
    }

    /// Completes the file and gives it its name. All tensors must have been written: a precondition.
    public func finish() throws { try writer?.finish() }
}

extension ConvertPlan {
    /// What the conversion will write.
    func report(destination: String, metadata: Metadata) throws -> ConvertReport {
        let declarations = items.map(\.target)
        let layout = try MQFLayout(path: destination, metadata: metadata, tensors: declarations)
        return ConvertReport(
            tensors: declarations, parameterCount: items.reduce(0) { $0 + $1.source.elementCount },
            sourceByteCount: items.reduce(0) { $0 + $1.source.byteCount }, byteCount: layout.header.fileLength,
            warnings: warnings)
    }
}
