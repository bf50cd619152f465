import Base
import CKernels

/// The rows of a tensor that lies in a file as `TensorInfo` says, read by `pread` so that no page of the map becomes
/// resident.
struct StoredRows: TensorRows {
    let view: TensorView
    /// Hashes what is read, if there is one.
    var digest: FileDigest?

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        let (info, place) = (view.info, view.info.place(of: rows))
        if raw.count < place.count { raw = [UInt8](repeating: 0, count: place.count) }
        try raw.withUnsafeMutableBytes {
            try read(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<place.count]), place)
        }
        raw.withUnsafeBytes { bytes in
            // Tiles begin with the group that holds the first row.
            let first = info.type.isTiled ? rows.lowerBound % TensorType.tileRows : 0
            var matrix = mk_matrix(
                type: Int32(info.type.rawValue), rows: Int64(first + rows.count), cols: Int64(info.columns),
                data: bytes.baseAddress)
            mk_dequantize(&matrix, Int64(first), Int64(rows.count), target)
        }
    }

    func readTiles(rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws {
        try read(into: target, view.info.place(of: rows))
    }

    private func read(into target: UnsafeMutableRawBufferPointer, _ place: Range<Int>) throws {
        if let digest {
            try digest.read(into: target, at: place.lowerBound)
        } else {
            try view.file.read(into: target, at: place.lowerBound)
        }
        // The disk goes on while these are worked on.
        view.file.willNeed(at: place.upperBound, count: place.count)
    }
}

extension TensorInfo {
    /// Where those rows lie in the file; of tiles, the groups of 16 that hold them.
    fileprivate func place(of range: Range<Int>) -> Range<Int> {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "tensor \(name): rows \(range) of \(rows)")
        let group = type.isTiled ? TensorType.tileRows : 1
        let groupByteCount = byteCount / ((rows - 1) / group + 1)
        let (first, end) = (range.lowerBound / group, (range.upperBound - 1) / group + 1)
        let start = offset + first * groupByteCount  // bounded: inside the tensor
        return start..<offset + end * groupByteCount  // bounded: inside the tensor
    }
}

extension WeightStore {
    /// What there is under that name; nil if there is nothing. Errors (`badInput`) as `tensor`.
    public func entry(_ name: String) throws -> TensorEntry? {
        guard hasTensor(name) else { return nil }
        let view = try tensor(name)
        return TensorEntry(
            name: name, shape: view.info.shape, exactType: view.info.type, byteCount: view.info.byteCount,
            path: view.file.path, offset: view.info.offset)
    }

    /// The rows of that tensor. Errors (`badInput`) as `tensor`.
    public func rows(of name: String) throws -> any TensorRows { StoredRows(view: try tensor(name)) }
}
