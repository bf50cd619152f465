import Base

/// PEFT's `adapter_config.json` of a LoRA adapter, for any architecture.
///
/// Source: peft 0.21, `LoraConfig`. What changes the arithmetic and is not supported here is refused when it is read.
public struct PEFTConfig: Sendable, Equatable {
    /// `target_modules`.
    public enum Targets: Sendable, Equatable {
        /// Module paths or their ends: `q_proj` names every module whose path ends in `.q_proj`.
        case names([String])
        /// A regular expression over whole module paths, or `all-linear`: the tensors say which modules it meant.
        case pattern(String)
    }

    /// Rank.
    public var r: Int
    /// `lora_alpha`.
    public var loraAlpha: Double
    /// `lora_dropout`.
    public var loraDropout: Double
    /// `use_rslora`: scale by alpha / √r instead of alpha / r.
    public var useRSLoRA: Bool
    /// `use_dora`: a row of the sum is scaled to the length that the adapter has for it.
    public var useDoRA: Bool
    /// `target_modules`.
    public var targets: Targets
    /// `layers_to_transform`: of the modules that are named by the ends of their paths, those of these layers are meant; empty:
    /// of every layer.
    public var layersToTransform: [Int]
    /// `layers_pattern`: what the number of a layer stands behind in a path; empty: behind anything, the first number counts.
    public var layersPattern: [String]
    /// `rank_pattern`: ranks of modules whose path matches a key, first match first.
    public var rankPattern: [(key: String, value: Int)]
    /// `alpha_pattern`: alphas of modules whose path matches a key, first match first.
    public var alphaPattern: [(key: String, value: Double)]
    /// `modules_to_save`: ends of the paths of modules whose own tensors the adapter holds.
    public var modulesToSave: [String]
    /// `trainable_token_indices`, of an adapter without modules `token_indices`: the tokens whose rows of the input embedding
    /// the adapter holds, in the order of its tensor.
    public var tokens: [Int32]
    /// `base_model_name_or_path`.
    public var baseModelName: String?

    /// A configuration.
    public init(
        r: Int, loraAlpha: Double, loraDropout: Double = 0, useRSLoRA: Bool = false, useDoRA: Bool = false,
        targets: Targets, layersToTransform: [Int] = [], layersPattern: [String] = [],
        rankPattern: [(key: String, value: Int)] = [],
        alphaPattern: [(key: String, value: Double)] = [], modulesToSave: [String] = [], tokens: [Int32] = [],
        baseModelName: String? = nil
    ) {
        self.r = r
        self.loraAlpha = loraAlpha
        self.loraDropout = loraDropout
        self.useRSLoRA = useRSLoRA
        self.useDoRA = useDoRA
        self.targets = targets
        self.layersToTransform = layersToTransform
        self.layersPattern = layersPattern
        self.rankPattern = rankPattern
        self.alphaPattern = alphaPattern
        self.modulesToSave = modulesToSave
        self.tokens = tokens
        self.baseModelName = baseModelName
    }

    /// Equal in every value; patterns are compared in order.
    public static func == (a: PEFTConfig, b: PEFTConfig) -> Bool {
        a.r == b.r && a.loraAlpha == b.loraAlpha && a.loraDropout == b.loraDropout && a.useRSLoRA == b.useRSLoRA
            && a.useDoRA == b.useDoRA && a.targets == b.targets && a.modulesToSave == b.modulesToSave
            && a.tokens == b.tokens && a.baseModelName == b.baseModelName
            && a.layersToTransform == b.layersToTransform && a.layersPattern == b.layersPattern
            && a.rankPattern.map(\.key) == b.rankPattern.map(\.key)
            && a.rankPattern.map(\.value) == b.rankPattern.map(\.value)
            && a.alphaPattern.map(\.key) == b.alphaPattern.map(\.key)
            && a.alphaPattern.map(\.value) == b.alphaPattern.map(\.value)
    }

    /// The rank of the module at that path.
    public func rank(of path: String) throws -> Int {
        for (key, value) in rankPattern where try PEFTPattern(key).matchesEnd(of: path) { return value }
        return r
    }

    /// The alpha of the module at that path.
    public func alpha(of path: String) throws -> Double {
        for (key, value) in alphaPattern where try PEFTPattern(key).matchesEnd(of: path) { return value }
        return loraAlpha
    }

    /// The factor on B·A of the module at that path.
    public func scale(of path: String) throws -> Float { Float(try exactScale(of: path)) }

    /// The same in double precision.
    public func exactScale(of path: String) throws -> Double {
        let alpha = try self.alpha(of: path)
        let rank = Double(try self.rank(of: path))
        return useRSLoRA ? alpha / rank.squareRoot() : alpha / rank
    }

    /// True if `target_modules` names that path, in a layer of `layers_to_transform` where only its end is named; always true
    /// for a pattern, which PEFT resolves on the whole model.
    public func isTarget(_ path: String) -> Bool {
        switch targets {
        case .names(let names):
            names.contains(path) || (names.contains { path.hasSuffix("." + $0) } && isInLayers(path))
        case .pattern: true
        }
    }

    private func isInLayers(_ path: String) -> Bool {
        if layersToTransform.isEmpty { return true }
        let parts = path.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        let patterns: [String?] = layersPattern.isEmpty ? [nil] : layersPattern
        let layer = patterns.lazy.compactMap { Self.layer(in: parts, behind: $0) }.first
        return layer.map(layersToTransform.contains) ?? false
    }

    /// The first number in a path that stands behind that pattern, or behind two names, and is not its end.
    private static func layer(in parts: [String], behind pattern: String?) -> Int? {
        for place in parts.indices.dropLast() where parts[place].utf8.allSatisfy({ (48...57).contains($0) }) {
            let front = parts[..<place].joined(separator: ".")
            let isBehind = pattern.map { front == $0 || front.hasSuffix("." + $0) } ?? (place >= 2)
            if isBehind, let number = Int(parts[place]) { return number }
        }
        return nil
    }

    /// True if `modules_to_save` or one of those names is an end of that path, as PEFT compares them.
    func isSaved(_ path: String, or names: [String] = []) -> Bool {
        (modulesToSave + names).contains { path.hasSuffix($0) }
    }
}

// MARK: - Reading and writing

extension PEFTConfig {
    /// `peft_type` of an adapter that holds rows of the embedding and nothing else.
    static let tokensType = "TRAINABLE_TOKENS"
    /// The most tokens that are read.
    static let maximumTokens = 1 << 20
    /// The largest rank that is read.
    static let maximumRank = 65_536
    /// The most module names, layers, and keys of a pattern: each module of an adapter is compared with them.
    static let maximumNames = 4096

    /// Reads the configuration; `file` is the name that errors show.
    ///
    /// - Throws: a bad-input error naming the key, what it holds and what is supported.
    public init(json: JSONValue, file: String) throws {
        let reader = PEFTConfigReader(json: json, file: file)
        if try reader.isTokensOnly() {
            self = PEFTConfig(
                r: 1, loraAlpha: 1, targets: .names([]), tokens: try reader.tokens("token_indices"),
                baseModelName: json["base_model_name_or_path"]?.string)
            return
        }
        try reader.refuseUnsupported()
        tokens = try reader.tokens("trainable_token_indices")
        r = try reader.rank(try json.int("r", in: file), "r")
        loraAlpha = try reader.alpha(try json.double("lora_alpha", in: file), "lora_alpha")
        loraDropout = try json.doubleIfPresent("lora_dropout", in: file) ?? 0
        guard (0..<1).contains(loraDropout) else {
            throw reader.error("lora_dropout", "is \(loraDropout), expected a probability below 1")
        }
        useRSLoRA = try json.boolIfPresent("use_rslora", in: file) ?? false
        useDoRA = try json.boolIfPresent("use_dora", in: file) ?? false
        targets = try reader.targets()
        layersToTransform = try reader.layers(of: targets)
        layersPattern = try reader.layersPattern(isUsed: !layersToTransform.isEmpty)
        modulesToSave = try reader.names("modules_to_save") ?? []
        rankPattern = try reader.pattern("rank_pattern") { key, value in
            guard let rank = value.int else { throw reader.error(key, "is \(value.kind), expected an integer") }
            return try reader.rank(rank, key)
        }
        alphaPattern = try reader.pattern("alpha_pattern") { key, value in
            guard let alpha = value.double else { throw reader.error(key, "is \(value.kind), expected a number") }
            return try reader.alpha(alpha, key)
        }
        baseModelName = json["base_model_name_or_path"]?.string
    }

    /// The keys that every PEFT from 0.15 on knows.
    public func json() -> JSONValue {
        let name: JSONValue = baseModelName.map { .text($0) } ?? .null
        let indices = JSONValue.array(tokens.map { .integer(Int($0)) })
        // Without a name PEFT takes the input embedding.
        if targets == .names([]) {
            return [
                "base_model_name_or_path": name, "inference_mode": .bool(true), "init_weights": .bool(true),
                "peft_type": .text(Self.tokensType), "target_modules": .null,
                "task_type": .text("CAUSAL_LM"), "token_indices": indices,
            ]
        }
        let targetModules: JSONValue =
            switch targets {
            case .names(let names): .array(names.map { .text($0) })
            case .pattern(let pattern): .text(pattern)
            }
        var members: [(key: String, value: JSONValue)] = [
            ("alpha_pattern", .object(JSONObject(alphaPattern.map { (key: $0.key, value: .real($0.value)) }))),
            ("base_model_name_or_path", name),
            ("bias", .text("none")),
            ("fan_in_fan_out", .bool(false)),
            ("inference_mode", .bool(true)),
            ("lora_alpha", .real(loraAlpha)),
            ("lora_dropout", .real(loraDropout)),
            ("modules_to_save", modulesToSave.isEmpty ? .null : .array(modulesToSave.map { .text($0) })),
            ("peft_type", .text("LORA")),
            ("r", .integer(r)),
            ("rank_pattern", .object(JSONObject(rankPattern.map { (key: $0.key, value: .integer($0.value)) }))),
            ("target_modules", targetModules),
            ("task_type", .text("CAUSAL_LM")),
            ("use_dora", .bool(useDoRA)),
            ("use_rslora", .bool(useRSLoRA)),
        ]
        if !layersToTransform.isEmpty {
            members.append(("layers_to_transform", .array(layersToTransform.map { .integer($0) })))
        }
        if !layersPattern.isEmpty { members.append(("layers_pattern", .array(layersPattern.map { .text($0) }))) }
        if !tokens.isEmpty { members.append(("trainable_token_indices", indices)) }
        return .object(JSONObject(members))
    }
}

/// Reads bounded values of an adapter_config.json and words the errors.
private struct PEFTConfigReader {
    let json: JSONValue
    let file: String

    func error(_ key: String, _ what: String) -> MeraserError { .badInput("\(file): \(key) \(what)") }

    /// True for an adapter of token rows without any modules.
    func isTokensOnly() throws -> Bool {
        guard json.object != nil else { throw MeraserError.badInput("\(file): \(json.kind), expected an object") }
        return json["peft_type"]?.string == PEFTConfig.tokensType
    }

    /// Tokens, each once: a list, or one list under the embedding's name.
    func tokens(_ key: String) throws -> [Int32] {
        guard var value = json[key], !value.isNull else { return [] }
        if let object = value.object {
            guard object.count <= 1 else {
                throw error(key, "names \(object.count) modules, supported: the rows of the input embedding alone")
            }
            guard let only = object.members.first?.value else { return [] }
            value = only
        }
        guard let list = value.array, list.count <= PEFTConfig.maximumTokens else {
            throw error(key, "is \(value.kind), expected a list of at most \(PEFTConfig.maximumTokens) tokens")
        }
        let tokens = list.compactMap { $0.int }.compactMap { Int32(exactly: $0) }.filter { $0 >= 0 }
        guard tokens.count == list.count, Set(tokens).count == tokens.count else {
            throw error(key, "holds what is no token, or one twice")
        }
        return tokens
    }

    func rank(_ value: Int, _ key: String) throws -> Int {
        guard (1...PEFTConfig.maximumRank).contains(value) else {
            throw error(key, "is \(value), expected a rank from 1 to \(PEFTConfig.maximumRank)")
        }
        return value
    }

    func alpha(_ value: Double, _ key: String) throws -> Double {
        guard value.isFinite, abs(value) <= 1e6 else { throw error(key, "is \(value), expected at most 1e6") }
        return value
    }

    func targets() throws -> PEFTConfig.Targets {
        if let pattern = json["target_modules"]?.string { return .pattern(pattern) }
        guard let names = try names("target_modules") else {
            throw error("target_modules", "is missing, expected a list of module names")
        }
        guard !names.isEmpty else { throw error("target_modules", "is an empty list, expected names of modules") }
        return .names(names)
    }

    /// Numbers of layers, a list or one; empty where there are none, which means every layer.
    func layers(of targets: PEFTConfig.Targets) throws -> [Int] {
        guard let value = json["layers_to_transform"], !value.isNull else { return [] }
        let list = value.array ?? [value]
        let layers = list.compactMap { $0.int }.filter { $0 >= 0 }
        guard layers.count == list.count, list.count <= PEFTConfig.maximumNames else {
            throw error(
                "layers_to_transform", "is no number of a layer and no list of at most \(PEFTConfig.maximumNames)")
        }
        if case .pattern = targets, !layers.isEmpty {
            throw error("layers_to_transform", "is set beside a target_modules that is no list, which PEFT refuses too")
        }
        return layers
    }

    /// Plain names, a list or one, which go with layers.
    func layersPattern(isUsed: Bool) throws -> [String] {
        guard let value = json["layers_pattern"], !value.isNull else { return [] }
        let list = (value.array ?? [value]).map { $0.string ?? " " }.filter { !$0.isEmpty }
        let isPlain = list.allSatisfy { name in
            name.utf8.allSatisfy {
                ($0 | 0x20 >= UInt8(ascii: "a") && $0 | 0x20 <= UInt8(ascii: "z"))
                    || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9")) || $0 == UInt8(ascii: ".")
                    || $0 == UInt8(ascii: "_")
            }
        }
        guard isPlain, list.count <= PEFTConfig.maximumNames else {
            throw error("layers_pattern", "is no plain name and no list of such, other patterns are not supported")
        }
        guard isUsed || list.isEmpty else { throw error("layers_pattern", "is set without layers_to_transform") }
        return list
    }

    /// A list of names of modules; nil where it is absent or null.
    func names(_ key: String) throws -> [String]? {
        guard let value = json[key], !value.isNull else { return nil }
        guard let names = value.array?.map(\.string), names.allSatisfy({ $0?.isEmpty == false }) else {
            throw error(key, "is no list of names of modules")
        }
        guard names.count <= PEFTConfig.maximumNames else {
            throw error(key, "has \(names.count) names, expected at most \(PEFTConfig.maximumNames)")
        }
        return names.compactMap { $0 }
    }

    func pattern<T>(_ key: String, _ read: (String, JSONValue) throws -> T) throws -> [(key: String, value: T)] {
        guard let object = try json.objectIfPresent(key, in: file) else { return [] }
        guard object.count <= PEFTConfig.maximumNames else {
            throw error(key, "has \(object.count) keys, expected at most \(PEFTConfig.maximumNames)")
        }
        return try object.members.map { name, value in
            do {
                _ = try PEFTPattern(name.string)
            } catch let problem as MeraserError {
                throw error(key, problem.message)
            }
            return (name.string, try read("\(key).\(name.string)", value))
        }
    }

    /// Everything that changes what the adapter computes and that meraser does not do.
    func refuseUnsupported() throws {
        let type = try json.string("peft_type", in: file)
        guard type == "LORA" else {
            throw error("peft_type", "is \(quoted(type)), supported: LORA, \(PEFTConfig.tokensType)")
        }
        if let bias = json["bias"], !bias.isNull, bias.string != "none" {
            throw error("bias", "is '\(bias.string ?? bias.kind)', supported: none")
        }
        for key in ["fan_in_fan_out", "use_qalora", "lora_bias"] {
            if try json.boolIfPresent(key, in: file) == true { throw error(key, "is true, which is not supported") }
        }
        let mustBeEmpty = [
            "target_parameters", "layer_replication", "use_bdlora",
            "alora_invocation_tokens",
            "arrow_config", "kasa_config", "velora_config", "monteclora_config",
        ]
        for key in mustBeEmpty {
            guard let value = json[key], !value.isNull, value.array?.isEmpty != true, value.object?.count != 0,
                value != .bool(false)
            else { continue }
            throw error(
                key, "is set, which is not supported: only lora_A, lora_B, DoRA, modules_to_save and token rows are")
        }
        // These initialisations change the base weights, so that the adapter does not belong to the base as it is.
        if let method = json["init_lora_weights"]?.string,
            !["gaussian", "eva", "orthogonal"].contains(method)
        {
            throw error(
                "init_lora_weights",
                "is \(quoted(method)): the adapter belongs to a changed base; convert it in PEFT to a plain LoRA first")
        }
    }
}
