import Foundation

/// Where the values of an axis lie between its limits, and its round numbers.
struct ChartScale {
    /// Values beyond this size are not drawn: their differences could not be computed.
    static let largest = 1e100

    /// The lower limit.
    let low: Double
    /// The upper limit, above the lower one.
    let high: Double
    /// Round numbers from the lower to the upper limit.
    let ticks: [Double]

    private let isLogarithmic: Bool

    /// A scale for those values, which `Chart.drawable` let through.
    init(_ axis: Chart.Axis, fitting values: [Double]) {
        let low = axis.range?.lowerBound ?? values.min() ?? 0
        let high = axis.range?.upperBound ?? values.max() ?? 1
        isLogarithmic = axis.isLogarithmic && low > 0
        if isLogarithmic {
            (self.low, self.high, ticks) = Self.logarithmic(low, high)
        } else {
            (self.low, self.high, ticks) = Self.linear(low, high, isCount: axis.unit == .count)
        }
    }

    /// Where a value lies between the limits, 0 to 1; beyond them for values outside.
    func share(_ value: Double) -> Double {
        isLogarithmic ? log(value / low) / log(high / low) : (value - low) / (high - low)
    }

    /// About five steps of 1, 2 or 5 times a power of ten, rounded outwards; a count ends where its values do.
    private static func linear(_ low: Double, _ high: Double, isCount: Bool) -> (Double, Double, [Double]) {
        // Equal values get room around them; nearly equal ones no finer steps than a Double can tell apart.
        let size = max(abs(low), abs(high))
        let span = max(high - low, size == 0 ? 1 : size * (high > low ? 1e-9 : 0.2))
        let rough = span / 5
        let power = pow(10, floor(log10(rough)))
        var step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough * (1 - 1e-9) } ?? power * 10
        if isCount { step = max(1, step.rounded()) }
        let first = floor(low / step + 1e-9)
        let last = max(ceil(high / step - 1e-9), first + 1)
        let end = isCount && high > first * step ? high : last * step
        let ticks = (0...Int(last - first)).map { (first + Double($0)) * step }
        return (first * step, end, ticks.filter { $0 <= end * (1 + 1e-9) })
    }

    /// Powers of ten, and 2 and 5 times them where there are few.
    private static func logarithmic(_ low: Double, _ high: Double) -> (Double, Double, [Double]) {
        let first = Int(floor(log10(low) + 1e-9))
        let last = Int(ceil(log10(high) - 1e-9))
        let isShort = last - first <= 2
        let candidates = (first...max(last, first + 1)).flatMap { power in
            (isShort ? [1.0, 2, 5] : [1]).map { $0 * pow(10, Double(power)) }
        }
        let below = candidates.last { $0 <= low * (1 + 1e-9) } ?? low
        let above = candidates.first { $0 >= high * (1 - 1e-9) && $0 > below } ?? pow(10, Double(first + 1))
        let ticks = candidates.filter { $0 >= below && $0 <= above }
        let stride = (ticks.count + 7) / 8
        return (below, above, ticks.enumerated().filter { $0.offset % stride == 0 }.map(\.element))
    }
}

extension Chart.Axis {
    /// A number as it stands at the axis.
    func text(_ value: Double) -> String {
        switch unit {
        case .plain, .count: String(format: "%.6g", value)
        case .percent: String(format: "%.4g %%", value * 100)
        }
    }
}
