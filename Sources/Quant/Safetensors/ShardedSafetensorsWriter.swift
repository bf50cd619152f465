import Base
import Foundation

/// Writes a model's tensors into a folder as Hugging Face does: `model.safetensors`, or, where that would be too large,
/// `model-00001-of-0000N.safetensors` with `model.safetensors.index.json`. The files appear when `finish` is called.
/// Pieces with an offset may come from several threads; all else from one.
public final class ShardedSafetensorsWriter: RowSink {
    /// The names of the safetensors files, in order.
    public let fileNames: [String]

    private let folder: String
    private let tensorNames: [String]
    private let writers: [SafetensorsWriter]
    private let shardByTensor: [[UInt8]: Int]
    private let index: [UInt8]?

    /// transformers' default size of a shard: 5 GB.
    public static let defaultShardByteCount = 5_000_000_000

    /// Shares the tensors out in their order and creates the temporary files.
    ///
    /// - Parameters:
    ///   - folder: an existing folder.
    ///   - tensors: types f32, f16 or bf16, names unique.
    ///   - maximumShardByteCount: a shard holds at most that many bytes of data, but at least one tensor.
    ///   - overwrite: replace files of those names.
    public init(
        folder: String, tensors: [TensorDeclaration], maximumShardByteCount: Int = defaultShardByteCount,
        overwrite: Bool = false
    ) throws {
        var shards: [[TensorDeclaration]] = [[]]
        var filled = 0
        var total = 0
        for tensor in tensors {
            guard let count = byteCount(of: tensor.type, shape: tensor.shape) else {
                throw MeraserError.badInput("\(folder): tensor '\(tensor.name)' cannot have shape \(tensor.shape)")
            }
            if filled + count > maximumShardByteCount, filled > 0 {
                shards.append([])
                filled = 0
            }
            shards[shards.count - 1].append(tensor)
            filled += count
            total += count
        }
        let names = Self.fileNames(count: shards.count)
        fileNames = names
        shardByTensor = Dictionary(
            shards.enumerated().flatMap { i, shard in shard.map { (Array($0.name.utf8), i) } },
            uniquingKeysWith: { a, _ in a })
        index = shards.count == 1 ? nil : Self.index(shards, names: names, total: total)
        writers = try zip(names, shards).map {
            try SafetensorsWriter(path: folder + "/" + $0, tensors: $1, overwrite: overwrite)
        }
        tensorNames = tensors.map(\.name)
        self.folder = folder
    }

    private static func fileNames(count: Int) -> [String] {
        guard count > 1 else { return ["model.safetensors"] }
        return (1...count).map { String(format: "model-%05d-of-%05d.safetensors", $0, count) }
    }

    /// The text of `model.safetensors.index.json`, tensors sorted by name.
    private static func index(_ shards: [[TensorDeclaration]], names: [String], total: Int) -> [UInt8] {
        let entries = zip(shards, names).flatMap { shard, file in shard.map { ($0.name, file) } }
            .sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }
            .map { "    \(JSONString.quoted($0)): \(JSONString.quoted($1))" }
        var text = "{\n  \"metadata\": {\n    \"total_size\": \(total)\n  },\n  \"weight_map\": {\n"
        text += entries.joined(separator: ",\n") + "\n  }\n}\n"
        return Array(text.utf8)
    }

    /// Appends bytes to the data of a declared tensor. Errors: `runtime`, such as a full disk.
    public func write(_ name: String, _ bytes: UnsafeRawBufferPointer) throws {
        try writer(of: name).write(name, bytes)
    }

    /// Writes bytes that begin `offset` bytes into tensor number `index` of the declaration, from any thread; each byte once.
    /// Errors: `runtime`, such as a full disk.
    public func write(tensor index: Int, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws {
        let name = tensorNames[index]
        try writer(of: name).write(name, at: offset, bytes)
    }

    private func writer(of name: String) -> SafetensorsWriter {
        guard let shard = shardByTensor[Array(name.utf8)] else {
            preconditionFailure("tensor '\(name)' was not declared")
        }
        return writers[shard]
    }

    /// Flushes the files, gives them their names and writes the index. All data must have come: a precondition.
    public func finish() throws {
        for writer in writers { try writer.finish() }
        if let index {
            try writeFileAtomically(path: folder + "/model.safetensors.index.json", index, overwrite: true)
        }
    }
}
