import Base
import Model

/// Sequences some of whose tokens are scored, under one model or in comparison with a second.
public struct PositionQuestions: SharedQuestions {
    /// What tells them apart.
    public static let name = "positions"
    private let ranks: Bool
    private let sharesPrefixes: Bool

    init(ranks: Bool, sharesPrefixes: Bool) { (self.ranks, self.sharesPrefixes) = (ranks, sharesPrefixes) }

    /// Reads what they have in common.
    public init(from message: inout MessageReader) throws {
        (ranks, sharesPrefixes) = (try message.bool(), try message.bool())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(ranks)
        message.append(sharesPrefixes)
    }

    /// What has to be read.
    public func cost(of sequence: ScoredSequence) -> Int { sequence.tokens.count }

    /// The scores.
    public func answers(
        _ sequences: [ScoredSequence], numbers: [Int], of sessions: [InferenceSession]
    ) throws -> [SequenceScores] {
        let scorer = try PositionScorer(
            sessions[0], base: sessions.count > 1 ? sessions[1] : nil, ranks: ranks, sharesPrefixes: sharesPrefixes)
        var result: [SequenceScores] = []
        try scorer.scoreHere(sequences) { result.append($1) }
        return result
    }
}

extension ScoredSequence: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        let (tokens, first, count) = (
            try message.numbers(Int32.self), try message.number(Int.self), try message.number(Int.self)
        )
        guard first >= 0, (0...tokens.count).contains(count), count == 0 || (1...tokens.count - count).contains(first)
        else { throw MeraserError.runtime("rank 0 scores tokens that a sequence has not") }
        self.init(tokens: tokens, scored: first..<first + count)
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(numbers: tokens)
        message.append(number: scored.lowerBound)
        message.append(number: scored.count)
    }
}

extension SequenceScores: Sent {
    /// Reads them.
    public init(from message: inout MessageReader) throws {
        self.init()
        (nll, ranks) = (try message.numbers(), try message.numbers())
        let (kl, top, base) = (
            try message.numbers(Double.self), try message.numbers(UInt8.self), try message.numbers(Float.self)
        )
        for i in 0..<min(kl.count, top.count, base.count) {
            divergences.append(PositionDivergence(kl: kl[i], sameTop: top[i] != 0, baseNLL: base[i]))
        }
    }

    /// Adds them.
    public func write(to message: inout Message) {
        message.append(numbers: nll)
        message.append(numbers: ranks)
        message.append(numbers: divergences.map(\.kl))
        message.append(numbers: divergences.map { UInt8($0.sameTop ? 1 : 0) })
        message.append(numbers: divergences.map(\.baseNLL))
    }
}
