import Base
import Foundation

/// One adapted module of an adapter: W + scale · B · A, and with a magnitude each row of that is scaled to its length
/// there (DoRA).
public struct AdapterModule: Sendable {
    /// The module's path in the model, such as `model.layers.0.self_attn.q_proj`.
    public let path: String
    /// A [r, K].
    public let a: AdapterTensor
    /// B [N, r].
    public let b: AdapterTensor
    /// DoRA's `lora_magnitude_vector` [N]; nil for a plain LoRA.
    public let magnitude: AdapterTensor?
    /// The factor on B·A.
    public let scale: Float
    /// True if it is an embedding's, which PEFT has as `lora_embedding_A` and `lora_embedding_B`, both the other way round.
    public let isEmbedding: Bool

    /// Rank.
    public var rank: Int { a.rows }
}

/// Rows of the input embedding that an adapter has in place of the model's own (PEFT's `trainable_token_indices`).
public struct AdapterTokenRows: Sendable {
    /// The embedding's path in the model, such as `model.embed_tokens`.
    public let path: String
    /// The tokens, each once.
    public let tokens: [Int32]
    /// Their rows [tokens, hidden], in that order.
    public let rows: AdapterTensor
}

/// What an adapter remembers of where it belongs.
public struct AdapterProvenance: Sendable, Equatable {
    /// SHA-256 of the base model's weights (`WeightStore.sha256()`), if known.
    public var baseSHA256: String?
    /// SHA-256 of the checkpoint that the base was converted from, if known: the adapter belongs there too.
    public var sourceSHA256: String?
    /// SHA-256 of the frozen adapters below it, lowest first; empty if none or not recorded.
    public var parents: [String]

    /// A record of base, its source and parents.
    public init(baseSHA256: String? = nil, sourceSHA256: String? = nil, parents: [String] = []) {
        self.baseSHA256 = baseSHA256
        self.sourceSHA256 = sourceSHA256
        self.parents = parents
    }
}

/// A LoRA adapter in PEFT's terms, for any architecture: a PEFT folder, or llama.cpp's GGUF file of one.
///
/// Everything is checked when it is opened: pairs, shapes, types, finite numbers. Immutable and thread-safe.
public struct AdapterFile: Sendable {
    /// The folder or file as given.
    public let path: String
    /// `adapter_config.json`, or what a GGUF file says of the same.
    public let config: PEFTConfig
    /// The adapted modules, sorted by path.
    public let modules: [AdapterModule]
    /// Tensors that stand in place of the model's own (`modules_to_save`), by the model's names.
    public let saved: [String: AdapterTensor]
    /// Rows of the input embedding; nil: none.
    public let tokenRows: AdapterTokenRows?
    /// The identity of the adapter, 64 hex digits: SHA-256 of the sorted lines `sha256  name` of a folder's two files,
    /// as `sha256sum adapter_config.json adapter_model.safetensors | LC_ALL=C sort | sha256sum` prints it; of a GGUF
    /// file its own.
    public let sha256: String
    /// Base and parents, where they are recorded (adapters that meraser wrote).
    public let provenance: AdapterProvenance

    /// Keys of our record in the safetensors metadata, which PEFT ignores.
    static let baseKey = "meraser.base_sha256"
    static let sourceKey = "meraser.source_sha256"
    static let parentsKey = "meraser.parents"

    /// Opens and checks a PEFT folder, or a GGUF file, whose names and order of rows only the model tells that it is
    /// for.
    ///
    /// - Parameters:
    ///   - path: the folder or file.
    ///   - model: the model that it is put on; nil: GGUF files are refused.
    /// - Throws: `badInput`, naming file, tensor and what was expected.
    public init(path: String, for model: DecoderSpec? = nil) throws {
        if GGUFFile.isGGUF(path: path) {
            guard let model else {
                throw MeraserError.badInput(
                    "\(path): the rows of a GGUF adapter are ordered as its model's, which is not given here; make a PEFT "
                        + "folder of it first, with meraser export and `format` peft")
            }
            try self.init(gguf: GGUFFile(path: path), for: model)
        } else {
            try self.init(folder: path)
        }
    }

    /// Of parts that have been checked.
    init(
        path: String, config: PEFTConfig, modules: [AdapterModule], saved: [String: AdapterTensor],
        tokenRows: AdapterTokenRows? = nil, sha256: String, provenance: AdapterProvenance
    ) {
        (self.path, self.config, self.modules, self.saved) = (path, config, modules, saved)
        self.tokenRows = tokenRows
        (self.sha256, self.provenance) = (sha256, provenance)
    }

    /// Throws a bad-input error if it is no sum of products B · A alone, as where adapters are added up.
    public func requireSum() throws {
        try requirePlain()
        guard tokenRows == nil else {
            throw MeraserError.badInput(
                "\(path) holds rows of the embedding (trainable_token_indices), which stand in place of the model's and do "
                    + "not add up")
        }
    }

    /// Throws a bad-input error if it does more than add B · A to weights and replace rows of the embedding, which only
    /// weights that are written can take in.
    public func requirePlain() throws {
        let reason: String
        if let name = saved.keys.sorted().first {
            reason = "holds whole tensors of the model (\(quoted(name)), modules_to_save)"
        } else if let module = modules.first(where: \.isEmbedding) {
            reason = "adapts the embedding (\(quoted(module.path)), lora_embedding_A)"
        } else if config.useDoRA {
            reason = "is a DoRA (use_dora), which scales the rows of the weights"
        } else {
            return
        }
        throw MeraserError.badInput(
            "\(path) \(reason) and cannot lie on a model; write it into the model with meraser export and use the folder that "
                + "this makes")
    }
}

/// Messages about the two factors of a module.
extension AdapterModule {
    /// Pairs and checks two factors, and a magnitude if there is one, of a module that the configuration names; `file`
    /// is the file's name for errors.
    init(
        path: String, a: AdapterTensor, b: AdapterTensor, magnitude: AdapterTensor?, isEmbedding: Bool = false,
        config: PEFTConfig, file: String
    ) throws {
        let rank = try config.rank(of: path)
        guard a.shape.count == 2, a.rows == rank else {
            throw MeraserError.badInput(
                "\(file): tensor '\(a.name)' has shape \(a.shape), expected [\(rank), inputs] for rank \(rank)")
        }
        guard b.shape.count == 2, b.columns == rank else {
            throw MeraserError.badInput(
                "\(file): tensor '\(b.name)' has shape \(b.shape), expected [outputs, \(rank)] for rank \(rank)")
        }
        if let magnitude, magnitude.shape != [b.rows] {
            throw MeraserError.badInput(
                "\(file): tensor '\(magnitude.name)' has shape \(magnitude.shape), expected [\(b.rows)], a number for each "
                    + "output")
        }
        for tensor in [a, b] + [magnitude].compactMap({ $0 }) { try tensor.requireFinite(file: file) }
        (self.path, self.a, self.b, self.magnitude, self.isEmbedding) = (path, a, b, magnitude, isEmbedding)
        scale = try config.scale(of: path)
    }
}
