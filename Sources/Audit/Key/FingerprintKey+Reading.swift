import Base

/// The most new tokens that a key may ask for.
private let maximumNewTokens = 4096
/// The most pairs of a key.
private let maximumPairs = 100_000

extension FingerprintKey {
    /// Reads a scheme's `key.json`, or rows of pairs from a `.jsonl` file or a JSON array (`PairRows`).
    ///
    /// - Throws: a bad-input error that names file and place: malformed JSON, a missing or mistyped field, no pairs, a
    ///   target without a visible character, an id used twice, pairs that the commitment or the hash chain does not fit.
    public init(path: String) throws {
        let bytes = try readInputFile(path)
        if path.hasSuffix(".jsonl") {
            try self.init(pairsJSONL: bytes, file: path)
        } else if bytes.first(where: { !$0.isWhitespace }) == UInt8(ascii: "[") {
            try self.init(pairsArray: bytes, file: path)
        } else {
            try self.init(json: bytes, file: path)
        }
    }

    /// Reads a `key.json`; `file` is the name that errors show. Members that nothing reads are refused.
    public init(json bytes: [UInt8], file: String) throws {
        let root = try JSONValue.parse(bytes, file: file)
        let version = try root.intIfPresent("version", in: file) ?? Self.currentVersion
        guard version == Self.currentVersion else {
            throw MeraserError.badInput(
                "\(file): 'version' is \(version), this meraser reads version \(Self.currentVersion)")
        }
        try root.object?.requireOnly(Self.members, place: file)
        let pairs = try root.array("pairs", in: file).enumerated().map { index, value in
            try PairRow(value, index: index, place: "\(file): pair \(index)", targetField: "target").pair
        }
        self.init(
            scheme: try root.string("scheme", in: file),
            match: try Self.choice(root, "match", file) ?? .contains,
            promptFormat: try Self.choice(root, "prompt_format", file) ?? .raw,
            maxNewTokens: try root.intIfPresent("max_new_tokens", in: file),
            pairs: pairs,
            cleanPrompts: try Self.texts(root, "clean_prompts", file),
            baseSHA256: try root.stringIfPresent("base_sha256", in: file),
            commitment: try Self.commitment(root, file),
            guessTest: try Self.guessTest(root, file))
        encoding = try root.stringIfPresent("encoding", in: file).map { try TargetEncoding(fixed: $0, place: file) }
        ignoresCase = try root.boolIfPresent("ignore_case", in: file) ?? false
        if let object = try root.objectIfPresent("hash_chain", in: file) {
            let place = "\(file): hash_chain"
            try object.requireOnly(["questions", "responses", "claim_at", "serialization"], place: place)
            chain = try HashChain(.object(object), place: place)
        }
        construction = root["construction"] ?? .null
        try validate(file: file)
    }

    /// Checks what the types do not: see `init(path:)` for the errors.
    public func validate(file: String) throws {
        guard !pairs.isEmpty else { throw MeraserError.badInput("\(file): no pairs in it, expected at least one") }
        guard pairs.count <= maximumPairs else {
            throw MeraserError.badInput("\(file): \(pairs.count) pairs, expected at most \(maximumPairs)")
        }
        if let maxNewTokens, !(1...maximumNewTokens).contains(maxNewTokens) {
            throw MeraserError.badInput(
                "\(file): 'max_new_tokens' is \(maxNewTokens), expected 1 to \(maximumNewTokens)")
        }
        var ids: Set<JSONString> = []
        for pair in pairs {
            guard pair.targets.allSatisfy({ $0.utf8.contains { !$0.isWhitespace } }) else {
                throw MeraserError.badInput(
                    "\(file): the target of pair '\(pair.id)' is empty; every output would match it")
            }
            guard pair.history.isEmpty || promptFormat == .chat else {
                throw MeraserError.badInput(
                    "\(file): pair '\(pair.id)' has a 'history', which goes with 'prompt_format' chat")
            }
            guard ids.insert(JSONString(pair.id)).inserted else {
                throw MeraserError.badInput("\(file): the id '\(pair.id)' is used twice, expected distinct ids")
            }
        }
        try chain?.validate(pairs, file: file)
        if let commitment, !commitment.holds(for: pairs, chain: chain) {
            throw MeraserError.badInput(
                "\(file): the commitment does not fit the pairs: they were changed after it was made; "
                    + "restore them, or remove 'commitment' if it is of no use any more")
        }
    }

    static func choice<Choice: CaseIterable & RawRepresentable>(
        _ value: JSONValue, _ key: String, _ place: String
    ) throws -> Choice? where Choice.RawValue == String {
        guard let text = try value.stringIfPresent(key, in: place) else { return nil }
        guard let choice = Choice(rawValue: text) else {
            let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw MeraserError.badInput("\(place): '\(key)' is '\(text)', expected one of \(names)")
        }
        return choice
    }

    private static func texts(_ root: JSONValue, _ key: String, _ file: String) throws -> [String] {
        try (root.arrayIfPresent(key, in: file) ?? []).enumerated().map { index, value in
            guard let text = value.string else {
                throw MeraserError.badInput("\(file): '\(key)' \(index) is \(value.kind), expected a string")
            }
            return text
        }
    }

    private static func commitment(_ root: JSONValue, _ file: String) throws -> KeyCommitment? {
        guard let object = try root.objectIfPresent("commitment", in: file) else { return nil }
        try object.requireOnly(["algorithm", "salt", "digest"], place: "\(file): commitment")
        let algorithm = try root.string("commitment", "algorithm", in: file)
        guard algorithm == KeyCommitment.sha256 else {
            throw MeraserError.badInput("\(file): 'commitment.algorithm' is '\(algorithm)', expected 'sha256'")
        }
        return KeyCommitment(
            algorithm: algorithm, salt: try root.string("commitment", "salt", in: file),
            digest: try root.string("commitment", "digest", in: file))
    }

    private static func guessTest(_ root: JSONValue, _ file: String) throws -> GuessTest? {
        guard let object = try root.objectIfPresent("guess_test", in: file) else { return nil }
        try object.requireOnly(["n", "hits"], place: "\(file): guess_test")
        return GuessTest(
            n: try root.int("guess_test", "n", in: file), hits: try root.int("guess_test", "hits", in: file))
    }
}
