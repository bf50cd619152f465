import Base

/// How a text is cut into windows and which of their tokens count. Perplexities of different protocols, or of different
/// window lengths, cannot be compared.
public enum PerplexityProtocol: String, Sendable, CaseIterable {
    /// Each row for itself: BOS in front, cut at `maxLength` tokens including BOS, every token after the first scored.
    case sample
    /// Hugging Face's sliding window: the rows joined by two newlines are tokenised once (special tokens as the
    /// tokenizer adds them); windows of `maxLength` tokens begin every `stride` tokens and score what was not scored
    /// before.
    case strided
    /// llama.cpp's `llama-perplexity`: the rows joined by two newlines are tokenised once; windows of `maxLength` tokens
    /// follow each other, BOS replaces the first token of each (where the tokenizer adds BOS), tokens from
    /// maxLength/2 + 1 on are scored, what remains at the end is dropped.
    case chunk
    /// MEraser's: each question with its answer as `Human: …` and `Assistant: …`, cut at `maxLength` tokens, with the quirks
    /// of the paper's script (`GuanacoQuirks`).
    case guanaco
}

/// What to measure.
public struct PerplexityOptions: Sendable, Equatable {
    /// The protocol.
    public var scheme: PerplexityProtocol
    /// Tokens of a window, BOS included; nil: `standardLength`, or the model's context where that is shorter.
    public var maxLength: Int?
    /// Tokens from one window to the next (`strided` only); nil means half a window.
    public var stride: Int?
    /// Keep a result for each row (`sample`) or window.
    public var keepRows: Bool
    /// Which quirks of the paper's script to keep (`guanaco` only).
    public var quirks = GuanacoQuirks()

    /// Tokens of a window where none are given.
    public static let standardLength = 512

    /// The protocol with windows of the standard length.
    public init(
        _ scheme: PerplexityProtocol = .sample, maxLength: Int? = nil, stride: Int? = nil, keepRows: Bool = false
    ) {
        self.scheme = scheme
        self.maxLength = maxLength
        self.stride = stride
        self.keepRows = keepRows
    }

    /// How texts are cut for a model with that context.
    ///
    /// - Throws: a usage error for lengths that make no sense.
    func cutter(maxPositions: Int) throws -> WindowCutter {
        let least = scheme == .chunk ? 4 : 2
        let maxLength = maxLength ?? min(Self.standardLength, maxPositions)
        guard (least...max(maxPositions, least)).contains(maxLength) else {
            throw MeraserError.usage(
                "`max_length` \(maxLength): expected \(least) to \(maxPositions), the model's context")
        }
        guard quirks == GuanacoQuirks() || scheme == .guanaco else {
            throw MeraserError.usage(
                "`quirks` and `batch_size` belong to `protocol` guanaco, not to \(scheme.rawValue)")
        }
        guard (1...65_536).contains(quirks.batchSize) else {
            throw MeraserError.usage("`batch_size` \(quirks.batchSize): expected 1 to 65536")
        }
        if let stride {
            guard scheme == .strided else {
                throw MeraserError.usage("`stride` belongs to `protocol` strided, not to \(scheme.rawValue)")
            }
            guard (1...maxLength).contains(stride) else {
                throw MeraserError.usage("`stride` \(stride): expected 1 to `max_length` \(maxLength)")
            }
        }
        return WindowCutter(scheme, length: maxLength, stride: stride)
    }
}
