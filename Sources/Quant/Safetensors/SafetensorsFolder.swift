import Base
import Foundation

/// A Hugging Face folder whose weights are safetensors, see `CheckpointFiles`. Thread-safe.
public final class SafetensorsFolder: WeightStore {
    /// The path as given.
    public var path: String { checkpoint.path }
    /// The names of all tensors: sorted by their bytes.
    public let tensorNames: [String]
    /// The safetensors files, sorted by name.
    public let files: [SafetensorsFile]
    /// A line if the folder holds a second model.
    public var warnings: [String] { checkpoint.warnings }

    private let checkpoint: CheckpointFiles
    private let fileIndexByTensor: [[UInt8]: Int]
    private let identity = Identity()

    /// Opens the files and checks all headers. Errors: `badInput` with path and expectation.
    public convenience init(path: String) throws { try self.init(CheckpointFiles(path: path)) }

    /// The same of files that have been found.
    init(_ checkpoint: CheckpointFiles) throws {
        self.checkpoint = checkpoint
        files = try checkpoint.paths.map { try SafetensorsFile(path: $0) }
        fileIndexByTensor = try checkpoint.fileByTensor(files.map { $0.entries.map(\.name) })
        tensorNames = fileIndexByTensor.keys.sorted { $0.lexicographicallyPrecedes($1) }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// True if there is a tensor of exactly that name.
    public func hasTensor(_ name: String) -> Bool { fileIndexByTensor[Array(name.utf8)] != nil }

    /// The header's entry of that tensor, of any dtype and shape; nil if there is none.
    public func header(_ name: String) -> SafetensorsEntry? {
        fileIndexByTensor[Array(name.utf8)].flatMap { files[$0].entry(name) }
    }

    /// The same with the file that it lies in.
    func place(_ name: String) -> (entry: SafetensorsEntry, file: MappedFile)? {
        guard let index = fileIndexByTensor[Array(name.utf8)], let entry = files[index].entry(name) else { return nil }
        return (entry, files[index].file)
    }

    /// The tensor of that name. Errors (`badInput`) as `SafetensorsFile.tensor`.
    public func tensor(_ name: String) throws -> TensorView {
        guard let index = fileIndexByTensor[Array(name.utf8)] else {
            throw MeraserError.badInput("\(path): there is no tensor \(quoted(name))")
        }
        return try files[index].tensor(name)
    }

    /// The file of that name in the folder; nil if there is none. `name` is a plain name without a path.
    public func textFile(_ name: String) throws -> [UInt8]? { try checkpoint.textFile(name) }

    /// SHA-256 over the sorted lines `sha256  name` of config.json (if there is one) and the safetensors files.
    public func sha256() throws -> String {
        try identity.value {
            defer { releasePages() }
            return try checkpoint.sha256(ofFiles: files.map { try sha256Hex($0.file) })
        }
    }

    /// Takes all files' pages out of this process's resident memory.
    public func releasePages() { files.forEach { $0.file.releasePages() } }

    /// The same from the digests of `files`, which the caller has computed.
    func sha256(ofFiles digests: [String]) throws -> String {
        try identity.value { try checkpoint.sha256(ofFiles: digests) }
    }

    /// Safetensors files have no checksums: everything that can be checked was checked when the folder was opened.
    public func verify() throws {}

    /// This folder with files that are hashed while their tensors are read.
    public func readOnce() -> any StoredSource { HashedFolder(self) }
}
