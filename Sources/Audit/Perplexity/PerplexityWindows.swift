import Model

/// Cuts texts into windows by one of the protocols.
struct WindowCutter: Sendable {
    let scheme: PerplexityProtocol
    /// Tokens of a window.
    let length: Int
    /// Tokens from one window to the next (`strided` only).
    let stride: Int

    /// `stride` nil means half a window.
    init(_ scheme: PerplexityProtocol, length: Int, stride: Int? = nil) {
        self.scheme = scheme
        self.length = length
        self.stride = stride ?? max(1, length / 2)
    }

    /// The windows of those texts and their scored tokens.
    func windows(_ texts: [String], tokenizer: Tokenizer) -> [ScoredSequence] {
        switch scheme {
        case .guanaco:
            preconditionFailure("guanaco has windows of exchanges")
        case .sample:
            return texts.map { text in
                let ids = tokenizer.encode(text, addSpecialTokens: false)
                let sequence = Array(((tokenizer.bosID.map { [$0] } ?? []) + ids).prefix(length))
                return ScoredSequence(tokens: sequence, scored: min(1, sequence.count)..<sequence.count)
            }
        case .strided:
            let stream = tokenizer.encode(texts.joined(separator: "\n\n"), addSpecialTokens: true)
            return stridedWindows(stream)
        case .chunk:
            let stream = tokenizer.encode(texts.joined(separator: "\n\n"), addSpecialTokens: true)
            let bos = tokenizer.bosID
            return chunkWindows(stream, bos: stream.first == bos ? bos : nil)
        }
    }

    /// Windows that begin every `stride` tokens; each scores from where the one before ended.
    func stridedWindows(_ stream: [Int32]) -> [ScoredSequence] {
        var windows: [ScoredSequence] = []
        var begin = 0
        var scoredTo = 1
        while scoredTo < stream.count {
            let end = min(begin + length, stream.count)
            // With stride == length a window has no token before its first: that one is never scored.
            let first = max(scoredTo - begin, 1)
            windows.append(ScoredSequence(tokens: Array(stream[begin..<end]), scored: first..<end - begin))
            scoredTo = end
            begin += stride
        }
        return windows
    }

    /// Windows side by side whose second half is scored.
    func chunkWindows(_ stream: [Int32], bos: Int32?) -> [ScoredSequence] {
        (0..<stream.count / length).map { index in
            var window = Array(stream[index * length..<(index + 1) * length])
            if let bos { window[0] = bos }
            return ScoredSequence(tokens: window, scored: length / 2 + 1..<length)
        }
    }
}
