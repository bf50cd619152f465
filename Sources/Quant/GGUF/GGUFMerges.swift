import Foundation

/// The merges of a SentencePiece vocabulary, derived from its scores as Transformers' LlamaConverter does: every way to
/// put a token together of two others, those of the highest score first.
///
/// SentencePiece, and llama.cpp with it, joins the neighbours whose joint token has the highest score. So do these
/// merges, but where two ways to one token overlap or two tokens have one score, which no text was seen to depend on.
struct GGUFMerges {
    /// Ids of the left and the right token, best first.
    let pairs: [(left: Int, right: Int)]

    /// The most bytes that the merges' texts may have: Gemma's 580,000 merges have 8 million. The nested tokens of a
    /// hostile vocabulary could have any number.
    private static let maximumByteCount = 64 << 20

    private struct Merge {
        let left: Int
        let right: Int
        let score: Float
        /// In scalars, as Transformers counts.
        let leftLength: Int
        let rightLength: Int

        func isBetter(than other: Merge) -> Bool {
            if score != other.score { return score > other.score }
            if leftLength != other.leftLength { return leftLength > other.leftLength }
            return rightLength > other.rightLength
        }
    }

    /// Takes time linear in the vocabulary's bytes and in the merges, but for sorting.
    ///
    /// - Parameter scores: one for each token, finite.
    /// - Throws: a bad-input error naming `file` if there are too many merges.
    init(_ tokens: [JSONString], scores: [Float], file: String) throws {
        let prefixes = Self.longestPrefixes(tokens.map(\.utf8))
        let suffixes = Self.longestPrefixes(tokens.map { $0.utf8.reversed() })
        let lengths = tokens.map { token in token.utf8.reduce(0) { $1 & 0xC0 == 0x80 ? $0 : $0 + 1 } }
        var merges: [Merge] = []
        var byteCount = 0
        for (id, token) in tokens.enumerated() where prefixes[id] >= 0 && suffixes[id] >= 0 {
            // Of the suffixes, longest first, those that are too short for a prefix are too short for all shorter ones.
            var rights: [Int] = []
            var right = suffixes[id]
            while right >= 0 {
                rights.append(right)
                right = suffixes[right]
            }
            var left = prefixes[id]
            while left >= 0 {
                let rest = token.utf8.count - tokens[left].utf8.count
                while let last = rights.last, tokens[last].utf8.count < rest { rights.removeLast() }
                if let right = rights.last, tokens[right].utf8.count == rest {
                    merges.append(
                        Merge(
                            left: left, right: right, score: scores[id], leftLength: lengths[left],
                            rightLength: lengths[right]))
                    byteCount += token.utf8.count
                }
                left = prefixes[left]
            }
            guard byteCount <= Self.maximumByteCount else {
                throw MeraserError.badInput(
                    "\(file): the tokens up to \(id) contain each other in too many ways: their merges would take more "
                        + "than \(Self.maximumByteCount >> 20) MiB")
            }
        }
        // Swift's sort keeps the order of equals.
        merges.sort { $0.isBetter(than: $1) }
        pairs = merges.map { ($0.left, $0.right) }
    }

    /// For each text the longest other text, not empty, that it begins with; -1 for none.
    ///
    /// In the order of their bytes, the beginnings of a text are among the texts before it, each a beginning of the next.
    private static func longestPrefixes(_ texts: [[UInt8]]) -> [Int] {
        var result = [Int](repeating: -1, count: texts.count)
        var open: [Int] = []
        for id in texts.indices.filter({ !texts[$0].isEmpty }).sorted(by: { isBefore(texts[$0], texts[$1]) }) {
            while let last = open.last, !isPrefix(texts[last], of: texts[id]) { open.removeLast() }
            result[id] = open.last ?? -1
            open.append(id)
        }
        return result
    }

    private static func isPrefix(_ a: [UInt8], of b: [UInt8]) -> Bool {
        a.count < b.count && memcmp(a, b, a.count) == 0
    }

    private static func isBefore(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        let order = memcmp(a, b, min(a.count, b.count))
        return order == 0 ? a.count < b.count : order < 0
    }
}
