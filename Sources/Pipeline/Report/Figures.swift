import Audit
import Foundation

/// Figures as a report writes them.
enum Figures {
    /// A number with so many digits behind the point.
    static func number(_ value: Double, _ digits: Int) -> String {
        String(format: "%.\(digits)f", value)
    }

    /// A number with its sign.
    static func signed(_ value: Double, _ digits: Int) -> String {
        let text = number(abs(value), digits)
        // What rounds to zero has no sign; a real minus is as wide as a plus.
        return Double(text) == 0 ? text : (value < 0 ? "−" : "+") + text
    }

    /// A share in percent.
    static func percent(_ share: Double) -> String { number(share * 100, 1) + " %" }

    /// The ends of an interval of a share, in percent.
    static func interval(_ interval: ShareInterval) -> String {
        "\(number(interval.low * 100, 1))–\(number(interval.high * 100, 1)) %"
    }

    /// A number with two digits and a power of ten.
    static func scientific(_ value: Double) -> String { String(format: "%.2g", value) }

    /// A figure with its standard error.
    static func estimate(_ estimate: RunReport.Estimate, _ digits: Int) -> String {
        number(estimate.value, digits) + (estimate.error.map { " ± \(number($0, digits))" } ?? "")
    }

    /// Seconds, or minutes and seconds.
    static func duration(_ seconds: Double) -> String {
        guard seconds >= 120, seconds < 1e9 else { return number(seconds, 1) + " s" }
        return "\(Int(seconds) / 60) min \(Int(seconds) % 60) s"
    }

    /// The standard error of a mean; nil for fewer than two values.
    static func standardError(_ values: [Double]) -> Double? {
        guard values.count > 1 else { return nil }
        let count = Double(values.count)
        let mean = values.reduce(0, +) / count
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (squares / (count - 1) / count).squareRoot()
    }
}
