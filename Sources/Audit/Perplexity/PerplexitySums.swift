import Base
import Foundation

/// Sums of a perplexity run, in double.
///
/// The mean negative log-likelihood is that of the groups' means, each weighed by its tokens and the extra weights of its
/// windows. With one group without extra weight that is the mean over all tokens.
struct PerplexitySums {
    private struct Group {
        var count = 0
        var extraWeight = 0
        var nll = 0.0
        var squares = 0.0

        var weight: Int { count == 0 ? 0 : count + extraWeight }
    }

    private var groups: [Group] = []
    private var count = 0
    private var baseNLL = 0.0
    private var divergences: [Double] = []
    private var sameTop = 0
    private var rows: [PerplexityRow] = []

    /// Adds a window; windows of one group follow each other.
    mutating func add(_ scores: SequenceScores, _ window: PerplexityWindow, keepRow: Bool) {
        let scores = Self.counted(scores, window)
        let total = scores.totalNLL
        while groups.count <= window.group { groups.append(Group()) }
        groups[window.group].count += scores.nll.count
        groups[window.group].extraWeight += window.extraWeight
        groups[window.group].nll += total
        groups[window.group].squares += scores.nll.reduce(0) { $0 + Double($1) * Double($1) }
        count += scores.nll.count
        for divergence in scores.divergences {
            divergences.append(divergence.kl)
            sameTop += divergence.sameTop ? 1 : 0
            baseNLL += Double(divergence.baseNLL)
        }
        if keepRow { rows.append(PerplexityRow(tokens: scores.nll.count, nll: total)) }
    }

    /// The report of a run with windows of `length` tokens.
    ///
    /// - Throws: a bad-input error if nothing was scored, a runtime error if the perplexity is beyond all numbers.
    func report(_ options: PerplexityOptions, length: Int) throws -> PerplexityReport {
        guard count > 0 else {
            throw MeraserError.badInput(
                "no tokens to score: the text is too short for `protocol` \(options.scheme.rawValue) "
                    + "with windows of \(length) tokens")
        }
        let weight = Double(groups.reduce(0) { $0 + $1.weight })
        let scored = groups.filter { $0.count > 0 }
        let mean = scored.reduce(0) { $0 + $1.nll / Double($1.count) * (Double($1.weight) / weight) }
        let ppl = exp(mean)
        guard ppl.isFinite else {
            throw MeraserError.runtime("the perplexity is not finite: mean negative log-likelihood \(mean)")
        }
        return PerplexityReport(
            ppl: ppl, nll: groups.reduce(0) { $0 + $1.nll }, tokens: count, scheme: options.scheme,
            maxLength: length, standardError: ppl * standardError(scored, mean: mean, weight: weight),
            rows: options.keepRows ? rows : nil, quirks: options.scheme == .guanaco ? options.quirks : nil,
            kl: divergence(ppl: ppl))
    }

    /// The standard error of a weighted mean of tokens: √(n / (n − 1) Σ w² (x − mean)²), the weights summing to 1.
    private func standardError(_ groups: [Group], mean: Double, weight: Double) -> Double {
        guard count > 1 else { return 0 }
        let variance = groups.reduce(0) { sum, group in
            let n = Double(group.count)
            let tokenWeight = Double(group.weight) / (n * weight)
            let squares = max(0, group.squares - 2 * mean * group.nll + n * mean * mean)
            return sum + tokenWeight * tokenWeight * squares
        }
        return (variance * Double(count) / Double(count - 1)).squareRoot()
    }

    /// The scores without those of the token that does not count.
    private static func counted(_ scores: SequenceScores, _ window: PerplexityWindow) -> SequenceScores {
        guard let dropped = window.dropped else { return scores }
        let kept = window.sequence.scored.enumerated().filter { window.sequence.tokens[$1] != dropped }.map(\.offset)
        return SequenceScores(
            nll: kept.map { scores.nll[$0] },
            divergences: scores.divergences.isEmpty ? [] : kept.map { scores.divergences[$0] })
    }

    private func divergence(ppl: Double) -> DivergenceReport? {
        guard divergences.count == count else { return nil }
        let sorted = divergences.sorted()
        let sum = sorted.reduce(0, +)
        let basePPL = exp(baseNLL / Double(count))
        return DivergenceReport(
            mean: sum / Double(count),
            standardError: standardErrorOfMean(
                sum: sum, squares: sorted.reduce(0) { $0 + $1 * $1 }, count: count),
            median: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: quantile(sorted, 1),
            sameTop: Double(sameTop) / Double(count), basePPL: basePPL, ratio: ppl / basePPL)
    }
}

/// sqrt(variance / (n − 1)) with the variance over n; 0 for a single value.
private func standardErrorOfMean(sum: Double, squares: Double, count: Int) -> Double {
    guard count > 1 else { return 0 }
    let mean = sum / Double(count)
    return (max(0, squares / Double(count) - mean * mean) / Double(count - 1)).squareRoot()
}

/// The q-quantile of sorted values, at least one, with linear interpolation.
private func quantile(_ sorted: [Double], _ q: Double) -> Double {
    let place = q * Double(sorted.count - 1)
    let low = Int(place)
    let high = min(low + 1, sorted.count - 1)
    return sorted[low] + (place - Double(low)) * (sorted[high] - sorted[low])
}
