import Base

// swift-format-ignore: AlwaysUseLowerCamelCase
/// The element type of a stored tensor. Raw values are GGUF's `ggml_type` ids where GGUF has the type; `nf4` is ours and
/// lies outside GGUF's range. The bytes of each type are described in docs/format.md.
public enum TensorType: UInt32, Sendable, CaseIterable {
    /// IEEE binary32, row-major.
    case f32 = 0
    /// IEEE binary16, row-major.
    case f16 = 1
    /// 4 bits, w = d·(q − 8), in tiles.
    case q4_0 = 2
    /// 8 bits, w = d·q, in tiles.
    case q8_0 = 8
    /// 4 bits with ggml's non-linear codebook, in tiles.
    case iq4_nl = 20
    /// The upper half of an IEEE binary32, row-major.
    case bf16 = 30
    /// 4 bits with the NF4 codebook rounded to int8, in tiles.
    case nf4 = 1001

    /// Rows of a tile.
    public static let tileRows = 16
    /// Columns of a tile: weights that share a scale.
    public static let tileColumns = 32

    /// The name that command lines and messages use: `iq4_nl`, `bf16`, …
    public var name: String {
        switch self {
        case .f32: "f32"
        case .f16: "f16"
        case .q4_0: "q4_0"
        case .q8_0: "q8_0"
        case .iq4_nl: "iq4_nl"
        case .bf16: "bf16"
        case .nf4: "nf4"
        }
    }

    /// The type of that name (as `name` spells it, any case), or nil.
    public init?(name: String) {
        let lower = name.lowercased()
        guard let type = Self.allCases.first(where: { $0.name == lower }) else { return nil }
        self = type
    }

    /// True for the types that are stored in tiles of 16 rows × 32 columns.
    public var isTiled: Bool { tileByteCount != nil }

    /// True for the tiled types of 4 bits.
    public var is4Bit: Bool { tileByteCount == 288 }

    /// Bytes of one tile (16 fp16 scales, then the quants); nil for plain types.
    public var tileByteCount: Int? {
        switch self {
        case .q8_0: 544
        case .q4_0, .iq4_nl, .nf4: 288
        case .f32, .f16, .bf16: nil
        }
    }

    /// Bytes of one element of a plain type; nil for tiled types.
    public var elementByteCount: Int? {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q8_0, .q4_0, .iq4_nl, .nf4: nil
        }
    }

    /// Bytes of a `rows` × `columns` matrix, padding rows of tiles included; nil if a count is below 1, if the product
    /// overflows, or if the type is tiled and `columns` is no multiple of 32.
    public func byteCount(rows: Int, columns: Int) -> Int? {
        guard rows >= 1, columns >= 1 else { return nil }
        if let elementByteCount {
            return product(rows, columns, elementByteCount)
        }
        guard let tileByteCount, columns % Self.tileColumns == 0 else { return nil }
        let groups = (rows - 1) / Self.tileRows + 1
        return product(groups, columns / Self.tileColumns, tileByteCount)
    }
}
