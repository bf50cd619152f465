import Base

/// How another program packed the weights of a checkpoint, as config.json's `quantization_config` says: what of it is
/// read.
enum PackedMethod: Equatable {
    /// bitsandbytes' 4 bits; the tensors say the rest.
    case bitsandbytes
    /// GPTQ: `bits` of a code, columns that share a scale (nil: all), and what is added to a stored zero point.
    case gptq(bits: Int, groupSize: Int?, zeroOffset: Int)
    /// AWQ's layout for `gemm`, 4 bits.
    case awq(groupSize: Int?)

    /// The methods' names, for errors.
    static let names = ["awq", "bitsandbytes", "gptq"]
    static let key = "quantization_config"

    /// Nil for a checkpoint that is not quantized, or in a way that is not read: `ConfigReader.refuseQuantized` names
    /// that.
    ///
    /// - Throws: `badInput` for a method that is read with a setting that is not.
    init?(config: JSONValue, file: String) throws {
        guard let quantization = config[Self.key], quantization.object != nil else { return nil }
        let reader = SettingReader(json: quantization, file: file)
        switch quantization["quant_method"]?.string {
        case "bitsandbytes":
            try reader.require("load_in_8bit", false)
            self = .bitsandbytes
        case "gptq":
            let bits = try reader.bits([2, 4, 8])
            try reader.require("pack_dtype", ["int32"])
            try reader.requireNothing("dynamic")
            let format = try reader.text("checkpoint_format") ?? "gptq"
            guard let zeroOffset = ["gptq": 1, "gptq_v2": 0][format] else {
                throw reader.error("checkpoint_format", "is \(quoted(format)), read are gptq and gptq_v2")
            }
            self = .gptq(bits: bits, groupSize: try reader.groupSize(), zeroOffset: zeroOffset)
        case "awq":
            _ = try reader.bits([4])
            try reader.require("zero_point", true)
            let version = try reader.text("version") ?? "gemm"
            guard version.lowercased() == "gemm" else {
                throw reader.error("version", "is \(quoted(version)), read is gemm")
            }
            self = .awq(groupSize: try reader.groupSize())
        default: return nil
        }
    }
}

/// Reads the settings of a method and words the errors.
private struct SettingReader {
    let json: JSONValue
    let file: String

    func error(_ key: String, _ what: String) -> MeraserError {
        .badInput("\(file): '\(PackedMethod.key).\(key)' \(what)")
    }

    func bits(_ read: [Int]) throws -> Int {
        let bits = json["bits"]?.int
        guard let bits, read.contains(bits) else {
            let found = bits.map(String.init) ?? json["bits"]?.kind ?? "missing"
            throw error("bits", "is \(found), read are \(read.map(String.init).joined(separator: ", "))")
        }
        return bits
    }

    /// Columns of a group; nil: -1, all of them.
    func groupSize() throws -> Int? {
        guard let size = json["group_size"]?.int, size == -1 || (1...1 << 20).contains(size) else {
            throw error("group_size", "is missing, or neither -1 nor a number of columns")
        }
        return size == -1 ? nil : size
    }

    func text(_ key: String) throws -> String? {
        guard let value = json[key], !value.isNull else { return nil }
        guard let text = value.string else { throw error(key, "is \(value.kind), expected a text") }
        return text
    }

    /// Refuses a text that is not one of `read`; absent and null are fine.
    func require(_ key: String, _ read: [String]) throws {
        guard let text = try text(key), !read.contains(text) else { return }
        throw error(key, "is \(quoted(text)), read is \(read.joined(separator: ", "))")
    }

    /// The same of a switch.
    func require(_ key: String, _ read: Bool) throws {
        guard let value = json[key], !value.isNull, value != .bool(read) else { return }
        throw error(key, "is \(value.bool.map { "\($0)" } ?? value.kind), read is \(read)")
    }

    /// Refuses what is set at all.
    func requireNothing(_ key: String) throws {
        guard let value = json[key], !value.isNull, value.object?.count != 0, value.array?.isEmpty != true,
            value != .bool(false)
        else { return }
        throw error(key, "is set, which is not read")
    }
}
