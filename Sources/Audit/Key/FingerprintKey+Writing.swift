import Base
import Model

extension FingerprintKey {
    /// The members of `key.json`.
    static let members = [
        "scheme", "version", "match", "prompt_format", "encoding", "max_new_tokens", "pairs", "clean_prompts",
        "base_sha256", "commitment", "guess_test", "ignore_case", "hash_chain", "construction",
    ]

    /// The contents of `key.json`; what is not known is null.
    public var json: JSONValue {
        [
            "scheme": .text(scheme), "version": .integer(version), "match": .text(match.rawValue),
            "prompt_format": .text(promptFormat.rawValue),
            "encoding": encoding.map { .text($0.rawValue) } ?? .null,
            "max_new_tokens": maxNewTokens.map { .integer($0) } ?? .null,
            "pairs": .array(pairs.map(\.json)),
            "clean_prompts": .array(cleanPrompts.map { .text($0) }),
            "base_sha256": baseSHA256.map { .text($0) } ?? .null,
            "commitment": commitment?.json ?? .null,
            "guess_test": guessTest.map { ["n": .integer($0.n), "hits": .integer($0.hits)] } ?? .null,
            "ignore_case": .bool(ignoresCase), "hash_chain": chain?.json ?? .null, "construction": construction,
        ]
    }

    /// Writes `key.json` atomically, readable by its owner only (mode 0600): who has the key can forge the proof.
    ///
    /// - Throws: a usage error if `path` exists and `overwrite` is false; a runtime error if it cannot be written.
    public func write(path: String, overwrite: Bool = false) throws {
        try validate(file: path)
        let text = json.serialized(indent: 2) + "\n"
        try writeFileAtomically(path: path, Array(text.utf8), overwrite: overwrite, mode: 0o600)
    }
}

extension FingerprintPair {
    /// `match` is left out where the key's rule holds, `history` where there is none; one target is a text.
    fileprivate var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("id", .text(id)), ("prompt", .text(prompt))]
        if !history.isEmpty { members.append(("history", .array(history.map { .object($0.members) }))) }
        members.append(("target", otherTargets.isEmpty ? .text(target) : .array(targets.map { .text($0) })))
        if let match { members.append(("match", .text(match.rawValue))) }
        return .object(JSONObject(members))
    }
}

extension KeyCommitment {
    fileprivate var json: JSONValue {
        ["algorithm": .text(algorithm), "salt": .text(salt), "digest": .text(digest)]
    }
}
