import Base
import Foundation

/// One adapted module of a PEFT folder: ΔW = scale · B · A.
public struct PEFTModule: Sendable {
    /// The module's path in the model, such as `model.layers.0.self_attn.q_proj`.
    public let path: String
    /// A [r, K]: f32, f16 or bf16.
    public let a: TensorView
    /// B [N, r]: f32, f16 or bf16.
    public let b: TensorView
    /// The factor on B·A.
    public let scale: Float

    /// Rank.
    public var rank: Int { a.info.rows }
}

/// A LoRA adapter in PEFT's folder layout, for any architecture: `adapter_config.json` and
/// `adapter_model.safetensors`, whose tensors are named `base_model.model.PATH.lora_A.weight` and `….lora_B.weight`.
///
/// Everything is checked when it is opened: pairs, shapes, types, finite numbers. Immutable and thread-safe.
public struct PEFTAdapterFile: Sendable {
    /// The folder as given.
    public let path: String
    /// `adapter_config.json`.
    public let config: PEFTConfig
    /// The adapted modules, sorted by path.
    public let modules: [PEFTModule]
    /// The identity of the adapter, 64 hex digits: SHA-256 of the sorted lines `sha256  name` of its two files, as
    /// `sha256sum adapter_config.json adapter_model.safetensors | LC_ALL=C sort | sha256sum` prints it.
    public let sha256: String
    /// SHA-256 of the base model it was trained on, if recorded (adapters that meraser wrote).
    public let baseSHA256: String?
    /// SHA-256 of the adapters that were frozen below it, lowest first; empty if none or not recorded.
    public let parents: [String]

    /// Names of the files in a folder.
    static let configName = "adapter_config.json"
    static let weightsName = "adapter_model.safetensors"
    /// Keys of our record in the safetensors metadata, which PEFT ignores.
    static let baseKey = "meraser.base_sha256"
    static let parentsKey = "meraser.parents"

    /// Opens and checks a folder. Errors (`badInput`) name file, tensor and what was expected.
    public init(folder: String) throws {
        let configPath = folder + "/" + Self.configName
        let weightsPath = folder + "/" + Self.weightsName
        try Self.checkFiles(folder: folder, configPath: configPath, weightsPath: weightsPath)
        let configFile = try MappedFile(path: configPath)
        let json = try configFile.withBytes { try JSONValue.parse($0, file: configPath, maximumBytes: 16 << 20) }
        config = try PEFTConfig(json: json, file: configPath)
        let weights = try SafetensorsFile(path: weightsPath)
        modules = try Self.modules(of: weights, config: config)
        path = folder
        let lines = [
            "\(try sha256Hex(configFile))  \(Self.configName)\n",
            "\(try sha256Hex(weights.file))  \(Self.weightsName)\n",
        ]
        sha256 = sha256Hex(lines.sorted().joined().utf8)
        let metadata = Dictionary(weights.metadata.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
        baseSHA256 = try metadata[Self.baseKey].map { try Self.checkedSHA($0, Self.baseKey, weightsPath) }
        parents = try (metadata[Self.parentsKey] ?? "").split(separator: ",")
            .map { try Self.checkedSHA(String($0), Self.parentsKey, weightsPath) }
    }

    /// True if that folder looks like an adapter's.
    public static func isAdapter(folder: String) -> Bool {
        FileManager.default.fileExists(atPath: folder + "/" + configName)
    }

    private static func checkFiles(folder: String, configPath: String, weightsPath: String) throws {
        let manager = FileManager.default
        guard manager.fileExists(atPath: configPath) else {
            throw MeraserError.badInput("\(folder) is no PEFT adapter: it has no \(configName)")
        }
        guard !manager.fileExists(atPath: weightsPath) else { return }
        if manager.fileExists(atPath: folder + "/adapter_model.bin") {
            throw MeraserError.badInput(
                "\(folder) has its weights in adapter_model.bin, a pickle file that meraser does not read; save the "
                    + "adapter again with safetensors (PEFT: save_pretrained)")
        }
        throw MeraserError.badInput("\(folder) has no \(weightsName)")
    }

    private static func checkedSHA(_ text: String, _ key: String, _ file: String) throws -> String {
        let isHex = text.utf8.allSatisfy {
            ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9")) || ($0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "f"))
        }
        guard isHex, text.utf8.count == 64 else {
            throw MeraserError.badInput("\(file): metadata '\(key)' holds '\(text)', expected 64 lowercase hex digits")
        }
        return text
    }
}

// MARK: - Pairing tensors

extension PEFTAdapterFile {
    private static let prefix = "base_model.model."

    /// Which factor of which module a tensor is; nil for any other name.
    private static func place(of tensor: String) -> (path: String, isA: Bool)? {
        guard tensor.hasPrefix(prefix) else { return nil }
        let name = tensor.dropFirst(prefix.count)
        for (factor, isA) in [("lora_A", true), ("lora_B", false)] {
            for suffix in [".\(factor).weight", ".\(factor).default.weight"] where name.hasSuffix(suffix) {
                let path = name.dropLast(suffix.count)
                return path.isEmpty || path.utf8.count > 256 ? nil : (String(path), isA)
            }
        }
        return nil
    }

    private static func modules(of file: SafetensorsFile, config: PEFTConfig) throws -> [PEFTModule] {
        var factors: [String: (a: String?, b: String?)] = [:]
        for entry in file.entries {
            guard let (path, isA) = place(of: entry.name) else {
                throw MeraserError.badInput(
                    "\(file.path): tensor \(quoted(entry.name)) is not supported, expected "
                        + "\(prefix)PATH.lora_A.weight or .lora_B.weight")
            }
            guard (isA ? factors[path]?.a : factors[path]?.b) == nil else {
                throw MeraserError.badInput("\(file.path): module '\(path)' has \(isA ? "lora_A" : "lora_B") twice")
            }
            if isA {
                factors[path, default: (nil, nil)].a = entry.name
            } else {
                factors[path, default: (nil, nil)].b = entry.name
            }
        }
        guard !factors.isEmpty else { throw MeraserError.badInput("\(file.path) has no tensors") }
        return try factors.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { path, names in
            guard let a = names.a, let b = names.b else {
                throw MeraserError.badInput(
                    "\(file.path): module '\(path)' has no \(names.a == nil ? "lora_A" : "lora_B") to its other factor")
            }
            return try module(path, a: try file.tensor(a), b: try file.tensor(b), config: config, file: file.path)
        }
    }

    private static func module(
        _ path: String, a: TensorView, b: TensorView, config: PEFTConfig, file: String
    ) throws -> PEFTModule {
        guard config.isTarget(path) else {
            throw MeraserError.badInput(
                "\(file): module \(quoted(path)) has tensors, but target_modules of \(configName) does not name it")
        }
        let rank = try config.rank(of: path)
        guard a.info.shape.count == 2, a.info.rows == rank else {
            throw MeraserError.badInput(
                "\(file): tensor '\(a.info.name)' has shape \(a.info.shape), expected [\(rank), inputs] for rank \(rank)"
            )
        }
        guard b.info.shape.count == 2, b.info.columns == rank else {
            throw MeraserError.badInput(
                "\(file): tensor '\(b.info.name)' has shape \(b.info.shape), expected [outputs, \(rank)] for rank \(rank)"
            )
        }
        for tensor in [a, b] where !tensor.isFinite() {
            throw MeraserError.badInput("\(file): tensor \(quoted(tensor.info.name)) holds numbers that are not finite")
        }
        return PEFTModule(path: path, a: a, b: b, scale: try config.scale(of: path))
    }
}

extension TensorView {
    /// True if no element is NaN or infinite; for plain types.
    fileprivate func isFinite() -> Bool {
        floats().withUnsafeBufferPointer { values in
            var i = 0
            while i < values.count {
                if !values[i].isFinite { return false }
                i += 1
            }
            return true
        }
    }
}
