import Base
import Foundation
import Model

/// A statistic of a key beside the same statistic of decoy keys: a Monte Carlo test, and the effect with its bounds.
///
/// If the key was drawn as the decoys were and the model knows none of them, its place among all is uniform, whatever the
/// statistic. The effect's bounds take the decoys' spread for the error of the key's own value; so they hold for a single
/// draw too.
public struct DecoyComparison: Sendable, Equatable {
    /// The key's value.
    public let value: Double
    /// Decoy keys that it is compared with.
    public let n: Int
    /// The key's value minus the decoys' mean.
    public let effect: Double
    /// (1 + decoys at least as large) / (1 + n): small where the key's value is larger than chance makes it.
    public let pValue: Double
    /// (1 + decoys at most as large) / (1 + n): small where it is smaller.
    public let lowerPValue: Double
    /// The effect's two-sided 95 % interval.
    public let low: Double
    /// Its upper end.
    public let high: Double
    /// The upper one-sided 95 % bound of the effect.
    public let upperBound: Double

    /// The comparison of a value with those of at least one decoy key.
    ///
    /// - Parameter center: what the effect is measured from; nil: the decoys' mean.
    public init(_ value: Double, decoys: [Double], center: Double? = nil) {
        precondition(!decoys.isEmpty, "a comparison without decoys")
        self.value = value
        n = decoys.count
        let mean = decoys.reduce(0, +) / Double(n)
        let effect = value - (center ?? mean)
        self.effect = effect
        pValue = Double(1 + decoys.count { $0 >= value }) / Double(1 + n)
        lowerPValue = Double(1 + decoys.count { $0 <= value }) / Double(1 + n)
        let sorted = decoys.sorted()
        func error(_ share: Double) -> Double { quantile(share, ofSorted: sorted) - mean }
        low = effect - error(0.975)
        high = effect - error(0.025)
        upperBound = effect - error(0.05)
    }

    /// How far the key stands out, in bits: log2 of the number of candidates less log2 of its rank among them, which is
    /// −log2 of the p-value (Carlini et al. 2019, arXiv 1802.08232).
    public var exposure: Double { -log2(pValue) }

    /// `{"value", "effect", "interval", "upper_bound", "p_value", "lower_p_value", "exposure_bits", "n"}`.
    public var json: JSONValue {
        [
            "value": .real(value), "effect": .real(effect), "interval": .array([.real(low), .real(high)]),
            "upper_bound": .real(upperBound), "p_value": .real(pValue), "lower_p_value": .real(lowerPValue),
            "exposure_bits": .real(exposure), "n": .integer(n),
        ]
    }
}

/// The quantile of values in ascending order, between two of them by straight lines (type 7 of Hyndman and Fan 1996).
public func quantile(_ share: Double, ofSorted values: [Double]) -> Double {
    precondition(!values.isEmpty && (0...1).contains(share), "quantile \(share) of \(values.count) values")
    let place = share * Double(values.count - 1)
    let below = Int(place)
    let above = min(below + 1, values.count - 1)
    return values[below] + (place - Double(below)) * (values[above] - values[below])
}

/// Means over columns of a matrix of scores [unit][column], each column from another unit: what a key of that many columns
/// would score if its units were drawn from all.
///
/// Of a single column the values of `units` are given, those of `own` left out. Of more, `count` random assignments of
/// different units, the key's own among them as an exact permutation test has it.
/// - Parameters:
///   - own: the key's own units, as many as columns.
///   - units: others, drawn in the same way; more of all than columns.
///   - random: what draws the assignments.
public func assignedMeans(
    own: [[Double]], units: [[Double]], count: Int, random: inout SplitMix64
) -> [Double] {
    let columns = own.count
    precondition(columns > 0 && !units.isEmpty, "\(columns) columns, \(units.count) units")
    if columns == 1 { return units.map { $0[0] } }
    let all = own + units
    var order = Array(all.indices)
    var means: [Double] = []
    for _ in 0..<count {
        var sum = 0.0
        // The first steps of Fisher and Yates's shuffle, of whatever order the last one left.
        for column in 0..<columns {
            order.swapAt(column, column + random.index(below: order.count - column))
            sum += all[order[column]][column]
        }
        means.append(sum / Double(columns))
    }
    return means
}

/// The Kolmogorov-Smirnov test of values against the uniform distribution on 0…1: the greatest distance and its p-value
/// (Kolmogorov's series with Stephens's correction, good from about ten values on).
public func kolmogorovSmirnov(uniform values: [Double]) -> (distance: Double, pValue: Double) {
    precondition(!values.isEmpty, "a test of no values")
    let n = Double(values.count)
    let distance = values.sorted().enumerated().reduce(0.0) { greatest, item in
        max(greatest, Double(item.offset + 1) / n - item.element, item.element - Double(item.offset) / n)
    }
    let root = n.squareRoot()
    let scaled = (root + 0.12 + 0.11 / root) * distance
    // Below this the series converges slowly, to 1.
    guard scaled > 0.2 else { return (distance, 1) }
    var sum = 0.0
    for k in 1...100 {
        let term = exp(-2 * Double(k * k) * scaled * scaled)
        sum += k % 2 == 1 ? term : -term
    }
    return (distance, min(1, max(0, 2 * sum)))
}
