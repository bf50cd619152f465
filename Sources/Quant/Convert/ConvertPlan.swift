import Base
import Foundation

/// A conversion whose every tensor has been found, with its shape as config.json demands; nothing is written yet.
struct ConvertPlan: Sendable {
    let source: any TensorSource
    let spec: ModelSpec
    let items: [RowPump.Item]
    let files: [(name: String, bytes: [UInt8])]
    let warnings: [String]

    init(source: any TensorSource, options: ConvertOptions) throws {
        self.source = source
        let spec = try ModelSpec(config: ConfigReader(of: source))
        self.spec = spec
        if case .decoder(let decoder) = spec {
            _ = try StopTokens.read(path: source.path, vocabularySize: decoder.vocabSize, textFile: source.textFile)
        }
        var warnings = source.warnings
        if spec.isTied, let embed = options.embedType, let head = options.headType, embed != head {
            throw MeraserError.usage(
                "embedding and output head are one tensor in this model, but `embed_type` is \(embed.name) and `head_type` "
                    + "\(head.name); give one of them")
        }
        let expected = spec.tensors
        let keepsTypes = source.isQuantized || options.keepsTypes
        items = try expected.map { tensor in
            let entry = try Self.find(tensor, in: source)
            let (type, warning) = options.type(
                of: tensor, isTied: spec.isTied, own: keepsTypes ? .some(entry.exactType) : nil)
            if let warning { warnings.append(warning) }
            return RowPump.Item(
                source: entry, target: TensorDeclaration(name: tensor.name, type: type, shape: tensor.shape))
        }
        warnings += try Self.leftOut(of: source, expected: expected, redundant: spec.redundantTensor)
        files = try Self.readFiles(source, warnings: &warnings)
        self.warnings = warnings
    }

    private static func find(
        _ tensor: TensorSpec, in source: any TensorSource
    ) throws -> TensorEntry {
        guard let entry = try source.entry(try sourceName(tensor, in: source)) else {
            throw MeraserError.badInput(
                "\(source.path): tensor '\(tensor.name)' is missing; config.json demands it with shape \(tensor.shape)")
        }
        guard entry.shape == tensor.shape else {
            throw MeraserError.badInput(
                "\(source.path): tensor '\(tensor.name)' has shape \(entry.shape), config.json demands \(tensor.shape)")
        }
        return entry
    }

    /// The name that the source has: BERT checkpoints of TensorFlow's time call a LayerNorm's vectors gamma and beta.
    private static func sourceName(_ tensor: TensorSpec, in source: any TensorSource) throws -> String {
        for (new, old) in [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")]
        where tensor.name.hasSuffix(new) {
            let name = tensor.name.dropLast(new.count) + old
            if try source.entry(tensor.name) == nil, try source.entry(String(name)) != nil { return String(name) }
        }
        return tensor.name
    }

    /// Warnings about tensors that the architecture does not have. transformers leaves them out too.
    private static func leftOut(
        of source: any TensorSource, expected: [TensorSpec], redundant: String?
    ) throws -> [String] {
        let known = Set(try expected.flatMap { [$0.name, try sourceName($0, in: source)] }.map { Array($0.utf8) })
        let extra = source.tensorNames.filter {
            !known.contains(Array($0.utf8)) && !HuggingFaceFiles.isBuffer($0) && $0 != redundant
        }
        guard let first = extra.first else { return [] }
        let rest = extra.count == 1 ? "" : " and \(extra.count - 1) more"
        return ["tensor '\(first)'\(rest) left out: the architecture has no such tensor"]
    }

    private static func readFiles(
        _ source: any TensorSource, warnings: inout [String]
    ) throws -> [(name: String, bytes: [UInt8])] {
        // tokenizer.json is made here of tokenizer.model, once for all.
        let source: any TextFileSource = try SentencePieceFiles(source) ?? source
        var files: [(name: String, bytes: [UInt8])] = []
        let isOlder = try source.textFile("tokenizer.json") == nil
        for name in HuggingFaceFiles.names + (isOlder ? HuggingFaceFiles.vocabularyNames : []) {
            guard let bytes = try source.textFile(name) else { continue }
            let path = source.path + "/" + name
            if name.hasSuffix(".json") {
                _ = try JSONValue.parse(bytes, file: path)
            } else if name != "tokenizer.model", String(validating: bytes, as: UTF8.self) == nil {
                throw MeraserError.badInput("\(path) is not valid UTF-8")
            }
            files.append((name, bytes))
        }
        if isOlder, !files.contains(where: { HuggingFaceFiles.vocabularyNames.contains($0.name) }) {
            warnings.append("there is no tokenizer.json: commands that read text will not work with this model")
        }
        return files
    }

    /// The type that most weights of the matrices have.
    private var mainType: TensorType? { Self.mainType(items.map(\.target)) }

    /// The type that most weights of the matrices among them have.
    static func mainType(_ tensors: [TensorDeclaration]) -> TensorType? {
        let matrices = tensors.filter { $0.shape.count == 2 }
        let counts = matrices.reduce(into: [TensorType: Int]()) { $0[$1.type, default: 0] += $1.shape[0] * $1.shape[1] }
        return counts.max { ($0.value, $1.key.rawValue) < ($1.value, $0.key.rawValue) }?.key
    }

    /// What the conversion will write.
    func report(destination: String, metadata: Metadata, isDry: Bool) throws -> ConvertReport {
        let layout = try MQFLayout(path: destination, metadata: metadata, tensors: items.map(\.target))
        return ConvertReport(
            items: items, byteCount: layout.header.fileLength, fileNames: isDry ? [] : [destination],
            warnings: warnings)
    }

    /// The metadata section.
    func metadata(_ provenance: Provenance) -> Metadata {
        var metadata = Metadata()
        metadata["general.architecture"] = .string(spec.ggufArchitecture)
        metadata["general.name"] = .string(HuggingFaceCache.modelName(source.path))
        metadata["general.alignment"] = .uint32(UInt32(MQFHeader.alignment))
        if let fileType = mainType?.ggufFileType { metadata["general.file_type"] = .uint32(fileType) }
        metadata["general.quantization_version"] = .uint32(2)
        spec.addMetadata(to: &metadata)
        if let sourceSHA256 = provenance.sourceSHA256 { metadata["mqf.source.sha256"] = .string(sourceSHA256) }
        for key in provenance.metadata.keys { metadata[key] = provenance.metadata[key] }
        // Not the build: the same numbers are the same file, whose hash adapters know it by.
        metadata["mqf.tool.version"] = .string("meraser \(meraserVersion) (numerics \(numericsVersion))")
        for file in files {
            let text = file.name == "tokenizer.model" ? nil : String(validating: file.bytes, as: UTF8.self)
            metadata[MQFFile.filePrefix + file.name] = text.map { .string($0) } ?? .array(.uint8(file.bytes))
        }
        return metadata
    }
}

extension TensorType {
    /// llama.cpp's `LLAMA_FTYPE` of a file whose matrices have this type; nil for ours.
    var ggufFileType: UInt32? {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q4_1: 3
        case .q8_0: 7
        case .q4_k: 15
        case .q5_k: 17
        case .q6_k: 18
        case .iq4_nl: 25
        case .bf16: 32
        case .nf4: nil
        }
    }
}
