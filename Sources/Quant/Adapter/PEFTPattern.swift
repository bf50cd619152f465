import Base
import Foundation

/// A key of `rank_pattern` or `alpha_pattern`: PEFT matches `(.*\.)?(key)$` against a module's path.
///
/// Keys come from untrusted files. Plain names are compared as text; of regular expressions those are refused whose
/// matching could take exponential time, which no real adapter needs.
struct PEFTPattern {
    private enum Matcher {
        case text(String)
        case expression(NSRegularExpression)
    }

    private let matcher: Matcher

    /// - Throws: a bad-input error for a key that is too long, too complex or no regular expression.
    init(_ key: String) throws {
        guard !key.isEmpty, key.utf8.count <= 256 else {
            throw MeraserError.badInput("has a key of \(key.utf8.count) bytes, expected 1 to 256")
        }
        let plain = key.utf8.allSatisfy {
            ($0 | 0x20 >= UInt8(ascii: "a") && $0 | 0x20 <= UInt8(ascii: "z"))
                || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9")) || $0 == UInt8(ascii: ".")
                || $0 == UInt8(ascii: "_")
        }
        if plain {
            matcher = .text(key)
            return
        }
        let quantifiers = key.filter { "*+{?".contains($0) }.count
        let repeatsGroup = zip(key, key.dropFirst()).contains { $0 == ")" && "*+{".contains($1) }
        guard quantifiers <= 2, !repeatsGroup else {
            throw MeraserError.badInput("has the key '\(key)', a pattern with too many repetitions; write plain names")
        }
        guard let expression = try? NSRegularExpression(pattern: "^(.*\\.)?(\(key))$") else {
            throw MeraserError.badInput("has the key \(quoted(key)), which is no regular expression")
        }
        matcher = .expression(expression)
    }

    /// True if the key matches the path or an end of it that begins after a dot.
    func matchesEnd(of path: String) -> Bool {
        switch matcher {
        case .text(let key):
            return path == key || path.hasSuffix("." + key)
        case .expression(let expression):
            let range = NSRange(path.startIndex..., in: path)
            return expression.firstMatch(in: path, range: range) != nil
        }
    }
}
