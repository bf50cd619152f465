import Base
import Foundation
import Synchronization

/// A Hugging Face folder: `model.safetensors`, or shards with `model.safetensors.index.json`, beside config.json and the
/// tokenizer's files. Thread-safe.
///
/// Where a folder holds both, `model.safetensors` is the model, as in transformers (`_get_resolved_checkpoint_files`), and
/// `warnings` says so.
/// A path to a single `.safetensors` file takes the weights from that file and the other files from its folder.
public final class SafetensorsFolder: WeightStore {
    /// The path as given.
    public let path: String
    /// The names of all tensors: sorted by their bytes.
    public let tensorNames: [String]
    /// The safetensors files, sorted by name.
    public let files: [SafetensorsFile]
    /// A line if the folder holds a second model.
    public let warnings: [String]

    private let folder: String
    private let fileIndexByTensor: [[UInt8]: Int]
    private let cachedSHA256 = Mutex<String?>(nil)

    /// The largest text file that is read (tokenizer.json of the largest vocabularies has about 35 MB).
    static let maximumTextFileByteCount = 256 << 20

    /// Opens the files and checks all headers. Errors: `badInput` with path and expectation.
    public init(path: String) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw MeraserError.badInput("there is no file or folder \(path)")
        }
        self.path = path
        var weightMap: [(tensor: [UInt8], file: String)]?
        var warnings: [String] = []
        let fileNames: [String]
        if isFolder.boolValue {
            folder = path
            let (single, index) = ("model.safetensors", "model.safetensors.index.json")
            if Self.exists(path, single) {
                fileNames = [single]
                if Self.exists(path, index) {
                    warnings.append(
                        "\(path) holds two models: \(single) is read, as transformers does, and not the files that \(index) "
                            + "lists")
                }
            } else if Self.exists(path, index) {
                let map = try Self.readIndex(folder: path)
                fileNames = Set(map.map(\.file)).sorted()
                weightMap = map
            } else {
                throw Self.noWeights(path)
            }
        } else {
            let url = URL(fileURLWithPath: path)
            folder = url.deletingLastPathComponent().path
            fileNames = [url.lastPathComponent]
        }
        self.warnings = warnings
        let folder = folder
        files = try fileNames.map { try SafetensorsFile(path: folder + "/" + $0) }
        if let weightMap {
            fileIndexByTensor = try Self.resolve(weightMap, fileNames: fileNames, files: files, folder: folder)
        } else {
            fileIndexByTensor = Dictionary(
                uniqueKeysWithValues: files[0].entries.map { (Array($0.name.utf8), 0) })
        }
        tensorNames = fileIndexByTensor.keys.sorted { $0.lexicographicallyPrecedes($1) }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// True if there is a tensor of exactly that name.
    public func hasTensor(_ name: String) -> Bool { fileIndexByTensor[Array(name.utf8)] != nil }

    /// The header's entry of that tensor, of any dtype and shape; nil if there is none.
    public func entry(_ name: String) -> SafetensorsEntry? {
        fileIndexByTensor[Array(name.utf8)].flatMap { files[$0].entry(name) }
    }

    /// The tensor of that name. Errors (`badInput`) as `SafetensorsFile.tensor`.
    public func tensor(_ name: String) throws -> TensorView {
        guard let index = fileIndexByTensor[Array(name.utf8)] else {
            throw MeraserError.badInput("\(path): there is no tensor \(quoted(name))")
        }
        return try files[index].tensor(name)
    }

    /// The file of that name in the folder; nil if there is none. `name` is a plain name without a path.
    public func textFile(_ name: String) throws -> [UInt8]? {
        precondition(Self.isPlainName(name), "'\(name)' is not a plain file name")
        guard Self.exists(folder, name) else { return nil }
        let file = try MappedFile(path: folder + "/" + name)
        guard file.count <= Self.maximumTextFileByteCount else {
            throw MeraserError.badInput(
                "\(file.path) has \(file.count) bytes, expected at most \(Self.maximumTextFileByteCount)")
        }
        var bytes = [UInt8](repeating: 0, count: file.count)
        try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        return bytes
    }

    /// SHA-256 over the sorted lines `sha256  name` of config.json (if there is one) and the safetensors files.
    public func sha256() throws -> String {
        if let cached = cachedSHA256.withLock({ $0 }) { return cached }
        defer { files.forEach { $0.file.releasePages() } }
        return try sha256(ofFiles: files.map { try sha256Hex($0.file) })
    }

    /// The same from the digests of `files`, which the caller has computed.
    func sha256(ofFiles digests: [String]) throws -> String {
        var lines = zip(files, digests).map { file, digest in
            "\(digest)  \(URL(fileURLWithPath: file.path).lastPathComponent)\n"
        }
        if let config = try textFile("config.json") { lines.append("\(sha256Hex(config))  config.json\n") }
        let value = sha256Hex(lines.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }.joined())
        cachedSHA256.withLock { $0 = value }
        return value
    }

    /// Safetensors files have no checksums: everything that can be checked was checked when the folder was opened.
    public func verify() throws {}
}

// MARK: - Index

extension SafetensorsFolder {
    private static func exists(_ folder: String, _ name: String) -> Bool {
        FileManager.default.fileExists(atPath: folder + "/" + name)
    }

    private static func noWeights(_ folder: String) -> MeraserError {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        if let name = names.sorted().first(where: { $0.hasPrefix("pytorch_model") && $0.hasSuffix(".bin") }) {
            return .badInput(
                "\(folder) has its weights in \(name), a pickle file that meraser does not read; save the model again "
                    + "with safetensors (transformers: save_pretrained)")
        }
        return .badInput("\(folder) has neither model.safetensors nor model.safetensors.index.json")
    }

    /// A file name that stays in its folder.
    static func isPlainName(_ name: String) -> Bool {
        !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0)
    }

    /// `weight_map` of the index: which file has which tensor.
    private static func readIndex(folder: String) throws -> [(tensor: [UInt8], file: String)] {
        let path = folder + "/model.safetensors.index.json"
        let file = try MappedFile(path: path)
        let json = try file.withBytes { try JSONValue.parse($0, file: path) }
        let map = try json.object("weight_map", in: path)
        guard map.count > 0 else { throw MeraserError.badInput("\(path): 'weight_map' is empty") }
        return try map.members.map { tensor, value in
            guard let name = value.string else {
                throw MeraserError.badInput(
                    "\(path): 'weight_map.\(tensor.string)' is \(value.kind), expected a file name")
            }
            guard isPlainName(name), name.hasSuffix(".safetensors") else {
                throw MeraserError.badInput(
                    "\(path): 'weight_map.\(tensor.string)' is '\(name)', expected a plain .safetensors file name")
            }
            guard exists(folder, name) else {
                throw MeraserError.badInput(
                    "\(folder): the shard \(name) is missing; model.safetensors.index.json lists it")
            }
            return (tensor.utf8, name)
        }
    }

    /// Every tensor of the index must be in the file that the index names.
    private static func resolve(
        _ map: [(tensor: [UInt8], file: String)], fileNames: [String], files: [SafetensorsFile], folder: String
    ) throws -> [[UInt8]: Int] {
        let indexByFile = Dictionary(uniqueKeysWithValues: fileNames.enumerated().map { ($1, $0) })
        var result: [[UInt8]: Int] = [:]
        for (tensor, name) in map {
            let text = String(decoding: tensor, as: UTF8.self)
            guard let index = indexByFile[name], files[index].entry(text) != nil else {
                throw MeraserError.badInput(
                    "\(folder): tensor \(quoted(text)) is not in \(name), where model.safetensors.index.json has it")
            }
            result[tensor] = index
        }
        return result
    }
}
