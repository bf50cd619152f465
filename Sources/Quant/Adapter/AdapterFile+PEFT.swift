import Base
import Foundation

/// A PEFT folder: `adapter_config.json`, and `adapter_model.safetensors` or `.bin`, whose tensors are named
/// `base_model.model.PATH.lora_A.weight`, `….lora_B.weight`, `….lora_magnitude_vector`, of an embedding
/// `….lora_embedding_A` and `….lora_embedding_B`, of rows of one
/// `….token_adapter.trainable_tokens_delta` (without `token_adapter` where there are no modules), and after the model's
/// own where they stand in place of them. Source: peft 0.21, `save_and_load.py`.
extension AdapterFile {
    /// The file that makes a folder an adapter.
    static let configName = "adapter_config.json"
    private static let prefix = "base_model.model."
    /// The last names of embeddings and heads, which PEFT also saves where a vocabulary has grown.
    private static let embeddings = ["embed_tokens", "lm_head", "wte", "embed_in", "embed_out"]

    init(folder: String) throws {
        let configPath = folder + "/" + Self.configName
        guard FileManager.default.fileExists(atPath: configPath) else {
            throw MeraserError.badInput("\(folder) is no adapter: it is no GGUF file and has no \(Self.configName)")
        }
        let file = try MappedFile(path: configPath)
        let json = try file.withBytes { try JSONValue.parse($0, file: configPath, maximumBytes: 16 << 20) }
        let config = try PEFTConfig(json: json, file: configPath)
        let weights = try AdapterTensors(folder: folder)
        let parts = try Parts(weights, config)
        let lines = [
            "\(try sha256Hex(file))  \(Self.configName)\n", "\(weights.sha256)  \(fileName(ofPath: weights.path))\n",
        ]
        self.init(
            path: folder, config: config, modules: try parts.modules(weights, config), saved: parts.saved,
            tokenRows: try parts.tokenRows(weights, config), sha256: sha256Hex(lines.sorted().joined().utf8),
            provenance: try Self.provenance(weights))
    }

    private static func provenance(_ weights: AdapterTensors) throws -> AdapterProvenance {
        func checked(_ text: String, _ key: String) throws -> String {
            let isHex = text.utf8.allSatisfy {
                ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9"))
                    || ($0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "f"))
            }
            guard isHex, text.utf8.count == 64 else {
                throw MeraserError.badInput(
                    "\(weights.path): metadata '\(key)' holds \(quoted(text)), expected 64 lowercase hex digits")
            }
            return text
        }
        return AdapterProvenance(
            baseSHA256: try weights.metadata[baseKey].map { try checked($0, baseKey) },
            sourceSHA256: try weights.metadata[sourceKey].map { try checked($0, sourceKey) },
            parents: try (weights.metadata[parentsKey] ?? "").split(separator: ",")
                .map { try checked(String($0), parentsKey) })
    }

    /// What a tensor is to its module.
    private enum Role: Hashable, CaseIterable {
        case a, b, magnitude, embeddingA, embeddingB

        /// PEFT's name for it.
        var name: String {
            switch self {
            case .a: "lora_A"
            case .b: "lora_B"
            case .magnitude: "lora_magnitude_vector"
            case .embeddingA: "lora_embedding_A"
            case .embeddingB: "lora_embedding_B"
            }
        }

        /// What the names of such tensors end in.
        var endings: [String] {
            let (plain, bare) = ([".\(name).weight", ".\(name).default.weight"], [".\(name)", ".\(name).default"])
            return switch self {
            case .a, .b: plain
            case .magnitude: plain + bare
            case .embeddingA, .embeddingB: bare
            }
        }
    }

    /// The tensors by what they are for.
    private struct Parts {
        private var factors: [String: [Role: AdapterTensor]] = [:]
        private(set) var saved: [String: AdapterTensor] = [:]
        private var rows: [String: AdapterTensor] = [:]

        init(_ weights: AdapterTensors, _ config: PEFTConfig) throws {
            for tensor in weights.tensors {
                if let (path, role) = Self.place(of: tensor.name) {
                    guard factors[path, default: [:]].updateValue(tensor, forKey: role) == nil else {
                        throw MeraserError.badInput("\(weights.path): module '\(path)' has \(role.name) twice")
                    }
                } else if let path = Self.rowsPath(tensor.name) {
                    guard rows.updateValue(tensor, forKey: path) == nil else {
                        throw MeraserError.badInput("\(weights.path): the rows of '\(path)' are there twice")
                    }
                } else if let name = Self.savedName(tensor.name, config) {
                    saved[name] = tensor
                } else {
                    throw MeraserError.badInput(
                        "\(weights.path): tensor \(quoted(tensor.name)) is not supported, expected "
                            + "\(prefix)PATH.lora_A.weight or .lora_B.weight, or one of a module that modules_to_save names"
                    )
                }
            }
            guard !factors.isEmpty || !saved.isEmpty || !rows.isEmpty else {
                throw MeraserError.badInput("\(weights.path) has no tensors")
            }
            for module in config.modulesToSave
            where !saved.keys.contains(where: { Self.module(of: $0).hasSuffix(module) }) {
                throw MeraserError.badInput(
                    "\(weights.path): modules_to_save of \(configName) names \(quoted(module)), which has no tensors")
            }
        }

        /// Which part of which module a tensor is; nil for any other name.
        private static func place(of tensor: String) -> (path: String, role: Role)? {
            guard tensor.hasPrefix(prefix) else { return nil }
            let name = tensor.dropFirst(prefix.count)
            for role in Role.allCases {
                for ending in role.endings where name.hasSuffix(ending) {
                    let path = name.dropLast(ending.count)
                    return path.isEmpty || path.utf8.count > 256 ? nil : (String(path), role)
                }
            }
            return nil
        }

        /// The path of the embedding that a tensor has rows of; nil for any other name.
        private static func rowsPath(_ tensor: String) -> String? {
            guard tensor.hasPrefix(prefix), tensor.utf8.count <= 256 else { return nil }
            var name = tensor.dropFirst(prefix.count)
            for end in [".default", ".trainable_tokens_delta"] {
                if name.hasSuffix(end) { name = name.dropLast(end.count) } else if end != ".default" { return nil }
            }
            if name.hasSuffix(".token_adapter") { name = name.dropLast(".token_adapter".count) }
            return name.isEmpty ? nil : String(name)
        }

        /// The rows of the input embedding. A head that is the embedding may have the same ones once more.
        func tokenRows(_ weights: AdapterTensors, _ config: PEFTConfig) throws -> AdapterTokenRows? {
            func bad(_ what: String) -> MeraserError { .badInput("\(weights.path): \(what)") }
            func isHead(_ path: String) -> Bool { path.hasSuffix("lm_head") || path.hasSuffix("embed_out") }
            let (heads, others) = (rows.filter { isHead($0.key) }, rows.filter { !isHead($0.key) })
            guard let (path, tensor) = others.first, others.count == 1 else {
                if rows.isEmpty, config.tokens.isEmpty { return nil }
                throw bad(
                    rows.isEmpty
                        ? "there are no rows for the tokens that \(configName) names"
                        : "expected rows of one input embedding, found "
                            + rows.keys.sorted().map { quoted($0) }.joined(separator: ", "))
            }
            guard tensor.shape.count == 2, tensor.rows == config.tokens.count else {
                throw bad(
                    "tensor \(quoted(tensor.name)) has shape \(tensor.shape), expected a row for each of the "
                        + "\(config.tokens.count) tokens that \(configName) names")
            }
            try tensor.requireFinite(file: weights.path)
            for (head, copy) in heads {
                guard copy.shape == tensor.shape, try copy.floats() == tensor.floats() else {
                    throw bad(
                        "rows of \(quoted(head)) of its own are not supported: only those of the input embedding are")
                }
            }
            return AdapterTokenRows(path: path, tokens: config.tokens, rows: tensor)
        }

        /// The model's name of a tensor that is saved whole; nil if it is none.
        private static func savedName(_ tensor: String, _ config: PEFTConfig) -> String? {
            guard tensor.hasPrefix(prefix), tensor.utf8.count <= 256 else { return nil }
            let name = String(tensor.dropFirst(prefix.count))
            guard name.hasSuffix(".weight") || name.hasSuffix(".bias"), !name.contains(".lora_") else { return nil }
            return config.isSaved(module(of: name), or: embeddings) ? name : nil
        }

        /// The path of the module that a tensor belongs to.
        private static func module(of name: String) -> String {
            name.split(separator: ".").dropLast().joined(separator: ".")
        }

        /// The modules with factors, each whole.
        func modules(_ weights: AdapterTensors, _ config: PEFTConfig) throws -> [AdapterModule] {
            try factors.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { path, parts in
                func bad(_ what: String) -> MeraserError {
                    .badInput("\(weights.path): module \(quoted(path)) \(what)")
                }
                let isEmbedding = parts[.embeddingA] != nil || parts[.embeddingB] != nil
                guard !isEmbedding || (parts[.a] == nil && parts[.b] == nil && parts[.magnitude] == nil) else {
                    throw bad("is an embedding and none at once")
                }
                // An embedding's weight [tokens, hidden] is the transpose of what its factors make.
                let (a, b) = try (
                    isEmbedding ? parts[.embeddingB]?.transposed(file: weights.path) : parts[.a],
                    isEmbedding ? parts[.embeddingA]?.transposed(file: weights.path) : parts[.b]
                )
                guard let a, let b else {
                    let missing: Role = isEmbedding ? (a == nil ? .embeddingB : .embeddingA) : (a == nil ? .a : .b)
                    throw bad("has no \(missing.name) to its other factor")
                }
                guard config.isTarget(path) else {
                    throw bad("has tensors, but target_modules of \(configName) does not name it")
                }
                guard isEmbedding || config.useDoRA == (parts[.magnitude] != nil) else {
                    throw bad(
                        config.useDoRA
                            ? "has no lora_magnitude_vector, though \(configName) says use_dora"
                            : "has a lora_magnitude_vector, though \(configName) does not say use_dora")
                }
                return try AdapterModule(
                    path: path, a: a, b: b, magnitude: parts[.magnitude], isEmbedding: isEmbedding, config: config,
                    file: weights.path)
            }
        }
    }
}
