import CKernels

/// Converts rows of one tensor from its type in the source to its type in the MQF file. Keeps nothing between calls.
struct RowConverter: Sendable {
    let item: ConvertPlan.Item
    /// Index of the tensor in the MQF file.
    let index: Int

    /// Checks and converts `rows`, whose bytes are `raw`, and writes them. 16 rows at a time go through fp32, so that these
    /// stay in the cache.
    ///
    /// - Throws: `badInput` for a weight that is not finite or too large for the type, `runtime` for a full disk.
    func convert(_ rows: Range<Int>, _ raw: UnsafeRawBufferPointer, to writer: MQFWriter) throws {
        let type = item.target.type
        let columns = item.source.columns
        let group = TensorType.tileRows
        let floats = UnsafeMutableBufferPointer<Float>.allocate(capacity: min(group, rows.count) * columns)
        defer { floats.deallocate() }
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount(rows.count), alignment: 64)
        defer { target.deallocate() }
        let rowByteCount = raw.count / rows.count
        for start in stride(from: 0, to: rows.count, by: group) {
            let count = min(group, rows.count - start)
            var matrix = mk_matrix()
            matrix.type = Int32(item.source.type.rawValue)
            matrix.rows = Int64(count)
            matrix.cols = Int64(columns)
            matrix.data = raw.baseAddress.map { $0 + start * rowByteCount }
            mk_dequantize(&matrix, 0, Int64(count), floats.baseAddress)
            let bad = Int(mk_find_nonfinite(floats.baseAddress, Int64(count * columns)))
            guard bad < 0 else {
                throw MeraserError.badInput(
                    "\(item.path): tensor '\(item.source.name)' has the value \(floats[bad]) in row "
                        + "\(rows.lowerBound + start + bad / columns), column \(bad % columns), expected finite weights"
                )
            }
            mk_quantize(
                Int32(type.rawValue), floats.baseAddress, Int64(count), Int64(columns),
                target.baseAddress.map { $0 + byteCount(start) })
        }
        if let bad = firstOverflow(UnsafeRawBufferPointer(target)) {
            throw MeraserError.badInput(
                "\(item.path): tensor '\(item.source.name)' has weights too large for \(type.name) near row "
                    + "\(rows.lowerBound + bad * rows.count / target.count); choose f32 or bf16")
        }
        try writer.write(tensor: index, at: byteCount(rows.lowerBound), UnsafeRawBufferPointer(target))
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
    /// scale of a tile, likewise (or the largest fp16, where it rounds down to that).
    private func firstOverflow(_ bytes: UnsafeRawBufferPointer) -> Int? {
        let (step, count, limit): (Int, Int, UInt16)
        switch item.target.type {
        case .f32, .bf16: return nil
        case .f16: (step, count, limit) = (2, 1, 0x7C00)
        case .q4_0, .iq4_nl, .nf4, .q8_0:
            (step, count, limit) = (item.target.type.tileByteCount ?? bytes.count, TensorType.tileRows, 0x7BFF)
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
