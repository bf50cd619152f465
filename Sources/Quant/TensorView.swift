import Base
import CKernels

/// A tensor where it lies in a mapped file: nothing is copied until `floats` is called. Keeps the map alive.
///
/// Thread-safe: the bytes are read-only.
public struct TensorView: Sendable {
    /// Name, type, shape and place.
    public let info: TensorInfo
    /// The file that the bytes lie in.
    public let file: MappedFile

    /// A view of a tensor whose bytes lie inside the file: a precondition, since readers have checked it.
    public init(info: TensorInfo, file: MappedFile) {
        precondition(
            info.offset >= 0 && info.byteCount >= 0 && info.offset <= file.count - info.byteCount,
            "tensor \(info.name): \(info.byteCount) bytes at \(info.offset) in a file of \(file.count)")
        self.info = info
        self.file = file
    }

    /// The first byte. Valid while `file` lives; plain types of safetensors files may be unaligned.
    public var baseAddress: UnsafeRawPointer { file.baseAddress + info.offset }

    /// The bytes, as stored. Valid while `file` lives.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: baseAddress, count: info.byteCount) }

    /// All elements as fp32, row-major `[rows, columns]`, without padding rows.
    public func floats() -> [Float] { floats(rows: 0..<info.rows) }

    /// The elements of those rows as fp32, row-major. The range must lie inside `0..<info.rows`.
    public func floats(rows: Range<Int>) -> [Float] {
        precondition(
            rows.lowerBound >= 0 && rows.upperBound <= info.rows,
            "tensor \(info.name): rows \(rows) of \(info.rows)")
        guard !rows.isEmpty else { return [] }
        var matrix = mk_matrix()
        matrix.type = Int32(info.type.rawValue)
        matrix.rows = Int64(info.rows)
        matrix.cols = Int64(info.columns)
        matrix.data = baseAddress
        let elementCount = rows.count * info.columns  // bounded: at most the tensor's
        return [Float](unsafeUninitializedCapacity: elementCount) { buffer, count in
            mk_dequantize(&matrix, Int64(rows.lowerBound), Int64(rows.count), buffer.baseAddress)
            count = elementCount
        }
    }
}
