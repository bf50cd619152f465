import Base
import CKernels
import Synchronization

/// Where a pump writes: a file, or files, whose tensors have been declared in order. Thread-safe.
public protocol RowSink: Sendable {
    /// Writes a piece of tensor number `index` that begins `offset` bytes into it; each byte comes once.
    /// Errors: `runtime`, such as a full disk.
    func write(tensor index: Int, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws
}

/// Carries the rows of a source to a sink in pieces on several threads: as tiles where the source has the type that is
/// written, else by way of fp32, checked and encoded. Memory is a few megabytes a thread whatever the model's size; what is
/// written does not depend on the number of threads.
struct RowPump {
    /// A tensor's source and target, which have one shape.
    struct Item: Sendable {
        let source: TensorEntry
        let target: TensorDeclaration
    }

    let source: any TensorSource
    /// In the sink's order.
    let items: [Item]
    let threads: Int

    private let pool = Pool(RowMemory.init)

    /// Elements of a piece: as fp32 they stay in a core's cache.
    private static let pieceElements = 1 << 17

    private struct Piece: Sendable {
        let item: Int
        let rows: Range<Int>
    }

    init(source: any TensorSource, items: [Item], threads: Int) {
        precondition(threads >= 1, "\(threads) threads")
        (self.source, self.items, self.threads) = (source, items, threads)
    }

    /// Writes every tensor. `check` is called before each piece, `progress` behind it, never by two threads at once.
    ///
    /// - Throws: `badInput` for a weight that is not finite or too large for its type, `runtime` for a full disk, and what
    ///   `check` and the source throw.
    func run(
        to sink: any RowSink, check: @Sendable () throws -> Void, progress: @Sendable (ConvertProgress) -> Void
    ) throws {
        let total = items.reduce(0) { $0 + $1.source.byteCount }
        let done = Mutex(0)
        // Computed weights are got ready one after the other, what lies in files all at once.
        let batches = source is any StoredSource ? [items.indices] : items.indices.map { $0..<$0 + 1 }
        for batch in batches {
            let rows = try items[batch].map { try source.rows(of: $0.source.name) }
            let pieces = inReadingOrder(batch)
            try forEachInParallel(count: pieces.count, threads: threads) { index in
                let piece = pieces[index]
                try check()
                try pool.lend { try carry(piece, rows[piece.item - batch.lowerBound], $0, to: sink) }
                let entry = items[piece.item].source
                done.withLock {
                    $0 += piece.rows.count * (entry.byteCount / entry.rows)  // bounded: the source's bytes
                    progress(ConvertProgress(doneBytes: $0, totalBytes: total))
                }
            }
        }
    }

    /// The pieces of those items as they lie in the files, of as many files at a time as there are threads.
    private func inReadingOrder(_ batch: Range<Int>) -> [Piece] {
        let order = batch.sorted { (items[$0].source.offset, $0) < (items[$1].source.offset, $1) }
        var files = Dictionary(grouping: order) { items[$0].source.path }.sorted { $0.key < $1.key }
            .map { ArraySlice($0.value.flatMap(cut)) }
        var result: [Piece] = []
        while !files.isEmpty {
            for file in files.indices.prefix(threads) { result.append(files[file].removeFirst()) }
            files.removeAll(where: \.isEmpty)
        }
        return result
    }

    /// The pieces of a tensor: whole groups of 16 rows.
    private func cut(_ item: Int) -> [Piece] {
        let entry = items[item].source
        let groups = max(Self.pieceElements / entry.columns / TensorType.tileRows, 1)
        let step = groups * TensorType.tileRows  // bounded: at most pieceElements, or 16
        return stride(from: 0, to: entry.rows, by: step).map {
            Piece(item: item, rows: $0..<min($0 + step, entry.rows))
        }
    }

    private func carry(_ piece: Piece, _ rows: any TensorRows, _ memory: RowMemory, to sink: any RowSink) throws {
        let item = items[piece.item]
        let bytes = memory.bytes(byteCount(item, rows: piece.rows.count))
        if item.target.type.isTiled, item.source.exactType == item.target.type {
            try rows.readTiles(rows: piece.rows, into: bytes, raw: &memory.raw)
            try refuse(firstHalf(of: bytes, item.target.type, from: 0x7C00), item, piece, bytes.count) {
                "has a scale that is not finite near row \($0), expected finite weights"
            }
        } else {
            try encode(item, piece, rows, memory, bytes)
        }
        try sink.write(
            tensor: piece.item, at: byteCount(item, rows: piece.rows.lowerBound), UnsafeRawBufferPointer(bytes))
    }

    private func encode(
        _ item: Item, _ piece: Piece, _ rows: any TensorRows, _ memory: RowMemory,
        _ bytes: UnsafeMutableRawBufferPointer
    ) throws {
        let (entry, type) = (item.source, item.target.type)
        let count = piece.rows.count * entry.columns  // bounded: a piece
        let floats = memory.floats(count)
        guard let start = floats.baseAddress else { return }
        try rows.read(rows: piece.rows, into: start, raw: &memory.raw)
        try entry.requireFinite(UnsafeBufferPointer(rebasing: floats[..<count]), firstRow: piece.rows.lowerBound)
        if entry.plainType != .f32, entry.plainType != type, !(source is any StoredSource) {
            // Computed weights are what a folder of them would hold.
            mk_merge_round(Int32(entry.plainType.rawValue), start, Int64(count))
            let bad = Int(mk_find_nonfinite(start, Int64(count)))
            try refuse(bad < 0 ? nil : bad, item, piece, count) {
                "has weights too large for \(entry.plainType.name) near row \($0); choose f32 or bf16"
            }
        }
        mk_quantize(Int32(type.rawValue), start, Int64(piece.rows.count), Int64(entry.columns), bytes.baseAddress)
        try refuse(firstOverflow(of: bytes, type), item, piece, bytes.count) {
            "has weights too large for \(type.name) near row \($0); choose f32 or bf16"
        }
    }

    /// Throws what is wrong with the number at `place` of `count`; nothing is wrong if that is nil.
    private func refuse(_ place: Int?, _ item: Item, _ piece: Piece, _ count: Int, _ what: (Int) -> String) throws {
        guard let place else { return }
        let row = piece.rows.lowerBound + place * piece.rows.count / count  // bounded: a piece
        throw MeraserError.badInput("\(item.source.path): tensor '\(item.source.name)' \(what(row))")
    }

    /// Bytes of that many rows in the sink.
    private func byteCount(_ item: Item, rows: Int) -> Int {
        guard rows > 0 else { return 0 }
        guard let count = item.target.type.byteCount(rows: rows, columns: item.source.columns) else {
            preconditionFailure("tensor \(item.source.name): \(item.target.type.name) x \(item.source.columns)")
        }
        return count
    }

    /// The byte offset of the first number that was too large for fp16, or nil: an element that became infinite, or the
    /// scale or minimum of a tile, likewise (or the largest fp16, where it rounds down to that).
    private func firstOverflow(of bytes: UnsafeMutableRawBufferPointer, _ type: TensorType) -> Int? {
        switch type {
        case .f32, .bf16: nil
        case .f16: firstHalf(of: bytes, type, from: 0x7C00)
        case .q4_0, .q4_1, .q4_k, .q5_k, .q6_k, .iq4_nl, .nf4, .q8_0: firstHalf(of: bytes, type, from: 0x7BFF)
        }
    }

    /// The byte offset of the first fp16 number, of tiles the first scale or minimum, whose magnitude's bits are at least
    /// `limit`.
    private func firstHalf(of bytes: UnsafeMutableRawBufferPointer, _ type: TensorType, from limit: UInt16) -> Int? {
        let count = type.isTiled ? type.tileHalfCount : 1
        for start in stride(from: 0, to: bytes.count, by: type.tileByteCount ?? 2) {
            for i in 0..<count {
                let place = start + 2 * i  // bounded: a tile
                let bits = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt16.self))
                if bits & 0x7FFF >= limit { return place }
            }
        }
        return nil
    }
}

/// What one thread works in.
private final class RowMemory {
    /// Bytes as read.
    var raw: [UInt8] = []
    private var floats = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
    private var bytes = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit {
        floats.deallocate()
        bytes.deallocate()
    }

    /// Room for that many numbers.
    func floats(_ count: Int) -> UnsafeMutableBufferPointer<Float> {
        if floats.count < count {
            floats.deallocate()
            floats = .allocate(capacity: count)
        }
        return UnsafeMutableBufferPointer(rebasing: floats[..<count])
    }

    /// Room for that many bytes to write.
    func bytes(_ count: Int) -> UnsafeMutableRawBufferPointer {
        if bytes.count < count {
            bytes.deallocate()
            bytes = .allocate(byteCount: count, alignment: 64)
        }
        return UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
    }
}
