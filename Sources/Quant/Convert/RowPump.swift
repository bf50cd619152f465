import Synchronization

/// Carries the rows of a source to an MQF file in pieces on several threads: as tiles where the source has the type that
/// is written, else by way of fp32. Memory is a few megabytes a thread whatever the model's size; the file's bytes do not
/// depend on the number of threads.
struct RowPump {
    let source: any RowSource
    let plan: ConvertPlan

    /// Elements of a piece at most.
    private static let pieceElements = 1 << 20

    private struct Piece: Sendable {
        let item: Int
        let rows: Range<Int>
    }

    /// Writes every tensor of the plan.
    ///
    /// - Throws: `badInput` for a weight that is not finite or too large for its type, `runtime` for a full disk, and what
    ///   `isInterrupted` and the source throw.
    func run(
        to writer: MQFWriter, threads: Int, check: @Sendable () throws -> Void,
        progress: @Sendable (ConvertProgress) -> Void
    ) throws {
        let pieces = plan.items.indices.flatMap { cut($0) }
        let total = plan.items.reduce(0) { $0 + $1.source.byteCount }
        let done = Mutex(0)
        try forEachInParallel(count: pieces.count, threads: threads) { index in
            try check()
            let piece = pieces[index]
            let item = plan.items[piece.item]
            let converter = RowConverter(item: item, index: piece.item)
            var raw: [UInt8] = []
            if item.target.type.isTiled, item.source.exactType == item.target.type {
                try converter.copyTiles(piece.rows, to: writer) {
                    try source.readTiles(item.source, rows: piece.rows, into: $0, raw: &raw)
                }
            } else {
                try converter.convert(piece.rows, to: writer) {
                    try source.read(item.source, rows: $0, into: $1, raw: &raw)
                }
            }
            done.withLock {
                $0 += piece.rows.count * (item.source.byteCount / item.source.rows)
                progress(ConvertProgress(doneBytes: $0, totalBytes: total))
            }
        }
    }

    /// The pieces of a tensor: whole groups of 16 rows.
    private func cut(_ index: Int) -> [Piece] {
        let entry = plan.items[index].source
        let step = max(Self.pieceElements / entry.columns / TensorType.tileRows, 1) * TensorType.tileRows
        return stride(from: 0, to: entry.rows, by: step).map {
            Piece(item: index, rows: $0..<min($0 + step, entry.rows))
        }
    }
}
