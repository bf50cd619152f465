import Base

/// A Hugging Face folder of safetensors whose matrices another program packed (bitsandbytes, GPTQ, AWQ), as a source of
/// their weights: each is unpacked while it is read. Thread-safe.
///
/// Nothing is rounded: a weight is the product in fp32 of what is stored, and a matrix of GPTQ that is one of `q4_0` stays it.
final class PackedFolder: StoredSource {
    /// The names of all weights: a packed one's is that which it would have unpacked.
    let tensorNames: [String]

    private let folder: SafetensorsFolder
    private let packed: [[UInt8]: any PackedTensor]
    private let config: [UInt8]

    /// Finds the packed tensors of a folder and checks their parts; nil if config.json says of no method that is read.
    ///
    /// - Throws: `badInput` for a setting that is not read, and for parts that are missing or do not fit together.
    init?(_ folder: SafetensorsFolder) throws {
        guard folder.tensorNames.contains(where: Self.isPart), let (json, file) = try folder.configIfPresent(),
            let method = try PackedMethod(config: json, file: file), let object = json.object
        else { return nil }
        let found: [any PackedTensor] =
            switch method {
            case .bitsandbytes: try BlockTensor.all(in: folder)
            case .gptq, .awq: try GroupedTensor.all(in: folder, method)
            }
        self.folder = folder
        packed = Dictionary(found.map { (Array($0.name.utf8), $0) }, uniquingKeysWith: { first, _ in first })
        // Whoever reads on reads plain weights.
        let members = object.members.filter { $0.key.string != PackedMethod.key }
        config = Array(
            JSONValue.object(JSONObject(members.map { (key: $0.key.string, value: $0.value) })).serialized(indent: 2)
                .utf8)
        let parts = Set(found.flatMap(\.partNames).map { Array($0.utf8) })
        tensorNames = folder.tensorNames.filter { !parts.contains(Array($0.utf8)) } + found.map(\.name)
    }

    /// True for the name of a tensor that only packed weights have.
    private static func isPart(_ name: String) -> Bool {
        name.hasSuffix(".qweight") || name.hasSuffix(".SCB") || name.contains(BlockTensor.stateInfix)
    }

    /// The path as given.
    var path: String { folder.path }
    /// A line if the folder holds a second model.
    var warnings: [String] { folder.warnings }
    /// Types stay what they are where MQF has them.
    var isQuantized: Bool { true }

    /// The folder's files; config.json without what it says of the packing.
    func textFile(_ name: String) throws -> [UInt8]? {
        name == "config.json" ? config : try folder.textFile(name)
    }

    /// What there is under that name. Errors (`badInput`) as `SafetensorsFile.tensor`.
    func entry(_ name: String) throws -> TensorEntry? {
        guard let tensor = packed[Array(name.utf8)] else { return try folder.entry(name) }
        let codes = tensor.codes
        return TensorEntry(
            name: name, shape: tensor.shape, exactType: tensor.exactType, byteCount: codes.entry.byteCount,
            path: codes.file.path,
            offset: codes.entry.offset)
    }

    /// The rows of that tensor. Error (`badInput`): there is none.
    func rows(of name: String) throws -> any TensorRows { try packed[Array(name.utf8)] ?? folder.rows(of: name) }

    /// As of any folder of safetensors.
    func sha256() throws -> String { try folder.sha256() }

    /// Nothing to do: safetensors files have no checksums.
    func verify() throws {}
}

/// A matrix in several tensors of safetensors files.
protocol PackedTensor: TensorRows {
    /// The name that it would have unpacked.
    var name: String { get }
    /// Rows, columns.
    var shape: [Int] { get }
    /// The tensor with the codes.
    var codes: StoredPart { get }
    /// The type of ours that holds the same numbers; nil: none does.
    var exactType: TensorType? { get }
    /// The tensors that it consists of.
    var partNames: [String] { get }
}

/// A tensor of a safetensors file as it is stored. Thread-safe.
struct StoredPart: Sendable {
    let entry: SafetensorsEntry
    let file: MappedFile

    /// Its name.
    var name: String { entry.name }

    func error(_ what: String) -> MeraserError { .badInput("\(file.path): tensor \(quoted(name)) \(what)") }

    /// Throws a bad-input error unless it has that shape and one of those types.
    func require(_ dtypes: [String], _ shape: [Int]) throws {
        guard dtypes.contains(entry.dtype), entry.shape == shape else {
            throw error(
                "has dtype \(entry.dtype) and shape \(entry.shape), expected \(dtypes.joined(separator: " or ")) and "
                    + "\(shape)")
        }
    }

    /// The types that `floats` reads.
    static let floatTypes = ["F32", "F16", "BF16"]

    /// Bytes of that range of its own, which lies inside it.
    func bytes(_ range: Range<Int>) throws -> [UInt8] {
        precondition(range.lowerBound >= 0 && range.upperBound <= entry.byteCount, "\(name): \(range)")
        return try [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            try file.read(into: UnsafeMutableRawBufferPointer(buffer), at: entry.offset + range.lowerBound)
            count = range.count
        }
    }

    /// All of it as numbers of four bytes.
    func words<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws -> [T] {
        try bytes(0..<entry.byteCount).withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count - 3, by: 4).map {
                T(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: T.self))
            }
        }
    }

    /// Elements of that range, of one of `floatTypes`, as fp32.
    func floats(_ range: Range<Int>) throws -> [Float] {
        let size = entry.dtype == "F32" ? 4 : 2
        let (first, end) = (range.lowerBound * size, range.upperBound * size)  // bounded: inside the tensor
        return try bytes(first..<end).withUnsafeBytes { bytes in
            (0..<range.count).map { number in
                let place = number * size  // bounded: as above
                switch entry.dtype {
                case "F32": return Float(bitPattern: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self))
                case "F16":
                    return Float(Float16(bitPattern: bytes.loadUnaligned(fromByteOffset: place, as: UInt16.self)))
                default:
                    let upper = UInt32(bytes.loadUnaligned(fromByteOffset: place, as: UInt16.self))
                    return Float(bitPattern: upper << 16)  // bounded: 16 bits
                }
            }
        }
    }
}

extension SafetensorsFolder {
    /// The tensor of that name as it is stored; nil if there is none.
    func part(_ name: String) -> StoredPart? {
        place(name).map { StoredPart(entry: $0.entry, file: $0.file) }
    }

    /// The same of one that another needs. Error (`badInput`): there is none.
    func part(_ name: String, of other: String) throws -> StoredPart {
        guard let part = part(name) else {
            throw MeraserError.badInput("\(path): there is no tensor \(quoted(name)), which \(quoted(other)) needs")
        }
        return part
    }
}
