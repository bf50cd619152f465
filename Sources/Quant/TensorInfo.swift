/// What a directory says about one tensor. Only readers and writers make one, and they have checked that the shape, the
/// type and the byte count agree and that the bytes lie inside the file.
public struct TensorInfo: Sendable, Equatable {
    /// Hugging Face's name, such as `model.layers.0.self_attn.q_proj.weight`.
    public let name: String
    /// Element type.
    public let type: TensorType
    /// One dimension, or two: rows, columns.
    public let shape: [Int]
    /// Where the bytes begin, from the start of the file.
    public let offset: Int
    /// How many bytes the tensor has, padding rows of tiles included.
    public let byteCount: Int
    /// CRC32C of the bytes, where the file records one (MQF).
    public let crc32c: UInt32?

    /// An entry whose values the caller has checked.
    public init(name: String, type: TensorType, shape: [Int], offset: Int, byteCount: Int, crc32c: UInt32?) {
        self.name = name
        self.type = type
        self.shape = shape
        self.offset = offset
        self.byteCount = byteCount
        self.crc32c = crc32c
    }

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.count == 2 ? shape[1] : (shape.first ?? 1) }
    /// Elements, without the padding rows of tiles.
    public var elementCount: Int { rows * columns }  // bounded: at most two a byte
}

/// Bytes that `TensorType.byteCount` gives for a shape of one or two dimensions; nil for any other.
func byteCount(of type: TensorType, shape: [Int]) -> Int? {
    switch shape.count {
    case 1: type.byteCount(rows: 1, columns: shape[0])
    case 2: type.byteCount(rows: shape[0], columns: shape[1])
    default: nil
    }
}
