import Base
import Foundation

/// The merges of a SentencePiece vocabulary, derived from its scores: every way to put a token together of two others,
/// those of the highest score first, as Transformers' LlamaConverter does.
///
/// SentencePiece, and llama.cpp with it, joins the neighbours whose joint token has the highest score, the leftmost of
/// equal ones. Merges give the same ids where scores differ. Equal scores are those of models that had a tokenizer.json
/// only, for which llama.cpp's converter writes one score for all: there the order of the vocabulary, in which merges
/// were learned, gives the original's ids, and the leftmost pair does not. In a model of SentencePiece itself some scores
/// are equal by chance, and Transformers takes the longest left part first.
struct ScoredMerges {
    /// Ids of the left and the right token, best first.
    let pairs: [(left: Int, right: Int)]

    /// The most bytes that the merges' texts may have: Gemma's 580,000 merges have 8 million. The nested tokens of a
    /// hostile vocabulary could have any number.
    private static let maximumByteCount = 64 << 20

    /// Takes time linear in the vocabulary's bytes and in the merges, but for sorting.
    ///
    /// - Parameters:
    ///   - scores: one for each token, finite.
    ///   - longestFirst: of equal scores the longest left part goes first, then the longest right part.
    /// - Throws: a bad-input error naming `file` if there are too many merges.
    init(_ tokens: [JSONString], scores: [Float], longestFirst: Bool = false, file: String) throws {
        let prefixes = Self.longestPrefixes(tokens.map(\.utf8))
        let suffixes = Self.longestPrefixes(tokens.map { $0.utf8.reversed() })
        var merges: [(left: Int, right: Int, score: Float)] = []
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
                    merges.append((left, right, scores[id]))
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
        // Swift's sort keeps the order of equals: by the token's id, then the longest left part first.
        if longestFirst {
            let lengths = tokens.map { token in token.utf8.count { $0 & 0xC0 != 0x80 } }
            merges.sort { a, b in
                (a.score, lengths[a.left], lengths[a.right]) > (b.score, lengths[b.left], lengths[b.right])
            }
        } else {
            merges.sort { $0.score > $1.score }
        }
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
