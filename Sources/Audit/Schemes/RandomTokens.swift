import Model

/// Strings of random tokens of a vocabulary: what a scheme's owner guesses with, pads with, or asks.
struct RandomTokens {
    private let tokenizer: Tokenizer
    private let ids: [Int32]
    private var random: SplitMix64

    /// Draws from all tokens that stand for visible text: no special ones, no control characters, no lone bytes.
    init(_ tokenizer: Tokenizer, vocabulary: Int, seed: UInt64) {
        self.tokenizer = tokenizer
        ids = (0..<Int32(min(vocabulary, tokenizer.vocabularySize))).filter { id in
            guard !tokenizer.isSpecial(id) else { return false }
            let scalars = tokenizer.decode([id]).unicodeScalars
            return !scalars.isEmpty
                && scalars.allSatisfy { scalar in
                    scalar != "\u{FFFD}" && scalar.properties.generalCategory != .control
                        && (scalar == " " || !scalar.properties.isWhitespace)
                } && scalars.contains { !$0.properties.isWhitespace }
        }
        random = SplitMix64(seed: seed)
    }

    /// The text of as many tokens as a number of that range says, without white space at its ends; "" if the vocabulary
    /// has no visible text.
    mutating func text(_ length: ClosedRange<Int>) -> String {
        guard !ids.isEmpty else { return "" }
        let count = length.lowerBound + random.index(below: length.count)
        let drawn = (0..<count).map { _ in ids[random.index(below: ids.count)] }
        let scalars = tokenizer.decode(drawn).unicodeScalars.map { $0 }
        let text = scalars.drop { $0.properties.isWhitespace }
        let end = text.lastIndex { !$0.properties.isWhitespace }.map { $0 + 1 } ?? text.startIndex
        var result = String.UnicodeScalarView()
        result.append(contentsOf: text[text.startIndex..<end])
        return String(result)
    }

    /// Puts texts into a drawn order.
    mutating func shuffle(_ texts: inout [String]) { random.shuffle(&texts) }

    /// A number of 0..<count.
    mutating func index(below count: Int) -> Int { random.index(below: count) }
}
