import Base
import CKernels

/// Converts rows of one tensor from its type in the source to its type in the MQF file. Keeps nothing between calls.
struct RowConverter: Sendable {
    let item: ConvertPlan.Item
    /// Index of the tensor in the MQF file.
    let index: Int

    /// Checks and converts `rows`, whose bytes are `raw`, in the item's plain type, and writes them. Errors as below.
    func convert(_ rows: Range<Int>, _ raw: UnsafeRawBufferPointer, to writer: MQFWriter) throws {
        guard let type = item.source.exactType, !type.isTiled else {
            preconditionFailure("\(item.source.name) has no plain type")
        }
        let rowByteCount = raw.count / rows.count
        try convert(rows, to: writer) { part, floats in
            var matrix = mk_matrix(
                type: Int32(type.rawValue), rows: Int64(part.count), cols: Int64(item.source.columns),
                data: raw.baseAddress.map { $0 + (part.lowerBound - rows.lowerBound) * rowByteCount })
            mk_dequantize(&matrix, 0, Int64(part.count), floats)
        }
    }

    /// Checks and converts `rows`, which `read` gives as fp32, and writes them. 16 rows at a time are asked for, so that
    /// they stay in the cache.
    ///
    /// - Throws: `badInput` for a weight that is not finite or too large for the type, `runtime` for a full disk.
    func convert(
        _ rows: Range<Int>, to writer: MQFWriter, read: (Range<Int>, UnsafeMutablePointer<Float>) throws -> Void
    ) throws {
        let type = item.target.type
        let columns = item.source.columns
        let group = TensorType.tileRows
        let floats = UnsafeMutableBufferPointer<Float>.allocate(capacity: min(group, rows.count) * columns)
        defer { floats.deallocate() }
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount(rows.count), alignment: 64)
        defer { target.deallocate() }
        for place in stride(from: 0, to: rows.count, by: group) {
            let count = min(group, rows.count - place)
            if let start = floats.baseAddress {
                try read(rows.lowerBound + place..<rows.lowerBound + place + count, start)
            }
            let bad = Int(mk_find_nonfinite(floats.baseAddress, Int64(count * columns)))
            guard bad < 0 else {
                throw MeraserError.badInput(
                    "\(item.source.path): tensor '\(item.source.name)' has the value \(floats[bad]) in row "
                        + "\(rows.lowerBound + place + bad / columns), column \(bad % columns), expected finite weights"
                )
            }
            mk_quantize(
                Int32(type.rawValue), floats.baseAddress, Int64(count), Int64(columns),
                target.baseAddress.map { $0 + byteCount(place) })
        }
        if let bad = firstOverflow(UnsafeRawBufferPointer(target)) {
            throw MeraserError.badInput(
                "\(item.source.path): tensor '\(item.source.name)' has weights too large for \(type.name) near row "
                    + "\(rows.lowerBound + bad * rows.count / target.count); choose f32 or bf16")
        }
        try writer.write(tensor: index, at: byteCount(rows.lowerBound), UnsafeRawBufferPointer(target))
    }

    /// Writes `rows` of a tensor whose tiles are in the source, as `read` gives them.
    ///
    /// - Throws: `badInput` for a scale that is not finite, `runtime` for a full disk.
    func copyTiles(
        _ rows: Range<Int>, to writer: MQFWriter, read: (UnsafeMutableRawBufferPointer) throws -> Void
    ) throws {
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount(rows.count), alignment: 64)
        defer { target.deallocate() }
        try read(target)
        let tiles = UnsafeRawBufferPointer(target)
        if let bad = firstHalf(of: tiles, from: 0x7C00) {
            throw MeraserError.badInput(
                "\(item.source.path): tensor '\(item.source.name)' has a scale that is not finite near row "
                    + "\(rows.lowerBound + bad * rows.count / target.count), expected finite weights")
        }
        try writer.write(tensor: index, at: byteCount(rows.lowerBound), tiles)
    }

    /// Bytes of that many rows in the MQF file.
    private func byteCount(_ rows: Int) -> Int {
        guard rows > 0 else { return 0 }
        guard let count = item.target.type.byteCount(rows: rows, columns: item.source.columns) else {
            preconditionFailure(
                "tensor \(item.source.name): \(item.target.type.name) x \(item.source.columns)")
        }
        return count
    }

    /// The byte offset of the first number that was too large for fp16, or nil: an element that became infinite, or the
    /// scale or minimum of a tile, likewise (or the largest fp16, where it rounds down to that).
    private func firstOverflow(_ bytes: UnsafeRawBufferPointer) -> Int? {
        switch item.target.type {
        case .f32, .bf16: nil
        case .f16: firstHalf(of: bytes, from: 0x7C00)
        case .q4_0, .q4_1, .q4_k, .q5_k, .q6_k, .iq4_nl, .nf4, .q8_0: firstHalf(of: bytes, from: 0x7BFF)
        }
    }

    /// The byte offset of the first fp16 number, of tiles the first scale or minimum, whose magnitude's bits are at least
    /// `limit`.
    private func firstHalf(of bytes: UnsafeRawBufferPointer, from limit: UInt16) -> Int? {
        let step = item.target.type.tileByteCount ?? 2
        let count = item.target.type.isTiled ? item.target.type.tileHalfCount : 1
        for start in stride(from: 0, to: bytes.count, by: step) {
            for i in 0..<count {
                let bits = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 2 * i, as: UInt16.self))
                if bits & 0x7FFF >= limit { return start + 2 * i }
            }
        }
        return nil
    }
}
