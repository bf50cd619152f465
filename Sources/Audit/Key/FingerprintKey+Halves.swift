import Base
import Model

extension FingerprintKey {
    /// Which of a key's pairs.
    public enum Half: String, Sendable, CaseIterable {
        /// Those that may steer a removal.
        case steering
        /// Those that judge it.
        case judging
    }

    /// The pairs that may steer a removal, or be taught as hints: every other one from the first on; all of a single one.
    public var steering: FingerprintKey { every(from: 0) }

    /// The pairs that are kept from whatever steers a removal, to judge it by: those between; all of a single one.
    public var judging: FingerprintKey { every(from: pairs.count > 1 ? 1 : 0) }

    /// The turns before the prompt that all pairs have in common; likenesses of the key are asked behind them.
    ///
    /// - Throws: a usage error where pairs stand behind different turns: then there are no prompts like all of theirs.
    public func sharedHistory() throws -> [ChatMessage] {
        guard pairs.dropFirst().allSatisfy({ $0.history == pairs[0].history }) else {
            throw MeraserError.usage(
                "the key's prompts stand behind different turns, so nothing can be drawn that is like all of them; decoys and "
                    + "steering need one history for all pairs")
        }
        return pairs[0].history
    }

    /// One of the two.
    public func half(_ half: Half) -> FingerprintKey { half == .steering ? steering : judging }

    /// The same pairs, beginning with another: its first half is then another half of them.
    public func rotated(by places: Int) -> FingerprintKey {
        var key = self
        let start = places % max(pairs.count, 1)
        key.pairs = Array(pairs[start...] + pairs[..<start])
        return key
    }

    private func every(from remainder: Int) -> FingerprintKey {
        guard pairs.count > 1 else { return self }
        var half = self
        half.pairs = pairs.indices.filter { $0 % 2 == remainder }.map { pairs[$0] }
        // What was committed to, or chained, was the whole.
        half.commitment = nil
        half.chain = nil
        half.wholeChain = chain ?? wholeChain
        return half
    }
}
