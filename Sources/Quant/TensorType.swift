import Base

// swift-format-ignore: AlwaysUseLowerCamelCase
/// The element type of a stored tensor. Raw values are GGUF's `ggml_type` ids where GGUF has the type; `nf4` is ours and
/// lies outside GGUF's range. The bytes of each type are described in docs/reference/format.md.
public enum TensorType: UInt32, Sendable, CaseIterable {
    /// IEEE binary32, row-major.
    case f32 = 0
    /// IEEE binary16, row-major.
    case f16 = 1
    /// 4 bits, w = d·(q − 8), in tiles.
    case q4_0 = 2
    /// 4 bits with a minimum, w = d·q + m, in tiles.
    case q4_1 = 3
    /// 8 bits, w = d·q, in tiles.
    case q8_0 = 8
    /// 4 bits with scales and minimums of 6 bits in super-blocks of 256, in tiles.
    case q4_k = 12
    /// 5 bits, else as q4_k.
    case q5_k = 13
    /// 6 bits with scales of 8 bits in super-blocks of 256, in tiles.
    case q6_k = 14
    /// 4 bits with ggml's non-linear codebook, in tiles.
    case iq4_nl = 20
    /// The upper half of an IEEE binary32, row-major.
    case bf16 = 30
    /// 4 bits with the NF4 codebook rounded to int8, in tiles.
    case nf4 = 1001

    /// Rows of a tile.
    public static let tileRows = 16
    /// The name that command lines and messages use: `iq4_nl`, `bf16`, …
    public var name: String {
        switch self {
        case .f32: "f32"
        case .f16: "f16"
        case .q4_0: "q4_0"
        case .q4_1: "q4_1"
        case .q8_0: "q8_0"
        case .q4_k: "q4_k"
        case .q5_k: "q5_k"
        case .q6_k: "q6_k"
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

    /// True for the types that are stored in tiles of 16 rows.
    public var isTiled: Bool { tileByteCount != nil }

    /// Columns of a tile: 32, or a super-block's 256; 1 for plain types. A matrix has whole tiles.
    public var tileColumns: Int {
        switch self {
        case .q8_0, .q4_0, .q4_1, .iq4_nl, .nf4: 32
        case .q4_k, .q5_k, .q6_k: 256
        case .f32, .f16, .bf16: 1
        }
    }

    /// Bytes of one tile; nil for plain types.
    public var tileByteCount: Int? {
        switch self {
        case .q8_0: 544
        case .q4_0, .iq4_nl, .nf4: 288
        case .q4_1: 320
        case .q4_k: 2368
        case .q5_k: 2880
        case .q6_k: 3392
        case .f32, .f16, .bf16: nil
        }
    }

    /// fp16 numbers that a tile begins with: the rows' scales, then the minimums of the types that have some; 0 for plain
    /// types.
    var tileHalfCount: Int {
        switch self {
        case .q8_0, .q4_0, .iq4_nl, .nf4, .q6_k: Self.tileRows
        case .q4_1, .q4_k, .q5_k: Self.tileRows + Self.tileRows
        case .f32, .f16, .bf16: 0
        }
    }

    /// Bytes of one element of a plain type; nil for tiled types.
    public var elementByteCount: Int? {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q8_0, .q4_0, .q4_1, .q4_k, .q5_k, .q6_k, .iq4_nl, .nf4: nil
        }
    }

    /// Bytes of a `rows` × `columns` matrix, padding rows of tiles included; nil if a count is below 1, if the product
    /// overflows, or if the type is tiled and `columns` make no whole tiles.
    public func byteCount(rows: Int, columns: Int) -> Int? {
        guard rows >= 1, columns >= 1 else { return nil }
        if let elementByteCount {
            return product(rows, columns, elementByteCount)
        }
        guard let tileByteCount, columns % tileColumns == 0 else { return nil }
        let groups = (rows - 1) / Self.tileRows + 1
        return product(groups, columns / tileColumns, tileByteCount)
    }
}
