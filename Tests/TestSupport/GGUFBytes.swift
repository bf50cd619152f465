import Foundation

/// A GGUF file being put together, by the letter of ggml's gguf.h.
public struct GGUFBytes {
    private var keys = Data()
    private var keyCount = 0
    private var infos = Data()
    private var tensorCount = 0
    private var data = Data()

    /// A file without keys and tensors.
    public init() {}

    private static func integer<T: FixedWidthInteger>(_ value: T) -> Data {
        withUnsafeBytes(of: value.littleEndian) { Data($0) }
    }

    private static func text(_ value: String) -> Data { integer(UInt64(value.utf8.count)) + Data(value.utf8) }

    /// Adds a u32 key.
    public mutating func set(_ key: String, _ value: UInt32) {
        keys += Self.text(key) + Self.integer(UInt32(4)) + Self.integer(value)
        keyCount += 1
    }

    /// Adds a u64 key.
    public mutating func set(_ key: String, wide value: UInt64) {
        keys += Self.text(key) + Self.integer(UInt32(10)) + Self.integer(value)
        keyCount += 1
    }

    /// Adds a u16 key.
    public mutating func set(_ key: String, _ value: UInt16) {
        keys += Self.text(key) + Self.integer(UInt32(2)) + Self.integer(value)
        keyCount += 1
    }

    /// Adds an i32 key.
    public mutating func set(_ key: String, _ value: Int32) {
        keys += Self.text(key) + Self.integer(UInt32(5)) + Self.integer(value)
        keyCount += 1
    }

    /// Adds an f32 key.
    public mutating func set(_ key: String, _ value: Float) {
        keys += Self.text(key) + Self.integer(UInt32(6)) + Self.integer(value.bitPattern)
        keyCount += 1
    }

    /// Adds a key with a text.
    public mutating func set(_ key: String, _ value: String) {
        keys += Self.text(key) + Self.integer(UInt32(8)) + Self.text(value)
        keyCount += 1
    }

    /// Adds a key with texts.
    public mutating func set(_ key: String, _ values: [String]) {
        keys += Self.text(key) + Self.integer(UInt32(9)) + Self.integer(UInt32(8)) + Self.integer(UInt64(values.count))
        for value in values { keys += Self.text(value) }
        keyCount += 1
    }

    /// Adds a key with i32 numbers.
    public mutating func set(_ key: String, _ values: [Int32]) {
        keys += Self.text(key) + Self.integer(UInt32(9)) + Self.integer(UInt32(5)) + Self.integer(UInt64(values.count))
        for value in values { keys += Self.integer(value) }
        keyCount += 1
    }

    /// Adds the keys of a Llama of one layer, its architecture and an embedding of zeros; nil leaves the number of heads out.
    public mutating func setLlama(hidden: Int = 32, width: Int = 32, heads: UInt64? = 1, vocabulary: Int? = 1) {
        set("general.architecture", "llama")
        for (key, value) in [
            ("block_count", 1), ("context_length", 64), ("embedding_length", hidden), ("feed_forward_length", width),
        ] {
            set("llama.\(key)", UInt32(value))
        }
        set("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
        if let heads { set("llama.attention.head_count", wide: heads) }
        if let vocabulary {
            add("token_embd.weight", [vocabulary, hidden], type: 0, Data(count: vocabulary * hidden * 4))
        }
    }

    /// Adds a tensor; `shape` as in PyTorch, the type by its number.
    public mutating func add(_ name: String, _ shape: [Int], type: UInt32, _ bytes: Data) {
        infos += Self.text(name) + Self.integer(UInt32(shape.count))
        for dimension in shape.reversed() { infos += Self.integer(UInt64(dimension)) }
        infos += Self.integer(type) + Self.integer(UInt64(data.count))
        tensorCount += 1
        data += bytes
        while data.count % 32 != 0 { data.append(0) }
    }

    /// The whole file.
    public var bytes: Data {
        var result = Data("GGUF".utf8) + Self.integer(UInt32(3))
        result += Self.integer(UInt64(tensorCount)) + Self.integer(UInt64(keyCount))
        result += keys + infos
        while result.count % 32 != 0 { result.append(0) }
        return result + data
    }
}
