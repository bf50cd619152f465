import Foundation

/// Unicode's normalization forms (UAX 15), by the names that tokenizer.json gives them, of the version of Unicode that
/// `tokenizers` has: later characters stay as they are, and nothing moves past them.
enum UnicodeForm: String, Sendable {
    case composed = "NFC"
    case decomposed = "NFD"
    case compatiblyComposed = "NFKC"
    case compatiblyDecomposed = "NFKD"

    /// The most bytes of UTF-8 that it makes out of one (UAX 15, table 5).
    var mostBytes: Int {
        switch self {
        case .composed, .decomposed: 3
        case .compatiblyComposed, .compatiblyDecomposed: 11
        }
    }

    /// The text in that form.
    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        // All forms leave ASCII as it is.
        guard text.contains(where: { $0 >= 0x80 }) else { return text }
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 4)
        text.withUnsafeBufferPointer { text in
            var i = 0
            while i < text.count {
                // An ASCII character takes part only if something beyond ASCII follows.
                while i < text.count, text[i] < 0x80, i + 1 == text.count || text[i + 1] < 0x80 {
                    result.append(text[i])
                    i += 1
                }
                let start = i
                if i < text.count, text[i] < 0x80 { i += 1 }
                while i < text.count, text[i] >= 0x80 { i += 1 }
                if start < i { normalize(UnsafeBufferPointer(rebasing: text[start..<i]), into: &result) }
            }
        }
        return result
    }

    /// One stretch of text, cut at characters that the tables do not have.
    private func normalize(_ text: UnsafeBufferPointer<UInt8>, into result: inout [UInt8]) {
        var start = 0
        var isPlain = true
        var i = 0
        func end(_ end: Int) {
            guard start < end else { return }
            let part = UnsafeBufferPointer(rebasing: text[start..<end])
            if isPlain { result.append(contentsOf: part) } else { result.append(contentsOf: converted(part)) }
            isPlain = true
        }
        var last: Unicode.Scalar = " "
        while i < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: i)
            // Foundation composes characters beyond U+FFFF as if their upper bits were none.
            let (low, high) = last.value < scalar.value ? (last, scalar) : (scalar, last)
            if low.value < 0x10000, high.value >= 0x10000, isInert(high) {
                end(i)
                start = i
            }
            last = scalar
            if !isPlainScalar(scalar) {
                if scalar.isIn(unicode: UnicodeTables.forms) {
                    isPlain = false
                } else {
                    end(i)
                    result.append(contentsOf: text[i..<i + length])
                    start = i + length
                }
            }
            i += length
        }
        end(text.count)
    }

    /// True for a character that stays where and as it is.
    private func isInert(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.canonicalCombiningClass == .notReordered
            && Array(String(scalar).utf8).withUnsafeBufferPointer { converted($0).elementsEqual($0) }
    }

    /// True for many characters that NFC leaves as they are, whatever stands around them.
    private func isPlainScalar(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x80: true
        case 0x80..<0x300, 0x388...0x482, 0x48A...0x52F, 0x2010...0x2027, 0x3041...0x3098, 0x309B...0x30FF,
            0x3400...0x4DB5,
            0x4E00...0x9FA5, 0xAC00...0xD7A3:
            self == .composed
        default: false
        }
    }

    /// Marks that are two marks.
    private static let marks: [(mark: Unicode.Scalar, parts: [Unicode.Scalar])] = [
        ("\u{344}", ["\u{308}", "\u{301}"]), ("\u{F73}", ["\u{F71}", "\u{F72}"]), ("\u{F75}", ["\u{F71}", "\u{F74}"]),
        ("\u{F81}", ["\u{F71}", "\u{F80}"]),
    ]

    private func converted(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        // Foundation does not order what these decompose to among the marks around them.
        var scalars = String.UnicodeScalarView()
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            if let mark = Self.marks.first(where: { $0.mark == scalar }) {
                scalars.append(contentsOf: mark.parts)
            } else {
                scalars.append(scalar)
            }
        }
        let string = String(scalars)
        return switch self {
        case .composed: Array(string.precomposedStringWithCanonicalMapping.utf8)
        case .decomposed: Array(string.decomposedStringWithCanonicalMapping.utf8)
        case .compatiblyComposed: Array(string.precomposedStringWithCompatibilityMapping.utf8)
        case .compatiblyDecomposed: Array(string.decomposedStringWithCompatibilityMapping.utf8)
        }
    }
}
