import Base
import CKernels

// swift-format-ignore: AlwaysUseLowerCamelCase
/// The element types of GGUF files. Raw values are the ids of ggml's `ggml_type`; ids that ggml has given up (4, 5, 31 to
/// 33, 36 to 38) are none.
///
/// Source: ggml/include/ggml.h, gguf/constants.py.
public enum GGMLType: UInt32, Sendable, CaseIterable {
    case f32 = 0
    case f16 = 1
    case q4_0 = 2
    case q4_1 = 3
    case q5_0 = 6
    case q5_1 = 7
    case q8_0 = 8
    case q8_1 = 9
    case q2_k = 10
    case q3_k = 11
    case q4_k = 12
    case q5_k = 13
    case q6_k = 14
    case q8_k = 15
    case iq2_xxs = 16
    case iq2_xs = 17
    case iq3_xxs = 18
    case iq1_s = 19
    case iq4_nl = 20
    case iq3_s = 21
    case iq2_s = 22
    case iq4_xs = 23
    case i8 = 24
    case i16 = 25
    case i32 = 26
    case i64 = 27
    case f64 = 28
    case iq1_m = 29
    case bf16 = 30
    case tq1_0 = 34
    case tq2_0 = 35
    case mxfp4 = 39
    case nvfp4 = 40
    case q1_0 = 41

    /// How the weights of a type come into a model.
    public enum Reading: Sendable, Equatable {
        /// A model file holds the same numbers in this type.
        case exactly(TensorType)
        /// As fp32, from which they are quantized anew.
        case requantizing
        /// Not at all.
        case not
    }

    /// How weights of this type are read.
    public var reading: Reading {
        switch self {
        case .f32: .exactly(.f32)
        case .f16: .exactly(.f16)
        case .bf16: .exactly(.bf16)
        case .q8_0: .exactly(.q8_0)
        case .q4_0: .exactly(.q4_0)
        case .iq4_nl: .exactly(.iq4_nl)
        case .q4_1: .exactly(.q4_1)
        case .q4_k: .exactly(.q4_k)
        case .q5_k: .exactly(.q5_k)
        case .q6_k: .exactly(.q6_k)
        case .q5_0, .q5_1, .q2_k, .q3_k, .iq4_xs: .requantizing
        case .q8_1, .q8_k, .iq2_xxs, .iq2_xs, .iq3_xxs, .iq1_s, .iq3_s, .iq2_s, .i8, .i16, .i32, .i64, .f64, .iq1_m,
            .tq1_0, .tq2_0, .mxfp4, .nvfp4, .q1_0:
            .not
        }
    }

    /// The plain type of its elements; nil for blocks and for plain types that are not read.
    public var plain: TensorType? {
        if case .exactly(let type) = reading, !type.isTiled { return type }
        return nil
    }

    /// The name that messages use: `q4_k`, `iq4_nl`, …
    public var name: String { String(describing: self) }

    /// Elements of a block; 1 for plain types. A row has whole blocks.
    public var blockElements: Int { size.elements }
    /// Bytes of a block.
    public var blockBytes: Int { size.bytes }

    private var size: (elements: Int, bytes: Int) {
        switch self {
        case .f32, .i32: (1, 4)
        case .f16, .bf16, .i16: (1, 2)
        case .i8: (1, 1)
        case .i64, .f64: (1, 8)
        case .q4_0, .iq4_nl: (32, 18)
        case .q4_1: (32, 20)
        case .q5_0: (32, 22)
        case .q5_1: (32, 24)
        case .q8_0: (32, 34)
        case .q8_1: (32, 40)
        case .mxfp4: (32, 17)
        case .nvfp4: (64, 36)
        case .q1_0: (128, 18)
        case .q2_k: (256, 84)
        case .q3_k: (256, 110)
        case .q4_k: (256, 144)
        case .q5_k: (256, 176)
        case .q6_k: (256, 210)
        case .q8_k: (256, 292)
        case .iq1_s: (256, 50)
        case .iq1_m: (256, 56)
        case .iq2_xxs: (256, 66)
        case .iq2_xs: (256, 74)
        case .iq2_s: (256, 82)
        case .iq3_xxs: (256, 98)
        case .iq3_s: (256, 110)
        case .iq4_xs: (256, 136)
        case .tq1_0: (256, 54)
        case .tq2_0: (256, 66)
        }
    }

    /// The names of all types that are read.
    static let namesRead = allCases.filter { $0.reading != .not }.map(\.name).joined(separator: ", ")

    /// Bytes of a row of so many elements. Nil: no whole blocks, or more than an Int can say.
    func rowByteCount(columns: Int) -> Int? {
        columns % blockElements == 0 ? product(columns / blockElements, blockBytes) : nil
    }

    /// Whole blocks as fp32. The type must be one that is read, `bytes` hold `count` elements: preconditions.
    func decode(_ bytes: UnsafeRawBufferPointer, count: Int, into target: UnsafeMutablePointer<Float>) {
        guard reading != .not, let needed = rowByteCount(columns: count), bytes.count >= needed else {
            preconditionFailure("\(count) elements of \(name) from \(bytes.count) bytes")
        }
        if let plain {
            var matrix = mk_matrix(
                type: Int32(plain.rawValue), rows: 1, cols: Int64(count), data: bytes.baseAddress)
            mk_dequantize(&matrix, 0, 1, target)
        } else {
            mk_ggml_to_float(Int32(rawValue), bytes.baseAddress, Int64(count), target)
        }
    }
}
