import Base

/// Which tokens the UTF scheme may use.
struct TokenSearch {
    /// The indicator's value at the share that was asked for.
    let threshold: Double
    /// Every token tried, lowest indicator first.
    let tried: [TokenCandidate]
    /// The tokens chosen.
    let selected: [Int32]
    /// What did not go as the paper has it.
    let notes: [String]

    /// Tries the tokens up to the share's threshold; where too few are verified, the next lowest as well, at most five
    /// times as many. With more than 100 strong ones only those are chosen, else strong and weak.
    init(ranking: RarityRanking, verifier: TokenVerifier, options: UTFOptions) throws {
        threshold = ranking.threshold(share: options.share)
        let limit = threshold
        let first = ranking.candidates.prefix { $0.indicator <= limit }.count
        let most = min(ranking.candidates.count, max(5 * first, 5 * options.minimumTokens))
        var tried: [TokenCandidate] = []
        var notes: [String] = []
        var end = first
        while true {
            var block = Array(ranking.candidates[tried.count..<end])
            let probabilities = try verifier.maxProbabilities(block.map(\.id))
            for index in block.indices {
                block[index].maxProbability = probabilities[index]
                block[index].verdict = TokenVerdict(maxProbability: probabilities[index])
            }
            tried += block
            let verified = tried.count { $0.verdict != .rejected }
            if verified >= options.minimumTokens || end == most { break }
            end = min(most, end + max(options.minimumTokens - verified, 1))
        }
        if tried.count > first {
            notes.append(
                "only \(first) tokens without white space lie in the lowest \(options.share * 100) % of "
                    + "\(ranking.encodable.count); the next \(tried.count - first) were tried too")
        }
        let strong = tried.filter { $0.verdict == .strong }.map(\.id)
        let verified = tried.filter { $0.verdict != .rejected }.map(\.id)
        guard verified.count >= min(options.minimumTokens, 8) else {
            throw MeraserError.runtime(
                "only \(verified.count) of \(tried.count) tokens tried are undertrained, expected at least "
                    + "\(min(options.minimumTokens, 8)): this model's vocabulary does not suit the utf scheme")
        }
        if verified.count < options.minimumTokens {
            notes.append("only \(verified.count) undertrained tokens, \(options.minimumTokens) were wanted")
        }
        self.tried = tried
        selected = strong.count > 100 ? strong : verified
        self.notes = notes
    }
}
