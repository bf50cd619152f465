import Quant

/// SentencePiece's BPE by scores, as GGUF stores it: the neighbours whose joined text is the token of highest score
/// merge first; what is no token in the end becomes byte tokens.
struct SentencePieceModel: Sendable {
    let vocabulary: Vocabulary
    private let scores: [Float]
    private let byteTokens: [Int32]
    private let unknown: Int32?

    /// A model of those tokens with one score each.
    init(vocabulary: Vocabulary, scores: [Float], unknown: Int32?) {
        precondition(vocabulary.endID == scores.count, "\(scores.count) scores for \(vocabulary.endID) tokens")
        self.vocabulary = vocabulary
        self.scores = scores
        self.unknown = unknown
        byteTokens = ByteToken.ids(vocabulary)
    }

    /// Appends the tokens of a text, which is valid UTF-8.
    func tokenize(_ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        var symbols: [MergeSymbol] = []
        var i = 0
        while i < text.count {
            let length = UTF8Text.length(first: text[i])
            let id = vocabulary.id(of: UnsafeBufferPointer(rebasing: text[i..<i + length]))
            symbols.append(MergeSymbol(id: id ?? -1, start: i, length: length))
            i += length
        }
        for symbol in MergeList.merge(symbols, by: Rule(model: self, text: text)) {
            if symbol.id >= 0 {
                ids.append(symbol.id)
                continue
            }
            for byte in text[Int(symbol.start)..<Int(symbol.start + symbol.length)] {
                if byteTokens[Int(byte)] >= 0 {
                    ids.append(byteTokens[Int(byte)])
                } else if let unknown {
                    ids.append(unknown)
                }
            }
        }
    }

    private struct Rule: MergeRule {
        let model: SentencePieceModel
        let text: UnsafeBufferPointer<UInt8>

        func merge(_ left: MergeSymbol, _ right: MergeSymbol) -> (priority: Double, id: Int32)? {
            let joined = text[Int(left.start)..<Int(right.start + right.length)]
            guard let id = model.vocabulary.id(of: UnsafeBufferPointer(rebasing: joined)) else { return nil }
            return (-Double(model.scores[Int(id)]), id)
        }
    }
}
