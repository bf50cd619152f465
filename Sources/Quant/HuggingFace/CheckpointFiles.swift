import Base
import Foundation

/// Which files of a Hugging Face folder hold a model's weights, as transformers decides
/// (`_get_resolved_checkpoint_files`): `model.safetensors`, else the shards of its index, else the same of
/// `pytorch_model.bin`. Beside them lie config.json and the tokenizer's files.
///
/// A path to one such file takes the weights from it and the other files from its folder.
struct CheckpointFiles: Sendable {
    /// How the weights are written.
    enum Format: CaseIterable, Sendable {
        case safetensors, pyTorch

        /// The file of a model that is not split.
        var single: String {
            switch self {
            case .safetensors: "model.safetensors"
            case .pyTorch: "pytorch_model.bin"
            }
        }
        /// The file that says which shard has which tensor.
        var index: String { single + ".index.json" }
        /// What the name of a shard ends with.
        var ending: String {
            switch self {
            case .safetensors: ".safetensors"
            case .pyTorch: ".bin"
            }
        }
    }

    /// The path as given.
    let path: String
    /// The folder that the files lie in.
    let folder: String
    /// What they are.
    let format: Format
    /// The files with weights, sorted.
    let names: [String]
    /// A line if the folder holds a second model of that format.
    let warnings: [String]
    /// Which file has which tensor, where an index says so.
    private let weightMap: [(tensor: [UInt8], file: String)]?

    /// The largest text file that is read (tokenizer.json of the largest vocabularies has about 35 MB).
    static let maximumTextFileByteCount = 256 << 20

    /// Finds the files and reads the index. Errors (`badInput`): there is no such path, no weights in the folder, or an index
    /// that is malformed or names a shard that is missing.
    init(path: String) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw MeraserError.badInput("there is no file or folder \(path)")
        }
        self.path = path
        guard isFolder.boolValue else {
            let url = URL(fileURLWithPath: path)
            (folder, names) = (url.deletingLastPathComponent().path, [url.lastPathComponent])
            format = path.hasSuffix(Format.safetensors.ending) ? .safetensors : .pyTorch
            (warnings, weightMap) = ([], nil)
            return
        }
        func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }
        guard let format = Format.allCases.first(where: { exists($0.single) || exists($0.index) }) else {
            throw MeraserError.badInput(
                "\(path) has no weights: expected model.safetensors or pytorch_model.bin, or the index of shards of either"
            )
        }
        (folder, self.format) = (path, format)
        if exists(format.single) {
            (names, weightMap) = ([format.single], nil)
            warnings =
                exists(format.index)
                ? [
                    "\(path) holds two models: \(format.single) is read, as transformers does, and not the files that "
                        + "\(format.index) lists"
                ] : []
        } else {
            let map = try Self.readIndex(folder: path, format)
            (names, weightMap, warnings) = (Set(map.map(\.file)).sorted(), map, [])
        }
    }

    /// The paths of the files with weights.
    var paths: [String] { names.map { folder + "/" + $0 } }

    /// The file of that name in the folder; nil if there is none. `name` is a plain name without a path.
    func textFile(_ name: String) throws -> [UInt8]? { try Self.textFile(name, in: folder) }

    /// The file of that name in a folder; nil if there is none. `name` is a plain name without a path.
    static func textFile(_ name: String, in folder: String) throws -> [UInt8]? {
        precondition(isPlainName(name), "'\(name)' is not a plain file name")
        guard FileManager.default.fileExists(atPath: folder + "/" + name) else { return nil }
        let file = try MappedFile(path: folder + "/" + name)
        guard file.count <= maximumTextFileByteCount else {
            throw MeraserError.badInput(
                "\(file.path) has \(file.count) bytes, expected at most \(maximumTextFileByteCount)")
        }
        return try [UInt8](unsafeUninitializedCapacity: file.count) { bytes, count in
            try file.read(into: UnsafeMutableRawBufferPointer(bytes), at: 0)
            count = file.count
        }
    }

    /// SHA-256 over the sorted lines `sha256  name` of config.json (if there is one) and the files with weights, whose
    /// digests the caller has computed.
    func sha256(ofFiles digests: [String]) throws -> String {
        var lines = zip(names, digests).map { "\($1)  \($0)\n" }
        if let config = try textFile("config.json") { lines.append("\(sha256Hex(config))  config.json\n") }
        return sha256Hex(lines.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }.joined())
    }

    /// The number of the file that has each tensor: as the index says, which must be true; without one, all of the one file.
    ///
    /// - Parameter tensors: the names that each file has.
    func fileByTensor(_ tensors: [[String]]) throws -> [[UInt8]: Int] {
        let present = tensors.map { Set($0.map { Array($0.utf8) }) }
        guard let weightMap else { return Dictionary(uniqueKeysWithValues: present[0].map { ($0, 0) }) }
        let numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
        var result: [[UInt8]: Int] = [:]
        for (tensor, name) in weightMap {
            guard let number = numbers[name], present[number].contains(tensor) else {
                throw MeraserError.badInput(
                    "\(folder): tensor \(quoted(String(decoding: tensor, as: UTF8.self))) is not in \(name), where "
                        + "\(format.index) has it")
            }
            result[tensor] = number
        }
        return result
    }

    /// A file name that stays in its folder.
    static func isPlainName(_ name: String) -> Bool {
        !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0)
    }

    /// `weight_map` of the index: which file has which tensor.
    private static func readIndex(folder: String, _ format: Format) throws -> [(tensor: [UInt8], file: String)] {
        let path = folder + "/" + format.index
        let file = try MappedFile(path: path)
        let json = try file.withBytes { try JSONValue.parse($0, file: path) }
        let map = try json.object("weight_map", in: path)
        guard map.count > 0 else { throw MeraserError.badInput("\(path): 'weight_map' is empty") }
        return try map.members.map { tensor, value in
            guard let name = value.string else {
                throw MeraserError.badInput(
                    "\(path): 'weight_map.\(tensor.string)' is \(value.kind), expected a file name")
            }
            guard isPlainName(name), name.hasSuffix(format.ending) else {
                throw MeraserError.badInput(
                    "\(path): 'weight_map.\(tensor.string)' is '\(name)', expected a plain \(format.ending) file name")
            }
            guard FileManager.default.fileExists(atPath: folder + "/" + name) else {
                throw MeraserError.badInput("\(folder): the shard \(name) is missing; \(format.index) lists it")
            }
            return (tensor.utf8, name)
        }
    }
}
