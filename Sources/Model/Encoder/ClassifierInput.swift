import Quant

/// A text, or two, as a classifier reads it.
public struct ClassifierInput: Sendable, Equatable {
    /// Token ids, special ones included.
    public let tokens: [Int32]
    /// Tokens from there on have the second token type, which BERT gives to a second text; `tokens.count` without one.
    public let secondStart: Int
    /// True if tokens of the text were left out to fit a length.
    public let isTruncated: Bool

    /// Ids of a text with its special tokens.
    public init(tokens: [Int32], secondStart: Int? = nil, isTruncated: Bool = false) {
        self.tokens = tokens
        self.secondStart = secondStart ?? tokens.count
        self.isTruncated = isTruncated
    }
}

extension EncoderSpec {
    /// A text, or a pair of texts, with the special tokens around it and at most `maxLength` tokens in all, as
    /// Transformers' fast tokenizers give it with `truncation=True`: the end is left out, of a pair the longer text's
    /// first.
    public func input(_ text: String, pair: String? = nil, tokenizer: Tokenizer, maxLength: Int) -> ClassifierInput {
        let first = tokenizer.encode(text, addSpecialTokens: false)
        let (prefix, suffix) = tokenizer.specialTokensAround
        guard let pair else {
            let room = max(0, maxLength - prefix.count - suffix.count)
            return ClassifierInput(
                tokens: prefix + first.prefix(room) + suffix, isTruncated: first.count > room)
        }
        let second = tokenizer.encode(pair, addSpecialTokens: false)
        // [CLS] A [SEP] B [SEP], but <s> A </s></s> B </s>.
        let between = family == .bert ? suffix : suffix + suffix
        let room = max(0, maxLength - prefix.count - between.count - suffix.count)
        let kept = Self.longestFirst(first.count, second.count, room: room)
        let head = prefix + first.prefix(kept.first) + between
        return ClassifierInput(
            tokens: head + second.prefix(kept.second) + suffix, secondStart: family == .bert ? head.count : nil,
            isTruncated: kept != (first.count, second.count))
    }

    /// Lengths that fit: the longer text is cut down to the shorter one's length first, then both alike.
    private static func longestFirst(_ first: Int, _ second: Int, room: Int) -> (first: Int, second: Int) {
        guard first + second > room else { return (first, second) }
        let shorter = min(first, second)
        var kept = (shorter: shorter, longer: max(shorter, room - shorter))
        if kept.shorter + kept.longer > room { kept = (room / 2, room / 2 + room % 2) }
        return first > second ? (kept.longer, kept.shorter) : (kept.shorter, kept.longer)
    }
}
