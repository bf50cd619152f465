/// The functions and classes that a pickle of tensors names.
enum PickleGlobal: Equatable {
    case orderedDict
    case rebuildTensor
    case rebuildParameter
    case storage(PyTorchType)

    /// Nil for every other.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDict
        case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch", _):
            guard let type = PyTorchType.allCases.first(where: { $0.storageName == name }) else { return nil }
            self = .storage(type)
        default: return nil
        }
    }
}

/// The element type of a storage.
enum PyTorchType: String, CaseIterable {
    case float32, float16, bfloat16, float64, int64, int32, int16, int8, uint8, bool

    /// The class of its storages in module `torch`.
    var storageName: String {
        switch self {
        case .float32: "FloatStorage"
        case .float16: "HalfStorage"
        case .bfloat16: "BFloat16Storage"
        case .float64: "DoubleStorage"
        case .int64: "LongStorage"
        case .int32: "IntStorage"
        case .int16: "ShortStorage"
        case .int8: "CharStorage"
        case .uint8: "ByteStorage"
        case .bool: "BoolStorage"
        }
    }

    /// Bytes of an element.
    var byteCount: Int {
        switch self {
        case .float64, .int64: 8
        case .float32, .int32: 4
        case .float16, .bfloat16, .int16: 2
        case .int8, .uint8, .bool: 1
        }
    }

    /// The type that meraser computes with, or nil.
    var type: TensorType? {
        switch self {
        case .float32: .f32
        case .float16: .f16
        case .bfloat16: .bf16
        case .float64, .int64, .int32, .int16, .int8, .uint8, .bool: nil
        }
    }
}

/// What a pickle says of a storage; nothing is checked.
struct PickledStorage: Equatable {
    /// The member `data/KEY` of the archive.
    let key: String
    let type: PyTorchType
    /// Elements.
    let count: Int
}

/// What a pickle says of a tensor: elements of a storage; nothing is checked.
struct PickledTensor: Equatable {
    let storage: PickledStorage
    /// The first element.
    let offset: Int
    let shape: [Int]
    /// Elements from one index of a dimension to the next.
    let strides: [Int]
}

/// The names of pickle's steps that are not taken.
enum PickleStep {
    private static let names: [UInt8: String] = [
        0x30: "POP", 0x31: "POP_MARK", 0x32: "DUP", 0x42: "BINBYTES", 0x43: "SHORT_BINBYTES", 0x46: "FLOAT",
        0x49: "INT", 0x4C: "LONG", 0x50: "PERSID", 0x53: "STRING", 0x54: "BINSTRING", 0x55: "SHORT_BINSTRING",
        0x56: "UNICODE", 0x5D: "EMPTY_LIST", 0x61: "APPEND", 0x64: "DICT", 0x65: "APPENDS", 0x67: "GET",
        0x69: "INST", 0x6C: "LIST", 0x6F: "OBJ", 0x70: "PUT", 0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2",
        0x84: "EXT4", 0x8B: "LONG4", 0x8D: "BINUNICODE8", 0x8E: "BINBYTES8", 0x8F: "EMPTY_SET",
        0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER",
        0x98: "READONLY_BUFFER",
    ]

    /// What pickletools calls it; of a byte that is no step, the number.
    static func name(_ code: UInt8) -> String { names[code] ?? "number \(code)" }
}
