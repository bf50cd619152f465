import Base
import Foundation

/// A GGUF file as a source of weights with Hugging Face's names, order of rows and text files. Thread-safe.
public final class GGUFModel: StoredSource {
    /// The path as given.
    public let path: String

    private let texts: GGUFTextFiles
    private let tensors: [[UInt8]: GGUFTensor]
    private let files: [String]
    private let identity = Identity()
    /// The names of all tensors, in the order of the files.
    public let tensorNames: [String]

    /// Opens a file, or all parts of a split one by its first. Errors (`badInput`) as `GGUFWeights`, for metadata that is
    /// missing or not supported, and for a file that holds only a vocabulary.
    public init(path: String) throws {
        let parts = try GGUFParts(path: path)
        guard parts.files.contains(where: { !$0.tensors.isEmpty }) else {
            throw MeraserError.badInput(
                "\(path) holds a vocabulary and no weights; it can be read by 'meraser tokenize' only")
        }
        texts = try GGUFTextFiles(parts)
        let weights = try GGUFWeights(parts, texts, path: path)
        tensorNames = weights.tensors.map(\.name)
        tensors = Dictionary(
            weights.tensors.map { (Array($0.name.utf8), $0) }, uniquingKeysWith: { first, _ in first })
        files = parts.files.map(\.path)
        self.path = path
    }

    /// Types stay what they are where MQF has them.
    public var isQuantized: Bool { true }

    /// What there is under that name; nil if there is nothing.
    public func entry(_ name: String) -> TensorEntry? {
        tensors[Array(name.utf8)].map { tensor in
            var exact: TensorType?
            // Tiles would keep what the file has added to the values.
            if case .exactly(let type) = tensor.type.reading, tensor.valueOffset == 0 || !type.isTiled { exact = type }
            return TensorEntry(
                name: name, shape: tensor.shape, exactType: exact, byteCount: tensor.byteCount, path: tensor.file.path,
                offset: tensor.offset)
        }
    }

    /// One of Hugging Face's files, made of the metadata; nil if it has no counterpart.
    public func textFile(_ name: String) throws -> [UInt8]? { try texts.textFile(name) }

    /// The rows of that tensor. Error (`badInput`): there is none.
    public func rows(of name: String) throws -> any TensorRows {
        guard let tensor = tensors[Array(name.utf8)] else {
            throw MeraserError.badInput("\(path): there is no tensor \(quoted(name))")
        }
        return tensor
    }

    /// Nothing to do: the format has no checksums.
    public func verify() throws {}

    /// SHA-256 of the file; of a split one, of the sorted lines `sha256  name` of its parts. Reads everything.
    public func sha256() throws -> String {
        try identity.value {
            let digests = try files.map { try sha256Hex(ofFile: $0) }
            if digests.count == 1 { return digests[0] }
            let lines = zip(digests, files).map { "\($0)  \(URL(fileURLWithPath: $1).lastPathComponent)\n" }
            return sha256Hex(lines.sorted().joined().utf8)
        }
    }
}
