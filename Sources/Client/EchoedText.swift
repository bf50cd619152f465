/// A prompt that a server has repeated token by token, with the one token that it wrote behind it.
///
/// `text_offset` counts characters, bytes or UTF-16 units, as the server's language has it, and some count a BOS in front
/// of the text: what fits the text's length is taken, and nothing is known where nothing fits.
struct EchoedText: Sendable {
    /// What an offset counts.
    private enum Unit: CaseIterable {
        case scalars, utf8, utf16

        func length(of text: some StringProtocol) -> Int {
            switch self {
            case .scalars: text.unicodeScalars.count
            case .utf8: text.utf8.count
            case .utf16: text.utf16.count
            }
        }
    }

    private let unit: Unit
    /// Where the text begins.
    private let begin: Int
    /// Of a blank that SentencePiece puts in front of the first word.
    private let blank: Int
    /// The tokens of the prompt alone.
    let tokens: [RemoteToken]
    private let offsets: [Int]

    /// nil: the tokens do not cover the prompt, as where a server repeats nothing.
    init?(prompt: String, tokens: [RemoteToken]) {
        let offsets = tokens.compactMap(\.offset)
        guard offsets.count == tokens.count, let next = offsets.last, let last = tokens.last?.text,
            zip(offsets, offsets.dropFirst()).allSatisfy({ $0 <= $1 })
        else { return nil }
        for unit in Unit.allCases {
            // What fits: behind a BOS or not, behind a blank of the tokenizer's own or not.
            for first in tokens.indices.prefix(2) where first == 0 || tokens[0].logProbability == nil {
                let mayBeBlank = tokens[first].text.hasPrefix(" ") && !prompt.hasPrefix(" ")
                for blank in mayBeBlank ? [0, 1] : [0] {
                    let end = offsets[first] + blank + unit.length(of: prompt)
                    // One token is written, or none where the model ends at once.
                    let count = next == end ? offsets.count - 1 : offsets.count
                    guard count > first, next == end || next + unit.length(of: last) == end else { continue }
                    (self.unit, begin, self.blank) = (unit, offsets[first], blank)
                    (self.tokens, self.offsets) = (Array(tokens[..<count]), Array(offsets[..<count]))
                    return
                }
            }
        }
        return nil
    }

    /// The tokens behind a beginning of the prompt; nil where one of them reaches over its end, or where the likelihood of
    /// one is not known.
    func tokens(behind beginning: some StringProtocol) -> ArraySlice<RemoteToken>? {
        let place = begin + (beginning.isEmpty ? 0 : blank + unit.length(of: beginning))
        guard let start = offsets.firstIndex(of: place) else { return nil }
        let found = tokens[start...]
        return found.allSatisfy { $0.logProbability != nil } ? found : nil
    }
}
