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
    /// Of the text's beginning.
    private let shift: Int
    /// The tokens of the prompt alone.
    let tokens: [RemoteToken]
    private let offsets: [Int]

    /// nil: the tokens do not cover the prompt, as where a server repeats nothing.
    init?(prompt: String, tokens: [RemoteToken]) {
        let offsets = tokens.compactMap(\.offset)
        guard offsets.count == tokens.count, let first = tokens.first, let begin = offsets.first,
            zip(offsets, offsets.dropFirst()).allSatisfy({ $0 <= $1 })
        else { return nil }
        // A token of which nothing is said, and that the text does not begin with, is the BOS.
        let isSpecial = first.logProbability == nil && !prompt.utf8.starts(with: first.text.utf8)
        let shift = isSpecial && offsets.count > 1 ? offsets[1] : begin
        for unit in Unit.allCases {
            let end = shift + unit.length(of: prompt)
            let (next, last) = (offsets[offsets.count - 1], tokens[tokens.count - 1].text)
            // One token is written, or none where the model ends at once.
            let count = next == end ? offsets.count - 1 : offsets.count
            guard count > 0, next == end || next + unit.length(of: last) == end else { continue }
            self.unit = unit
            self.shift = shift
            self.tokens = Array(tokens[..<count])
            self.offsets = Array(offsets[..<count])
            return
        }
        return nil
    }

    /// The tokens behind a beginning of the prompt; nil where one of them reaches over its end, or where the likelihood of
    /// one is not known.
    func tokens(behind beginning: some StringProtocol) -> ArraySlice<RemoteToken>? {
        let place = shift + unit.length(of: beginning)
        guard let start = offsets.firstIndex(of: place) else { return nil }
        let found = tokens[start...]
        return found.allSatisfy { $0.logProbability != nil } ? found : nil
    }
}
