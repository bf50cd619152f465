import Base
import Foundation
import Synchronization

/// Writes a safetensors file whose tensors are declared first and whose data comes in pieces. The file appears under its
/// name when `finish` is called. Pieces with an offset may come from several threads; all else from one.
///
/// As the reference implementation does, tensors are sorted by the size of their dtype (largest first), then by name,
/// and the header is padded with spaces so that the data begins on a multiple of 8.
public final class SafetensorsWriter: @unchecked Sendable {
    // @unchecked: after `init` only the counts behind the lock change.

    private let file: AtomicFile
    private let path: String
    /// Where each tensor's data begins in the file and how long it is.
    private let places: [[UInt8]: (offset: Int, count: Int)]
    /// How much of it has come.
    private let written = Mutex<[[UInt8]: Int]>([:])

    /// Creates the temporary file beside `path` and writes the header.
    ///
    /// - Parameters:
    ///   - path: the file to make.
    ///   - tensors: types f32, f16 or bf16, names unique.
    ///   - integers: I64 tensors of one dimension of at least 1, such as token ids, which are written at once.
    ///   - metadata: `__metadata__`; transformers insists on `format`, which is added as `pt` if it is missing.
    ///   - overwrite: replace a file of that name; otherwise that is a `usage` error.
    public init(
        path: String, tensors: [TensorDeclaration], integers: [(name: String, values: [Int64])] = [],
        metadata: [String: String] = [:], overwrite: Bool = false
    ) throws {
        self.path = path
        let entries = try tensors.map { try Entry($0, path: path) } + integers.map(Entry.init(name:values:))
        let sorted = entries.sorted {
            let sizes = ($0.elementByteCount, $1.elementByteCount)
            return sizes.0 != sizes.1 ? sizes.0 > sizes.1 : $0.name.utf8.lexicographicallyPrecedes($1.name.utf8)
        }
        var metadata = metadata
        if metadata["format"] == nil { metadata["format"] = "pt" }
        var header = Array("{\"__metadata__\":{".utf8)
        let pairs = metadata.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        header +=
            pairs.map { "\(JSONString.quoted($0.key)):\(JSONString.quoted($0.value))" }.joined(separator: ",").utf8
        header += "}".utf8
        var places: [[UInt8]: (offset: Int, count: Int)] = [:]
        var end = 0
        for tensor in sorted {
            let key = Array(tensor.name.utf8)
            guard places[key] == nil else {
                throw MeraserError.badInput("\(path): tensor \(quoted(tensor.name)) occurs twice")
            }
            places[key] = (end, tensor.byteCount)
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            header += ",\(JSONString.quoted(tensor.name)):{\"dtype\":\"\(tensor.dtype)\",\"shape\":[\(shape)],".utf8
            header += "\"data_offsets\":[\(end),\(end + tensor.byteCount)]}".utf8
            end += tensor.byteCount
        }
        header += "}".utf8
        while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
        var front = ByteWriter()
        front.append(UInt64(header.count))
        front.append(raw: header)
        try checkFreeSpace(for: front.bytes.count + end, path: path)
        for key in places.keys { places[key]?.offset += front.bytes.count }
        self.places = places
        file = try AtomicFile(path: path, overwrite: overwrite)
        try file.setLength(front.bytes.count + end)
        try front.bytes.withUnsafeBytes { try file.write($0, at: 0) }
        for (name, values) in integers { try values.map(\.littleEndian).withUnsafeBytes { try write(name, $0) } }
    }

    /// What the header says about a tensor, but for its place.
    private struct Entry {
        let name: String
        let dtype: String
        let shape: [Int]
        let elementByteCount: Int
        let byteCount: Int

        init(_ tensor: TensorDeclaration, path: String) throws {
            guard let size = tensor.type.elementByteCount,
                let count = Quant.byteCount(of: tensor.type, shape: tensor.shape)
            else {
                throw MeraserError.badInput(
                    "\(path): tensor '\(tensor.name)' with shape \(tensor.shape) and type \(tensor.type.name) does not fit "
                        + "into safetensors, expected f32, f16 or bf16 and one or two dimensions")
            }
            (name, dtype, shape) = (tensor.name, tensor.type.name.uppercased(), tensor.shape)
            (elementByteCount, byteCount) = (size, count)
        }

        init(name: String, values: [Int64]) {
            precondition(!values.isEmpty, "tensor '\(name)' has no numbers")
            (self.name, dtype, shape) = (name, "I64", [values.count])
            (elementByteCount, byteCount) = (8, 8 * values.count)  // bounded: they are in memory
        }
    }

    /// Appends bytes to the data of a declared tensor. Errors: `runtime`, such as a full disk.
    public func write(_ name: String, _ bytes: UnsafeRawBufferPointer) throws {
        try write(name, at: written.withLock { $0[Array(name.utf8)] ?? 0 }, bytes)
    }

    /// Writes bytes that begin `offset` bytes into a declared tensor. Pieces may come in any order and from any thread,
    /// but each byte once. Errors: `runtime`, such as a full disk.
    public func write(_ name: String, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws {
        let key = Array(name.utf8)
        guard let place = places[key] else { preconditionFailure("tensor '\(name)' was not declared") }
        precondition(
            offset >= 0 && bytes.count <= place.count && offset <= place.count - bytes.count,
            "tensor \(quoted(name)): \(bytes.count) bytes at \(offset) of \(place.count)")
        try file.write(bytes, at: place.offset + offset)
        written.withLock { $0[key, default: 0] += bytes.count }
    }

    /// Flushes the file and gives it its name. All data must have come: a precondition.
    public func finish() throws {
        let written = written.withLock { $0 }
        for (key, place) in places {
            precondition(
                written[key, default: 0] == place.count,
                "tensor '\(String(decoding: key, as: UTF8.self))': \(written[key, default: 0]) of \(place.count) bytes")
        }
        try file.commit()
    }
}

/// Writes a safetensors file of tensors in memory; atomic. `data` holds the bytes of each tensor as its type has them.
public func writeSafetensors(
    path: String, tensors: [(declaration: TensorDeclaration, data: UnsafeRawBufferPointer)],
    metadata: [String: String] = [:], overwrite: Bool = false
) throws {
    let writer = try SafetensorsWriter(
        path: path, tensors: tensors.map(\.declaration), metadata: metadata, overwrite: overwrite)
    for tensor in tensors { try writer.write(tensor.declaration.name, tensor.data) }
    try writer.finish()
}

/// Writes a safetensors file of f32 tensors in memory; atomic. Each count must be the product of its shape.
public func writeSafetensors(
    path: String, floats tensors: [(name: String, shape: [Int], values: [Float])], metadata: [String: String] = [:],
    overwrite: Bool = false
) throws {
    let writer = try SafetensorsWriter(
        path: path, tensors: tensors.map { TensorDeclaration(name: $0.name, type: .f32, shape: $0.shape) },
        metadata: metadata, overwrite: overwrite)
    for tensor in tensors { try tensor.values.withUnsafeBytes { try writer.write(tensor.name, $0) } }
    try writer.finish()
}
