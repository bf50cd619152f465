import Base

/// Hugging Face's text files of a GGUF model, made of its metadata: config.json, generation_config.json, tokenizer.json
/// and tokenizer_config.json. Immutable and thread-safe.
///
/// Everything that reads a model reads these, so that a GGUF file needs no tokenizer and no configuration of its own.
/// docs/reference/gguf.md says which keys become what.
public struct GGUFTextFiles: TextFileSource {
    /// The path as given, for errors.
    public let path: String

    private let metadata: Metadata
    private let tensors: [GGUFTensorInfo]
    private let ropeFactors: [String: [Float]]
    private let vocabulary: GGUFVocabulary?

    /// The text files of a model whose parts have been read already.
    ///
    /// - Parameters:
    ///   - metadata: of the file, or of the first part of a split one.
    ///   - tensors: all tensors, of all parts; none in a file that holds only a vocabulary.
    ///   - ropeFactors: the values of the tensors with factors of rotary frequencies: `rope_freqs.weight` and others.
    ///   - path: the file's name for errors.
    /// - Throws: a bad-input error naming a key of the vocabulary that is missing, malformed or not supported.
    public init(
        metadata: Metadata, tensors: [GGUFTensorInfo], ropeFactors: [String: [Float]] = [:], path: String
    ) throws {
        self.path = path
        self.metadata = metadata
        self.tensors = tensors
        self.ropeFactors = ropeFactors
        vocabulary = try GGUFVocabulary(metadata, file: path)
    }

    /// The text files of one whole file. Throws as the other initializer, and if a tensor of factors cannot be read.
    public init(_ file: GGUFFile) throws {
        try self.init(
            metadata: file.metadata, tensors: file.tensors, ropeFactors: try Self.ropeFactors(file), path: file.path)
    }

    /// The bytes of one of Hugging Face's files; nil for one that a GGUF file does not stand for: every file but the
    /// four, config.json where there are no tensors, the tokenizer's files where there is no vocabulary.
    ///
    /// - Throws: a bad-input error naming the key that is missing, malformed or not supported.
    public func textFile(_ name: String) throws -> [UInt8]? {
        let json: JSONValue?
        switch name {
        case "config.json": json = tensors.isEmpty ? nil : try config()
        case "generation_config.json": json = vocabulary?.generationConfig
        case "tokenizer.json": json = try vocabulary.map { try GGUFTokenizer($0, metadata).tokenizerJSON() }
        case "tokenizer_config.json": json = try vocabulary.map { try GGUFTokenizer($0, metadata).tokenizerConfig() }
        default: json = nil
        }
        return json.map { Array($0.serialized(indent: name == "tokenizer.json" ? nil : 2).utf8) }
    }

    private func config() throws -> JSONValue {
        try GGUFConfig(metadata, tensors: tensors, ropeFactors: ropeFactors, file: path).json(vocabulary: vocabulary)
    }

    /// Where the tensors of the model lie in the file. Errors: as config.json's, and what no model that is served can be.
    func layout() throws -> GGUFLayout {
        GGUFLayout(try DecoderSpec(config: ConfigReader(json: try config(), file: "\(path): config.json")))
    }

    /// The text files of a model in parts.
    init(_ parts: GGUFParts) throws {
        try self.init(
            metadata: parts.files[0].metadata, tensors: parts.files.flatMap(\.tensors),
            ropeFactors: try parts.files.reduce(into: [:]) { all, file in
                all.merge(try Self.ropeFactors(file)) { first, _ in first }
            }, path: parts.files[0].path)
    }

    /// The values of the tensors with factors of rotary frequencies: one for each pair of a head.
    private static func ropeFactors(_ file: GGUFFile) throws -> [String: [Float]] {
        var factors: [String: [Float]] = [:]
        for info in file.tensors where GGUFKeys.ropeFactorNames.contains(info.name) {
            factors[info.name] = try values(of: info, in: file)
        }
        return factors
    }

    /// The numbers of a small vector.
    private static func values(of info: GGUFTensorInfo, in file: GGUFFile) throws -> [Float] {
        func bad(_ what: String) -> MeraserError { .badInput("\(file.path): tensor '\(info.name)' \(what)") }
        guard info.typeID == TensorType.f32.rawValue, info.dimensions.count == 1, info.dimensions[0] <= 4096 else {
            throw bad("is no vector of up to 4096 f32 numbers")
        }
        let bytes = try MappedFile(path: file.path)
        guard let size = product(info.dimensions[0], 4), let place = sum(file.dataOffset, info.offset),
            let end = sum(place, size), end <= bytes.count
        else { throw bad("ends beyond the file: the file is incomplete") }
        return bytes.withBytes { all in
            stride(from: place, to: end, by: 4).map {
                Float(bitPattern: UInt32(littleEndian: all.loadUnaligned(fromByteOffset: $0, as: UInt32.self)))
            }
        }
    }
}
