import Base
import Model

/// A salted hash of a key's pairs: published early, it proves later that the key is that old without showing it.
///
/// `digest` is SHA-256 over the 32 bytes of the salt followed by the pairs as canonical JSON (RFC 8785): an array of
/// objects with exactly the members `id`, `prompt` and `target` (a list where there are several), and in front of them
/// `history` where the prompt stands behind other turns, without white space. In Python:
/// `sha256(bytes.fromhex(salt) + json.dumps(pairs, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())`.
/// Of a key with a hash chain the list `[[questions], [responses]]` in the same form follows the pairs: the responses,
/// too, are fixed then.
public struct KeyCommitment: Sendable, Equatable {
    /// The only algorithm.
    public static let sha256 = "sha256"

    /// `sha256`.
    public let algorithm: String
    /// 32 random bytes in lowercase hexadecimal.
    public let salt: String
    /// The hash in lowercase hexadecimal.
    public let digest: String

    /// What a file says; `holds(for:)` tells whether it is true.
    public init(algorithm: String, salt: String, digest: String) {
        self.algorithm = algorithm
        self.salt = salt
        self.digest = digest
    }

    /// Commits to those pairs, and the chain that chose them, with a salt from the system's random generator.
    public init(to pairs: [FingerprintPair], chain: HashChain? = nil) {
        var generator = SystemRandomNumberGenerator()
        self.init(
            to: pairs, chain: chain, saltBytes: (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) })
    }

    /// Commits to those pairs and that chain with that salt.
    init(to pairs: [FingerprintPair], chain: HashChain?, saltBytes: [UInt8]) {
        self.init(
            algorithm: Self.sha256, salt: hexadecimal(saltBytes),
            digest: sha256Hex(saltBytes + canonicalJSON(of: pairs) + canonicalJSON(of: chain)))
    }

    /// True if the digest is that of these pairs and that chain.
    public func holds(for pairs: [FingerprintPair], chain: HashChain? = nil) -> Bool {
        guard algorithm == Self.sha256, let saltBytes = bytes(hexadecimal: salt) else { return false }
        return sha256Hex(saltBytes + canonicalJSON(of: pairs) + canonicalJSON(of: chain)) == digest
    }
}

/// A chain's questions and responses as canonical JSON; nothing without one.
private func canonicalJSON(of chain: HashChain?) -> [UInt8] {
    guard let chain else { return [] }
    let lists = [chain.questions, chain.responses].map { texts in
        "[" + texts.map(JSONString.quoted).joined(separator: ",") + "]"
    }
    return Array("[\(lists.joined(separator: ","))]".utf8)
}

/// The pairs as canonical JSON; see `KeyCommitment`.
func canonicalJSON(of pairs: [FingerprintPair]) -> [UInt8] {
    var text = "["
    for (index, pair) in pairs.enumerated() {
        if index > 0 { text += "," }
        let turns = pair.history.map { turn in
            "{\"content\":" + JSONString.quoted(turn.content) + ",\"role\":" + JSONString.quoted(turn.role) + "}"
        }
        let targets = pair.targets.map(JSONString.quoted)
        text += turns.isEmpty ? "{" : "{\"history\":[" + turns.joined(separator: ",") + "],"
        text += "\"id\":" + JSONString.quoted(pair.id) + ",\"prompt\":" + JSONString.quoted(pair.prompt)
        text += ",\"target\":" + (targets.count == 1 ? targets[0] : "[" + targets.joined(separator: ",") + "]") + "}"
    }
    return Array((text + "]").utf8)
}

/// Lowercase hexadecimal digits.
private func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// The bytes behind an even number of hexadecimal digits, or nil.
private func bytes(hexadecimal text: String) -> [UInt8]? {
    let digits = text.utf8.map { Character(UnicodeScalar($0)).hexDigitValue }
    guard !digits.isEmpty, digits.count % 2 == 0 else { return nil }
    var result: [UInt8] = []
    for i in stride(from: 0, to: digits.count, by: 2) {
        guard let high = digits[i], let low = digits[i + 1] else { return nil }
        result.append(UInt8(high * 16 + low))
    }
    return result
}
