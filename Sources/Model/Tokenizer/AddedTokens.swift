/// A token that is matched as literal text instead of being found by merges.
struct AddedToken: Sendable, Equatable {
    let id: Int32
    let content: [UInt8]
    /// Left out when decoding without special tokens.
    var isSpecial = false
    /// Takes whitespace on its left, or right, into the match.
    var stripsLeft = false
    var stripsRight = false
    /// Matches only where no word character touches it.
    var isSingleWord = false
    /// Matched in normalized text instead of the raw text.
    var isNormalized = false

    /// The same token with another id.
    func with(id: Int32) -> AddedToken {
        AddedToken(
            id: id, content: content, isSpecial: isSpecial, stripsLeft: stripsLeft, stripsRight: stripsRight,
            isSingleWord: isSingleWord, isNormalized: isNormalized)
    }
}

/// A text cut at the added tokens in it.
enum TextSegment: Equatable {
    case text([UInt8])
    case token(Int32)
}

/// Finds added tokens in a text: leftmost first, of several at one place the longest.
struct AddedTokenMatcher: Sendable {
    private struct Pattern: Sendable {
        let bytes: [UInt8]
        let token: AddedToken
    }

    /// By first byte, longest first.
    private var patterns = [[Pattern]](repeating: [], count: 256)
    private var isEmpty = true

    /// A matcher for tokens whose text is first passed through `normalize`.
    init(_ tokens: [AddedToken], normalize: ([UInt8]) -> [UInt8]) {
        for token in tokens {
            let bytes = normalize(token.content)
            guard let first = bytes.first else { continue }
            patterns[Int(first)].append(Pattern(bytes: bytes, token: token))
            isEmpty = false
        }
        for i in patterns.indices where patterns[i].count > 1 {
            patterns[i].sort { $0.bytes.count > $1.bytes.count }
        }
    }

    /// The segments of a text in order; texts among them are not empty.
    func split(_ text: [UInt8]) -> [TextSegment] {
        guard !isEmpty else { return text.isEmpty ? [] : [.text(text)] }
        var segments: [TextSegment] = []
        var done = 0
        var i = 0
        while i < text.count {
            guard let match = patterns[Int(text[i])].first(where: { UTF8Text.has(text, $0.bytes, at: i) }) else {
                i += 1
                continue
            }
            var start = i
            var end = i + match.bytes.count
            i = end
            let token = match.token
            if token.isSingleWord, touchesWord(text, start, end) { continue }
            if token.stripsLeft {
                while start > done {
                    let (scalar, length) = UTF8Text.scalar(text, before: start)
                    guard scalar.properties.isWhitespace else { break }
                    start -= length
                }
            }
            if token.stripsRight {
                while end < text.count {
                    let (scalar, length) = UTF8Text.scalar(text, at: end)
                    guard scalar.properties.isWhitespace else { break }
                    end += length
                }
            }
            if done < start { segments.append(.text(Array(text[done..<start]))) }
            segments.append(.token(token.id))
            done = end
        }
        if done < text.count { segments.append(.text(Array(text[done...]))) }
        return segments
    }

    private func touchesWord(_ text: [UInt8], _ start: Int, _ end: Int) -> Bool {
        if start > 0, ScalarSet.rustWord.contains(UTF8Text.scalar(text, before: start).scalar) { return true }
        return end < text.count && ScalarSet.rustWord.contains(UTF8Text.scalar(text, at: end).scalar)
    }
}
