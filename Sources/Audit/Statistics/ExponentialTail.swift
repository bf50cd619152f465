import Base
import Foundation

/// How unlikely a value is that lies above all decoys, or nearly: the decoys' upper quarter is taken for the beginning of an
/// exponential tail, which the logarithm of any power law has.
///
/// With decoys and a value of one distribution whose tail is exponential the p-values above the quarter are exact for any
/// number of decoys: the scale is not taken for known. A heavier tail makes them too small, a lighter one too large. Below
/// the quarter it is the Monte Carlo p-value.
public struct ExponentialTail: Sendable, Equatable {
    /// Decoys.
    public let n: Int
    /// Where the tail begins.
    public let start: Double
    /// Decoys above it.
    public let above: Int
    /// The sum of their distances from it.
    public let excess: Double
    private let decoys: [Double]

    /// The fewest decoys of which a quarter is a tail.
    public static let leastDecoys = 24

    /// The tail of those decoys, at least `leastDecoys`: a precondition.
    ///
    /// - Parameter leastScale: the mean distance from where the tail begins that is taken for it where decoys lie closer: of
    ///   decoys that are hardly spread a small distance would be thought to be a large one.
    public init(decoys: [Double], leastScale: Double = 0) {
        precondition(decoys.count >= Self.leastDecoys, "\(decoys.count) decoys")
        let sorted = decoys.sorted(by: >)
        self.decoys = sorted
        n = sorted.count
        above = n / 4
        let start = sorted[above]
        self.start = start
        excess = max(sorted[..<above].reduce(0) { $0 + $1 - start }, leastScale * Double(above))
    }

    /// How likely one of `candidates` values of the decoys' kind is as large.
    public func pValue(of value: Double, amongst candidates: Int = 1) -> Double {
        precondition(candidates >= 1)
        let single: Double
        if value > start, excess > 0 {
            let share = Double(above + 1) / Double(n + 1)
            single = share * pow(1 + (value - start) / excess, -Double(above))
        } else {
            single = Double(1 + decoys.count { $0 >= value }) / Double(n + 1)
        }
        guard candidates > 1 else { return single }
        // 1 − (1 − p)^n without losing a small p.
        return -expm1(Double(candidates) * log1p(-min(single, 1 - 1e-15)))
    }
}

/// How likely the largest of values leads as far as it does if their tail is exponential: what is an outlier among very many
/// of which only the largest are worth a measurement.
///
/// The scale is taken from the values behind the largest `left`, so that several outliers do not hide each other. By Rényi's
/// representation the distances of the largest from the value behind them are as those of `left` draws, whatever lies
/// below; the p-value is exact.
///
/// - Parameters:
///   - values: the largest of all, in any order; more than `left` + 8 of them, else nil.
///   - left: values at the top that say nothing of the scale.
public func leadPValue(_ values: [Double], leaving left: Int = 4) -> Double? {
    precondition(left >= 1)
    guard values.count > left + 8 else { return nil }
    let sorted = values.sorted(by: >)
    let last = sorted.count - 1
    // The spacings between the values behind the top, each times its rank, are draws of one exponential distribution.
    var total = 0.0
    for index in left..<last { total += Double(index + 1) * (sorted[index] - sorted[index + 1]) }
    let lead = sorted[0] - sorted[left]
    guard total > 0 else { return lead > 0 ? 0 : 1 }
    // 1 − (1 − e^{−lead/s})^left, with the scale s integrated over what the draws say of it.
    var (sum, coefficient) = (0.0, 1.0)
    for j in 1...left {
        coefficient *= Double(left - j + 1) / Double(j)
        let power: Double = pow(1 + Double(j) * lead / total, -Double(last - left))
        sum += j % 2 == 1 ? coefficient * power : -coefficient * power
    }
    return min(1, max(0, sum))
}
