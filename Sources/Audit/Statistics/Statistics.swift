import Base
import Foundation

/// An interval of a share.
public struct ShareInterval: Sendable, Equatable {
    /// Lower end, 0…1.
    public let low: Double
    /// Upper end, 0…1.
    public let high: Double

    /// Wilson's score interval (Wilson 1927) of `hits` out of `n` at 95 % confidence; all of 0…1 for n = 0.
    ///
    /// Unlike p ± 1.96 σ it stays within 0…1 and says something at 0 and at n hits.
    public init(wilson hits: Int, of n: Int) {
        precondition((0...max(n, 0)).contains(hits), "\(hits) hits of \(n)")
        guard n > 0 else {
            (low, high) = (0, 1)
            return
        }
        let z = 1.959963984540054  // the normal distribution's 97.5 % quantile
        let count = Double(n)
        let p = Double(hits) / count
        let scale = 1 + z * z / count
        let center = (p + z * z / (2 * count)) / scale
        let half = z / scale * (p * (1 - p) / count + z * z / (4 * count * count)).squareRoot()
        // At the ends the formula gives 0 and 1 but for rounding.
        low = hits == 0 ? 0 : max(0, center - half)
        high = hits == n ? 1 : min(1, center + half)
    }

    /// `[low, high]`.
    public var json: JSONValue { .array([.real(low), .real(high)]) }
}

/// P(X ≥ hits) of a binomial distribution: `n` tries that succeed with probability `p` each.
public func binomialTail(hits: Int, of n: Int, probability p: Double) -> Double {
    precondition((0...n).contains(hits) && (0...1).contains(p), "\(hits) hits of \(n) at \(p)")
    if hits == 0 { return 1 }
    if p == 0 || p == 1 { return p }
    let terms = (hits...n).map { k in
        exp(logBinomial(n, k) + Double(k) * log(p) + Double(n - k) * log1p(-p))
    }
    // The smallest first, so that they are not lost.
    return min(1, terms.sorted().reduce(0, +))
}

/// Fisher's exact test, one-sided: how likely at least `hits` of the `n` tries would be hits if all `n + controls` tries
/// were alike and `hits + controlHits` of them hits.
public func fisherTail(hits: Int, of n: Int, controlHits: Int, of controls: Int) -> Double {
    precondition((0...n).contains(hits) && (0...controls).contains(controlHits))
    let total = n + controls
    let successes = hits + controlHits
    // Fewer are not possible: more hits than controls.
    if hits <= max(0, successes - controls) { return 1 }
    let terms = (hits...min(n, successes)).map { k in
        exp(logBinomial(n, k) + logBinomial(controls, successes - k) - logBinomial(total, successes))
    }
    return min(1, terms.sorted().reduce(0, +))
}

/// log of the binomial coefficient; −∞ where it is 0.
private func logBinomial(_ n: Int, _ k: Int) -> Double {
    guard (0...n).contains(k) else { return -.infinity }
    return lgamma(Double(n) + 1) - lgamma(Double(k) + 1) - lgamma(Double(n - k) + 1)
}

/// −log of the sum of probabilities that are given as negative logarithms; a single one comes back to the bit.
public func negativeLogSum(_ values: [Double]) -> Double {
    guard let least = values.min(), least.isFinite else { return values.min() ?? .infinity }
    return least - log(values.reduce(0) { $0 + exp(least - $1) })
}
