import Foundation

/// Spearman's correlation of two lists without ties, and how likely one as large is by chance.
public struct RankCorrelation: Sendable, Equatable {
    /// −1…1.
    public let value: Double
    /// Pairs.
    public let n: Int

    /// The correlation of the ranks; at least three pairs, no value twice in a list: a precondition.
    public init(_ a: [Int], _ b: [Int]) {
        precondition(a.count == b.count && a.count >= 3, "\(a.count) and \(b.count) values")
        n = a.count
        let (x, y) = (Self.ranks(a), Self.ranks(b))
        // 1 − 6 Σd² / (n³ − n), exact in integers up to the division.
        let squares = zip(x, y).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        let count = Double(n)
        value = 1 - 6 * squares / (count * (count * count - 1))
    }

    init(value: Double, n: Int) { (self.value, self.n) = (value, n) }

    private static func ranks(_ values: [Int]) -> [Int] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Int](repeating: 0, count: values.count)
        for (rank, index) in order.enumerated() { ranks[index] = rank }
        return ranks
    }

    /// The natural logarithm of the chance of a correlation at least as large where all orders are equally likely: by
    /// Student's distribution with n − 2 degrees of freedom of r·√((n − 2)/(1 − r²)). At least that of one order, 1/n!.
    public var logPValue: Double {
        let least = -lgamma(Double(n) + 1)
        let freedom = Double(n - 2)
        let rest = (1 - value) * (1 + value)
        guard rest > 0 else { return value > 0 ? least : 0 }
        // Half of I_{1−r²}(ν/2, ½) lies beyond |r| on either side.
        let tail = logIncompleteBeta(rest, freedom / 2, 0.5) - log(2)
        return max(least, value > 0 ? tail : log1p(-exp(tail)))
    }
}

/// The logarithm of the regularized incomplete beta function I_x(a, b): Lentz's evaluation of its continued fraction (DLMF
/// 8.17.22), of the complement where that converges faster.
func logIncompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
    precondition(x > 0 && x <= 1 && a > 0 && b > 0, "I_\(x)(\(a), \(b))")
    if x == 1 { return 0 }
    let front = lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)
    if x < (a + 1) / (a + b + 2) { return front - log(a) + log(betaFraction(x, a, b)) }
    return log1p(-exp(front - log(b) + log(betaFraction(1 - x, b, a))))
}

private func betaFraction(_ x: Double, _ a: Double, _ b: Double) -> Double {
    let tiny = 1e-300
    func kept(_ value: Double) -> Double { abs(value) < tiny ? tiny : value }
    var c = 1.0
    var d = 1 / kept(1 - (a + b) * x / (a + 1))
    var value = d
    for m in 1...10_000 {
        let k = Double(m)
        for numerator in [
            k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k)),
            -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1)),
        ] {
            d = 1 / kept(1 + numerator * d)
            c = kept(1 + numerator / c)
            value *= c * d
        }
        if abs(c * d - 1) < 1e-15 { break }
    }
    return value
}

/// Fisher's combination of independent p-values, in logarithms: the chance that their product is at most as small, which is
/// the tail of a χ² distribution with twice as many degrees of freedom, e^{−s} Σ_{k<n} sᵏ/k! with s = −Σ ln p.
public func logFisher(_ logPValues: [Double]) -> Double {
    let s = -logPValues.reduce(0, +)
    guard s > 0 else { return 0 }
    let terms = logPValues.indices.map { Double($0) * log(s) - lgamma(Double($0) + 1) }
    let largest = terms.max() ?? 0
    return min(0, largest + log(terms.reduce(0) { $0 + exp($1 - largest) }) - s)
}
