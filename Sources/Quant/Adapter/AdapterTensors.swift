import Base
import Foundation

/// One tensor of an adapter's file, read when its numbers are asked for. Thread-safe.
public struct AdapterTensor: Sendable {
    /// The name in the file.
    public let name: String
    /// One dimension, or two: rows, columns.
    public let shape: [Int]
    /// What reads it.
    let source: any TensorRows

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.last ?? 1 }

    /// All elements as fp32, row-major. Error (`runtime`): the file has become shorter.
    public func floats() throws -> [Float] {
        let count = rows * columns  // bounded: readers check the bytes
        return try [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            var raw: [UInt8] = []
            if let start = buffer.baseAddress { try source.read(rows: 0..<rows, into: start, raw: &raw) }
            initialized = count
        }
    }

    /// The same tensor with rows and columns in each other's place; `file` is the file's name for errors.
    func transposed(file: String) throws -> AdapterTensor {
        guard shape.count == 2 else {
            throw MeraserError.badInput("\(file): tensor \(quoted(name)) has shape \(shape), expected two dimensions")
        }
        return AdapterTensor(name: name, shape: [columns, rows], source: TransposedRows(base: self))
    }

    /// Throws a bad-input error if an element is NaN or infinite; `file` is the file's name.
    func requireFinite(file: String) throws {
        guard try floats().allSatisfy(\.isFinite) else {
            throw MeraserError.badInput("\(file): tensor \(quoted(name)) holds numbers that are not finite")
        }
    }
}

/// The columns of a tensor as rows.
private struct TransposedRows: TensorRows {
    let base: AdapterTensor

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        let (values, columns) = (try base.floats(), base.rows)
        for row in rows {
            for column in 0..<columns {
                let place = (row - rows.lowerBound) * columns + column  // bounded: within what was read
                target[place] = values[column * base.columns + row]  // bounded: the same
            }
        }
    }
}

/// The tensors of a PEFT folder: those of `adapter_model.safetensors`, else of `adapter_model.bin`, as PEFT chooses.
struct AdapterTensors {
    /// The file.
    let path: String
    /// All tensors.
    let tensors: [AdapterTensor]
    /// What its header says beside them; of a pickle nothing.
    let metadata: [String: String]
    /// SHA-256 of the file.
    let sha256: String

    static let safetensorsName = "adapter_model.safetensors"
    static let pickleName = "adapter_model.bin"

    /// Opens the file of a folder. Errors (`badInput`): there is none, what its reader refuses, and a tensor of another
    /// type than f32, f16 or bf16, or of more than two dimensions.
    init(folder: String) throws {
        let (safetensors, pickle) = (folder + "/" + Self.safetensorsName, folder + "/" + Self.pickleName)
        if FileManager.default.fileExists(atPath: safetensors) {
            try self.init(safetensors: safetensors)
        } else if FileManager.default.fileExists(atPath: pickle) {
            try self.init(pickle: pickle)
        } else {
            throw MeraserError.badInput("\(folder) has neither \(Self.safetensorsName) nor \(Self.pickleName)")
        }
    }

    private init(safetensors path: String) throws {
        let file = try SafetensorsFile(path: path)
        tensors = try file.entries.map {
            let view = try file.tensor($0.name)
            return AdapterTensor(name: $0.name, shape: view.info.shape, source: StoredRows(view: view))
        }
        metadata = Dictionary(file.metadata.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
        sha256 = try sha256Hex(file.file)
        self.path = path
    }

    private init(pickle path: String) throws {
        let file = try PyTorchFile(path: path)
        tensors = try file.tensors.values.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
            .map { AdapterTensor(name: $0.name, shape: try $0.entry().shape, source: $0) }
        metadata = [:]
        sha256 = try sha256Hex(ofFile: path)
        self.path = path
    }
}
