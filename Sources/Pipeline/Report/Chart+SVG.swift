import Foundation

extension Chart {
    /// The `<svg>` element; empty if there is nothing to draw.
    func svg() -> String {
        let series = drawable
        guard !series.isEmpty else { return "" }
        return ChartDrawing(self, series).svg()
    }
}

/// One chart being drawn: the places of its parts in a box 400 wide, and their elements.
private struct ChartDrawing {
    private static let width = 400.0
    private static let plotHeight = 180.0
    private static let left = 58.0
    private static let right = 14.0
    private static let lineHeight = 17.0
    /// A series with more points is drawn by the lowest and the highest of each column.
    private static let mostPoints = 2000
    /// Points have marks where a line has at most this many.
    private static let mostMarks = 60
    /// Classes of the style sheet.
    private static let colours = 8

    private let chart: Chart
    private let series: [Chart.Series]
    private let guides: [Chart.Guide]
    private let x: ChartScale
    private let y: ChartScale
    private let legend: [[(series: Chart.Series, name: String, x: Double)]]

    init(_ chart: Chart, _ series: [Chart.Series]) {
        self.chart = chart
        self.series = series
        let points = series.flatMap(\.points)
        let parts = chart.sections.flatMap { [$0.range.lowerBound, $0.range.upperBound] }
        x = ChartScale(chart.x, fitting: Self.withRoom(points.map(\.x) + parts, chart.x, series))
        let ends = points.compactMap(\.interval).flatMap { [$0.lowerBound, $0.upperBound] }
            .filter { chart.fits($0, chart.y) }
        guides = chart.guides.filter { chart.fits($0.y, chart.y) }
        y = ChartScale(chart.y, fitting: points.map(\.y) + ends + guides.map(\.y))
        // A series that is drawn in pieces is named once.
        let named = series.reduce(into: [Chart.Series]()) { named, series in
            if !named.contains(where: { $0.name == series.name && $0.style == series.style }) { named.append(series) }
        }
        legend = named.count > 1 ? Self.legend(named) : []
    }

    /// Single points stand clear of the plot's sides.
    private static func withRoom(_ values: [Double], _ axis: Chart.Axis, _ series: [Chart.Series]) -> [Double] {
        guard axis.unit == .plain, !axis.isLogarithmic, series.contains(where: { $0.mark == .points }),
            let low = values.min(), let high = values.max()
        else { return values }
        return [low - 0.05 * (high - low), high + 0.05 * (high - low)]
    }

    // MARK: Places

    private var top: Double {
        32 + Double(legend.count) * Self.lineHeight + (chart.sections.isEmpty ? 0 : Self.lineHeight)
    }
    private var bottom: Double { top + Self.plotHeight }
    private var height: Double { bottom + 42 }

    private func across(_ value: Double) -> Double {
        Self.left + x.share(value) * (Self.width - Self.left - Self.right)
    }

    private func down(_ value: Double) -> Double { bottom - y.share(value) * Self.plotHeight }

    /// The legend's entries in lines that are wide enough for them.
    private static func legend(_ series: [Chart.Series]) -> [[(series: Chart.Series, name: String, x: Double)]] {
        var lines: [[(series: Chart.Series, name: String, x: Double)]] = [[]]
        var place = left
        for series in series {
            let name = series.name
            let short = name.count > 44 ? name.prefix(43) + "…" : name
            let needed = 24 + textWidth(short) + 14
            if place + needed > width, lines.last?.isEmpty == false {
                lines.append([])
                place = left
            }
            lines[lines.count - 1].append((series, short, place))
            place += needed
        }
        return lines
    }

    /// About the width of a text at 12 px.
    private static func textWidth(_ text: String) -> Double {
        text.unicodeScalars.reduce(0) { $0 + ($1.value < 0x2E80 ? 6.6 : 12) }
    }

    // MARK: Elements

    func svg() -> String {
        var parts = [
            "<svg viewBox=\"0 0 \(Self.text(Self.width)) \(Self.text(height))\" role=\"img\">",
            "<title>\(chart.title.escapedForHTML)</title><desc>\(chart.summary.escapedForHTML)</desc>",
            element("text", "title", [("x", Self.left), ("y", 16)], chart.title),
        ]
        parts += legend.enumerated().flatMap { line, entries in
            entries.map { key($0.series, $0.name, $0.x, 34 + Double(line) * Self.lineHeight) }
        }
        parts += axes()
        parts += sections()
        parts += guides.map { line("guide", Self.left, down($0.y), Self.width - Self.right, down($0.y)) }
        parts += series.map(drawing)
        parts += labels()
        parts.append("</svg>")
        return parts.joined(separator: "\n")
    }

    private func axes() -> [String] {
        let right = Self.width - Self.right
        var parts = y.ticks.map { tick in
            line("grid", Self.left, down(tick), right, down(tick))
                + element(
                    "text", "tick end", [("x", Self.left - 7), ("y", down(tick) + 4)], chart.y.text(tick))
        }
        parts += x.ticks.map { tick in
            line("axis", across(tick), bottom, across(tick), bottom + 4)
                + element("text", "tick middle", [("x", across(tick)), ("y", bottom + 17)], chart.x.text(tick))
        }
        parts.append(line("axis", Self.left, bottom, right, bottom))
        parts.append(line("axis", Self.left, top, Self.left, bottom))
        parts.append(
            element("text", "label middle", [("x", (Self.left + right) / 2), ("y", bottom + 35)], chart.x.label))
        let middle = (top + bottom) / 2
        parts.append(
            "<text class=\"label middle\" transform=\"translate(13 \(Self.text(middle))) rotate(-90)\">"
                + "\(chart.y.label.escapedForHTML)</text>")
        return parts
    }

    /// Where one part of the x axis ends and the next begins, and the names of those that are wide enough.
    private func sections() -> [String] {
        chart.sections.enumerated().flatMap { index, section -> [String] in
            let (start, end) = (across(section.range.lowerBound), across(section.range.upperBound))
            let rule = index == 0 ? [] : [line("section", start, top, start, bottom)]
            guard Self.textWidth(section.name) <= end - start else { return rule }
            return rule
                + [element("text", "tick middle", [("x", (start + end) / 2), ("y", top - 4)], section.name)]
        }
    }

    /// A series: its whiskers, its line, its marks and names.
    private func drawing(_ series: Chart.Series) -> String {
        let isLine = series.mark == .line
        let style = series.style ?? 0
        let points = isLine && series.points.count > Self.mostPoints ? extremes(series.points) : series.points
        var parts = ["<g class=\"\(classes(style))\(series.isFaint ? " faint" : "")\">"]
        parts += points.compactMap { point in
            point.interval.map { range in
                let ends = (down(clamped(range.lowerBound)), down(clamped(range.upperBound)))
                return line("whisker", across(point.x), ends.0, across(point.x), ends.1)
            }
        }
        if isLine {
            let places = points.map { "\(Self.text(across($0.x))),\(Self.text(down($0.y)))" }
            parts.append("<polyline points=\"\(places.joined(separator: " "))\"/>")
        }
        if !isLine || hasMarks(series) {
            parts += points.map { point in
                let name = "\(series.name): \(chart.y.text(point.y)) at \(chart.x.text(point.x))"
                return mark(style, across(point.x), down(point.y), name)
            }
        }
        return parts.joined() + "</g>"
    }

    /// True for a line whose points can be told apart, and that no other one speaks for.
    private func hasMarks(_ series: Chart.Series) -> Bool {
        series.points.count <= Self.mostMarks && !series.isFaint
    }

    /// A value of y within the limits: whiskers end where the plot does.
    private func clamped(_ value: Double) -> Double { min(max(value, y.low), y.high) }

    /// The names of points and guides, each on a side where it hides no other name and no point; left out where there is
    /// none: the point's tooltip has it.
    private func labels() -> [String] {
        let drawn = series.filter { $0.mark == .points || hasMarks($0) }.flatMap(\.points)
        var taken = drawn.map { CGRect(x: across($0.x) - 4, y: down($0.y) - 4, width: 8, height: 8) }
        let room = CGRect(x: Self.left, y: top - 14, width: Self.width - Self.left, height: bottom - top + 14)
        func label(_ name: String, _ places: [(x: Double, y: Double)], _ kind: String) -> String? {
            let boxes = places.map { CGRect(x: $0.x, y: $0.y - 11, width: Self.textWidth(name), height: 13) }
            guard
                let place = boxes.first(where: { box in room.contains(box) && !taken.contains { $0.intersects(box) } })
            else { return nil }
            taken.append(place)
            return element("text", kind, [("x", place.minX), ("y", place.minY + 11)], name)
        }
        let names = series.flatMap(\.points).compactMap { point -> String? in
            guard let name = point.label else { return nil }
            let (width, x, y) = (Self.textWidth(name), across(point.x), down(point.y))
            let sides = [
                (9.0, -7.0), (-9 - width, -7), (9, 15), (-9 - width, 15), (-width / 2, -9), (-width / 2, 18), (9, 4),
                (-9 - width, 4),
            ]
            return label(name, sides.map { (x + $0, y + $1) }, "name")
        }
        let lines = guides.compactMap { guide -> String? in
            let right = Self.width - Self.right - Self.textWidth(guide.name) - 4
            let ends = [right, Self.left + 6, (right + Self.left) / 2]
            return label(guide.name, ends.flatMap { [($0, down(guide.y) - 4), ($0, down(guide.y) + 13)] }, "tick")
        }
        return names + lines
    }

    /// The lowest and the highest point of each of as many columns as the plot is wide, twice.
    private func extremes(_ points: [Chart.Point]) -> [Chart.Point] {
        let count = Self.mostPoints / 2
        return (0..<count).flatMap { column -> [Chart.Point] in
            let part = points[column * points.count / count..<(column + 1) * points.count / count]
            guard let low = part.indices.min(by: { part[$0].y < part[$1].y }),
                let high = part.indices.max(by: { part[$0].y < part[$1].y })
            else { return [] }
            return low == high ? [part[low]] : [part[min(low, high)], part[max(low, high)]]
        }
    }

    private func key(_ series: Chart.Series, _ name: String, _ place: Double, _ at: Double) -> String {
        let style = series.style ?? 0
        let rule = series.mark == .line ? line("", place, at, place + 18, at) : ""
        return "<g class=\"\(classes(style))\">\(rule)\(mark(style, place + 9, at, nil))</g>"
            + element("text", "tick", [("x", place + 24), ("y", at + 4)], name)
    }

    /// Colour by the first eight, dashes from the ninth on.
    private func classes(_ index: Int) -> String {
        "series s\(index % Self.colours)" + (index / Self.colours % 2 == 1 ? " dashed" : "")
    }

    /// A circle, square, triangle or diamond; `name` is its tooltip.
    private func mark(_ index: Int, _ x: Double, _ y: Double, _ name: String?) -> String {
        let title = name.map { "<title>\($0.escapedForHTML)</title>" } ?? ""
        func at(_ dx: Double, _ dy: Double) -> String { "\(Self.text(x + dx)),\(Self.text(y + dy))" }
        switch index % 4 {
        case 0:
            let place = "cx=\"\(Self.text(x))\" cy=\"\(Self.text(y))\""
            return "<circle class=\"mark\" \(place) r=\"3.2\">\(title)</circle>"
        case 1: return polygon([at(-3, -3), at(3, -3), at(3, 3), at(-3, 3)], title)
        case 2: return polygon([at(0, -4), at(3.8, 3), at(-3.8, 3)], title)
        default: return polygon([at(0, -4.4), at(4.4, 0), at(0, 4.4), at(-4.4, 0)], title)
        }
    }

    private func polygon(_ corners: [String], _ title: String) -> String {
        "<polygon class=\"mark\" points=\"\(corners.joined(separator: " "))\">\(title)</polygon>"
    }

    private func line(_ name: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double) -> String {
        let places = [("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)].map { "\($0)=\"\(Self.text($1))\"" }
        return "<line\(name.isEmpty ? "" : " class=\"\(name)\"") \(places.joined(separator: " "))/>"
    }

    private func element(_ kind: String, _ name: String, _ places: [(String, Double)], _ text: String) -> String {
        let attributes = places.map { " \($0)=\"\(Self.text($1))\"" }.joined()
        return "<\(kind) class=\"\(name)\"\(attributes)>\(text.escapedForHTML)</\(kind)>"
    }

    private static func text(_ value: Double) -> String { String(format: "%.2f", value) }
}
