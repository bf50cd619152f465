/// The values that GGUF's metadata section knows; MQF uses the same. Raw type ids are `MetadataType`'s.
public enum MetadataValue: Sendable, Equatable {
    case uint8(UInt8)
    case int8(Int8)
    case uint16(UInt16)
    case int16(Int16)
    case uint32(UInt32)
    case int32(Int32)
    case float32(Float)
    case bool(Bool)
    case string(String)
    case array(MetadataArray)
    case uint64(UInt64)
    case int64(Int64)
    case float64(Double)
}

/// An array of one value type; arrays do not nest.
public enum MetadataArray: Sendable, Equatable {
    case uint8([UInt8])
    case int8([Int8])
    case uint16([UInt16])
    case int16([Int16])
    case uint32([UInt32])
    case int32([Int32])
    case float32([Float])
    case bool([Bool])
    case string([String])
    case uint64([UInt64])
    case int64([Int64])
    case float64([Double])
}

extension MetadataValue: CustomStringConvertible {
    /// The value as errors show it: a number, a text in quotes, the size of an array.
    public var description: String {
        switch self {
        case .uint8(let value): "\(value)"
        case .int8(let value): "\(value)"
        case .uint16(let value): "\(value)"
        case .int16(let value): "\(value)"
        case .uint32(let value): "\(value)"
        case .int32(let value): "\(value)"
        case .uint64(let value): "\(value)"
        case .int64(let value): "\(value)"
        case .float32(let value): "\(value)"
        case .float64(let value): "\(value)"
        case .bool(let value): "\(value)"
        case .string(let text): "'\(text)'"
        case .array(let array): "an array of \(array.count) values"
        }
    }
}

extension MetadataArray {
    /// The number of values.
    public var count: Int {
        switch self {
        case .uint8(let values): values.count
        case .int8(let values): values.count
        case .uint16(let values): values.count
        case .int16(let values): values.count
        case .uint32(let values): values.count
        case .int32(let values): values.count
        case .uint64(let values): values.count
        case .int64(let values): values.count
        case .float32(let values): values.count
        case .float64(let values): values.count
        case .bool(let values): values.count
        case .string(let values): values.count
        }
    }
}

/// GGUF's ids of value types.
enum MetadataType: UInt32 {
    case uint8 = 0
    case int8 = 1
    case uint16 = 2
    case int16 = 3
    case uint32 = 4
    case int32 = 5
    case float32 = 6
    case bool = 7
    case string = 8
    case array = 9
    case uint64 = 10
    case int64 = 11
    case float64 = 12

    /// Bytes of a value of fixed size; 8, a string's length field, for strings; nil for arrays.
    var minimumByteCount: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64, .string: 8
        case .array: nil
        }
    }
}

/// Typed keys and values in file order, as GGUF and MQF store them. Keys are printable ASCII and unique.
public struct Metadata: Sendable, Equatable {
    /// The keys in file order.
    public private(set) var keys: [String] = []
    private var values: [String: MetadataValue] = [:]

    /// No keys.
    public init() {}

    /// Number of keys.
    public var count: Int { keys.count }

    /// The value of a key. Setting a new key appends it; setting nil removes it.
    public subscript(key: String) -> MetadataValue? {
        get { values[key] }
        set {
            if newValue == nil {
                keys.removeAll { $0 == key }
            } else if values[key] == nil {
                keys.append(key)
            }
            values[key] = newValue
        }
    }

    /// The value if it is a string.
    public func string(_ key: String) -> String? {
        guard case .string(let text) = values[key] else { return nil }
        return text
    }

    /// The value if it is a boolean.
    public func bool(_ key: String) -> Bool? {
        guard case .bool(let flag) = values[key] else { return nil }
        return flag
    }

    /// The value if it is an integer of any width that fits.
    public func int(_ key: String) -> Int? {
        switch values[key] {
        case .uint8(let value): Int(value)
        case .int8(let value): Int(value)
        case .uint16(let value): Int(value)
        case .int16(let value): Int(value)
        case .uint32(let value): Int(value)
        case .int32(let value): Int(value)
        case .uint64(let value): Int(exactly: value)
        case .int64(let value): Int(value)
        default: nil
        }
    }

    /// The value if it is a floating-point number or an integer.
    public func float(_ key: String) -> Double? {
        switch values[key] {
        case .float32(let value): Double(value)
        case .float64(let value): value
        default: int(key).map(Double.init)
        }
    }

    /// The array if it is one.
    public func array(_ key: String) -> MetadataArray? {
        guard case .array(let array) = values[key] else { return nil }
        return array
    }

    /// The strings of an array of strings.
    public func strings(_ key: String) -> [String]? {
        guard case .string(let strings) = array(key) else { return nil }
        return strings
    }

    /// The numbers of an array of f32 or f64.
    public func floats(_ key: String) -> [Float]? {
        switch array(key) {
        case .float32(let values): values
        case .float64(let values): values.map { Float($0) }
        default: nil
        }
    }

    /// The numbers of an array of integers of any width that fit.
    public func ints(_ key: String) -> [Int]? {
        switch array(key) {
        case .uint8(let values): values.map(Int.init)
        case .int8(let values): values.map(Int.init)
        case .uint16(let values): values.map(Int.init)
        case .int16(let values): values.map(Int.init)
        case .uint32(let values): values.map(Int.init)
        case .int32(let values): values.map(Int.init)
        case .int64(let values): values.map(Int.init)
        case .uint64(let values): values.allSatisfy { $0 <= UInt64(Int.max) } ? values.map(Int.init) : nil
        default: nil
        }
    }
}
