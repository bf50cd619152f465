import Foundation

/// A line chart as inline SVG: labels, axes and colours come from the page's style sheet, so it follows light and dark.
struct LineChart {
    /// One line.
    struct Series {
        /// Its name in the legend.
        let name: String
        /// Points by rising x.
        let points: [(x: Double, y: Double)]
    }

    /// The heading, also for screen readers.
    let title: String
    /// The name of the x axis.
    let xLabel: String
    /// The lines; those without points are left out.
    let series: [Series]
    /// Fixed limits of the y axis; nil fits them to the points.
    var yRange: ClosedRange<Double>?

    private static let width = 640.0
    private static let height = 240.0
    private static let left = 52.0
    private static let right = 12.0
    private static let top = 28.0
    private static let bottom = 36.0

    /// The `<svg>` element; empty if there is no finite point to draw.
    func svg() -> String {
        let lines = series.map { Series(name: $0.name, points: $0.points.filter { $0.x.isFinite && $0.y.isFinite }) }
            .filter { !$0.points.isEmpty }
        let xs = lines.flatMap { $0.points.map(\.x) }
        let ys = lines.flatMap { $0.points.map(\.y) }
        guard let xLow = xs.min(), let xHigh = xs.max(), let yLow = ys.min(), let yHigh = ys.max() else { return "" }
        let x = Axis(low: xLow, high: xHigh)
        let y = yRange.map { Axis(low: $0.lowerBound, high: $0.upperBound) } ?? Axis(low: yLow, high: yHigh)
        var parts = [
            "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" aria-label=\"\(escape(title))\">"
        ]
        parts += gridLines(x, y)
        for (index, line) in lines.enumerated() {
            parts.append(polyline(line, index, x, y))
            parts.append(legend(line.name, index))
        }
        parts.append("</svg>")
        return parts.joined(separator: "\n")
    }

    private func gridLines(_ x: Axis, _ y: Axis) -> [String] {
        let right = Self.width - Self.right
        let bottom = Self.height - Self.bottom
        var parts = y.ticks.map { tick in
            let at = text(vertical(tick, y))
            return "<line class=\"grid\" x1=\"\(text(Self.left))\" x2=\"\(text(right))\" y1=\"\(at)\" y2=\"\(at)\"/>"
                + "<text class=\"tick\" text-anchor=\"end\" x=\"\(text(Self.left - 6))\" y=\"\(at)\" dy=\"0.32em\">"
                + "\(tickText(tick))</text>"
        }
        parts += x.ticks.map { tick in
            "<text class=\"tick\" text-anchor=\"middle\" x=\"\(text(horizontal(tick, x)))\" y=\"\(text(bottom + 16))\">"
                + "\(tickText(tick))</text>"
        }
        parts.append(
            "<text class=\"tick\" text-anchor=\"end\" x=\"\(text(right))\" y=\"\(text(Self.height - 4))\">\(escape(xLabel))</text>"
        )
        return parts
    }

    private func polyline(_ line: Series, _ index: Int, _ x: Axis, _ y: Axis) -> String {
        let points = line.points.map { "\(text(horizontal($0.x, x))),\(text(vertical($0.y, y)))" }
        let dots =
            points.count > 60
            ? ""
            : points.map { point in
                let place = point.split(separator: ",")
                return "<circle class=\"s\(index % 4)\" cx=\"\(place[0])\" cy=\"\(place[1])\" r=\"2.5\"/>"
            }.joined()
        return "<polyline class=\"s\(index % 4)\" points=\"\(points.joined(separator: " "))\"/>\(dots)"
    }

    private func legend(_ name: String, _ index: Int) -> String {
        let start = Self.left + Double(index) * 150
        return "<line class=\"s\(index % 4)\" x1=\"\(text(start))\" x2=\"\(text(start + 18))\" y1=\"12\" y2=\"12\"/>"
            + "<text class=\"name\" x=\"\(text(start + 24))\" y=\"12\" dy=\"0.32em\">\(escape(name))</text>"
    }

    private func horizontal(_ value: Double, _ axis: Axis) -> Double {
        Self.left + axis.share(value) * (Self.width - Self.left - Self.right)
    }

    private func vertical(_ value: Double, _ axis: Axis) -> Double {
        Self.height - Self.bottom - axis.share(value) * (Self.height - Self.top - Self.bottom)
    }

    private func text(_ value: Double) -> String { String(format: "%.1f", value) }

    private func tickText(_ value: Double) -> String { String(format: "%.6g", value) }

    private func escape(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;").replacingOccurrences(of: "\"", with: "&quot;")
    }
}

/// The limits of an axis and its round numbers.
private struct Axis {
    let low: Double
    let high: Double
    let ticks: [Double]

    init(low: Double, high: Double) {
        let span = high > low ? high - low : max(abs(high), 1)
        let rough = span / 5
        let power = pow(10, floor(log10(rough)))
        let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? power
        self.low = floor(low / step) * step
        self.high = max(ceil(high / step) * step, self.low + step)
        let count = Int(((self.high - self.low) / step).rounded())
        let start = self.low
        ticks = (0...max(1, min(count, 20))).map { start + Double($0) * step }
    }

    /// Where a value lies between the limits, 0 to 1; beyond them for values outside.
    func share(_ value: Double) -> Double { (value - low) / (high - low) }
}
