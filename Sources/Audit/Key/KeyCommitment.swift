import Quant

/// A salted hash of a key's pairs: published early, it proves later that the key is that old without showing it.
///
/// `digest` is SHA-256 over the 32 bytes of the salt followed by the pairs as canonical JSON (RFC 8785): an array of
/// objects with exactly the members `id`, `prompt` and `target`, in this order, without white space. In Python:
/// `sha256(bytes.fromhex(salt) + json.dumps(pairs, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())`.
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

    /// Commits to those pairs with a salt from the system's random generator.
    public init(to pairs: [FingerprintPair]) {
        var generator = SystemRandomNumberGenerator()
        self.init(to: pairs, saltBytes: (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) })
    }

    /// Commits to those pairs with that salt.
    init(to pairs: [FingerprintPair], saltBytes: [UInt8]) {
        self.init(
            algorithm: Self.sha256, salt: hexadecimal(saltBytes),
            digest: sha256Hex(saltBytes + canonicalJSON(of: pairs)))
    }

    /// True if the digest is that of these pairs.
    public func holds(for pairs: [FingerprintPair]) -> Bool {
        guard algorithm == Self.sha256, let saltBytes = bytes(hexadecimal: salt) else { return false }
        return sha256Hex(saltBytes + canonicalJSON(of: pairs)) == digest
    }
}

/// The pairs as canonical JSON; see `KeyCommitment`.
func canonicalJSON(of pairs: [FingerprintPair]) -> [UInt8] {
    var text = "["
    for (index, pair) in pairs.enumerated() {
        if index > 0 { text += "," }
        text += "{\"id\":" + JSONString.quoted(pair.id) + ",\"prompt\":" + JSONString.quoted(pair.prompt)
        text += ",\"target\":" + JSONString.quoted(pair.target) + "}"
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
