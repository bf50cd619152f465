import Foundation
import Quant

/// Sums of a perplexity run, in double.
struct PerplexitySums {
    private var count = 0
    private var nll = 0.0
    private var nllSquares = 0.0
    private var baseNLL = 0.0
    private var divergences: [Double] = []
    private var sameTop = 0
    private var rows: [PerplexityRow] = []

    mutating func add(_ scores: SequenceScores, keepRow: Bool) {
        let total = scores.totalNLL
        count += scores.nll.count
        nll += total
        nllSquares += scores.nll.reduce(0) { $0 + Double($1) * Double($1) }
        for divergence in scores.divergences {
            divergences.append(divergence.kl)
            sameTop += divergence.sameTop ? 1 : 0
            baseNLL += Double(divergence.baseNLL)
        }
        if keepRow { rows.append(PerplexityRow(tokens: scores.nll.count, nll: total)) }
    }

    /// - Throws: a bad-input error if nothing was scored, a runtime error if the perplexity is beyond all numbers.
    func report(_ options: PerplexityOptions) throws -> PerplexityReport {
        guard count > 0 else {
            throw MeraserError.badInput(
                "no tokens to score: the text is too short for --protocol \(options.scheme.rawValue) "
                    + "with windows of \(options.maxLength) tokens")
        }
        let ppl = exp(nll / Double(count))
        guard ppl.isFinite else {
            throw MeraserError.runtime(
                "the perplexity is not finite: mean negative log-likelihood \(nll / Double(count))")
        }
        return PerplexityReport(
            ppl: ppl, nll: nll, tokens: count, scheme: options.scheme, maxLength: options.maxLength,
            standardError: ppl * standardErrorOfMean(sum: nll, squares: nllSquares, count: count),
            rows: options.keepRows ? rows : nil, kl: divergence(ppl: ppl))
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
