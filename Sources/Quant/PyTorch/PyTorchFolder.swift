import Base

/// A Hugging Face folder whose weights are files of `torch.save`, see `CheckpointFiles`. Thread-safe.
final class PyTorchFolder: StoredSource {
    /// The path as given.
    var path: String { checkpoint.path }
    /// The names of all tensors: sorted by their bytes.
    let tensorNames: [String]
    /// A line if the folder holds a second model.
    var warnings: [String] { checkpoint.warnings }

    private let checkpoint: CheckpointFiles
    private let tensors: [[UInt8]: PyTorchTensor]
    private let identity = Identity()

    /// Reads the pickles of all files. Errors (`badInput`) as `PyTorchFile`, and an index that is not true.
    init(_ checkpoint: CheckpointFiles) throws {
        self.checkpoint = checkpoint
        let files = try checkpoint.paths.map { try PyTorchFile(path: $0) }
        let names = files.map { $0.tensors.values.map(\.name) }
        var tensors: [[UInt8]: PyTorchTensor] = [:]
        for (name, file) in try checkpoint.fileByTensor(names) { tensors[name] = files[file].tensors[name] }
        self.tensors = tensors
        tensorNames = tensors.keys.sorted { $0.lexicographicallyPrecedes($1) }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// The file of that name in the folder; nil if there is none.
    func textFile(_ name: String) throws -> [UInt8]? { try checkpoint.textFile(name) }

    /// What there is under that name. Errors (`badInput`) as `PyTorchTensor.entry`.
    func entry(_ name: String) throws -> TensorEntry? { try tensors[Array(name.utf8)]?.entry() }

    /// The rows of that tensor. Errors (`badInput`): there is none, and as `entry`.
    func rows(of name: String) throws -> any TensorRows {
        _ = try tensorEntry(name)
        guard let tensor = tensors[Array(name.utf8)] else { preconditionFailure("\(path): \(name) is gone") }
        return tensor
    }

    /// SHA-256 over the sorted lines `sha256  name` of config.json (if there is one) and the files.
    func sha256() throws -> String {
        try identity.value { try checkpoint.sha256(ofFiles: checkpoint.paths.map { try sha256Hex(ofFile: $0) }) }
    }

    /// Nothing to do: what can be checked was checked when the folder was opened (torch does not compare the archive's CRC).
    func verify() throws {}
}
