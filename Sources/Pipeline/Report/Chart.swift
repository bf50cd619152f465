/// A chart of lines or of single points, drawn as inline SVG: `svg()`.
///
/// Nothing but numbers and texts goes in; texts are escaped. Colours, dashes and fonts come from the page's style sheet
/// (`Chart.style`, which `HTMLPage` has), so a chart follows light and dark. Series are told apart by colour and by the shape
/// of their points. A page with FSR against perplexity, a point for each method with its interval:
///
/// ```swift
/// let chart = Chart(
///     title: "What removal costs",
///     x: Chart.Axis("perplexity"),
///     y: Chart.Axis("FSR", unit: .percent, range: 0...1),
///     series: methods.map { method in
///         Chart.Series(method.name, [Chart.Point(method.ppl, method.fsr, interval: method.fsrInterval)], mark: .points)
///     })
/// let page = HTMLPage(title: "Comparison", body: chart.figure())
/// try writeFileAtomically(path: "compare.html", Array(page.html().utf8))
/// ```
///
/// Lines over steps: `mark: .line` (the default) with points by rising x, and `x: Chart.Axis("step", unit: .count)`.
struct Chart: Sendable {
    /// A point, its coordinates in the axes' units (a share of an axis in percent is 0…1).
    struct Point: Sendable, Equatable {
        /// Along the x axis.
        var x: Double
        /// Along the y axis.
        var y: Double
        /// Ends of the interval of y, drawn as a whisker; nil: none.
        var interval: ClosedRange<Double>?
        /// A name written beside the point where there is room for it; nil: none.
        var label: String?

        /// A point with or without an interval of y and a name.
        init(_ x: Double, _ y: Double, interval: ClosedRange<Double>? = nil, label: String? = nil) {
            (self.x, self.y, self.interval, self.label) = (x, y, interval, label)
        }
    }

    /// What numbers on an axis are.
    enum Unit: Sendable {
        /// Any numbers.
        case plain
        /// Whole numbers, steps for instance: no ticks between them.
        case count
        /// Shares 0…1, shown as 0 % to 100 %.
        case percent
    }

    /// An axis.
    struct Axis: Sendable {
        /// Its name, with the unit of measurement where there is one: `target NLL (nats a token)`.
        var label: String
        /// What its numbers are.
        var unit: Unit
        /// Limits; nil fits them to the points, rounded outwards.
        var range: ClosedRange<Double>?
        /// True for a logarithmic axis; points that are not above 0 are left out then.
        var isLogarithmic: Bool

        /// An axis, fitted to the points and linear unless said otherwise.
        init(_ label: String, unit: Unit = .plain, range: ClosedRange<Double>? = nil, isLogarithmic: Bool = false) {
            (self.label, self.unit, self.range, self.isLogarithmic) = (label, unit, range, isLogarithmic)
        }
    }

    /// How a series is drawn.
    enum Mark: Sendable {
        /// A line through its points.
        case line
        /// Its points alone.
        case points
    }

    /// Points that belong together.
    struct Series: Sendable {
        /// Its name in the legend.
        var name: String
        /// The points; of a line by rising x.
        var points: [Point]
        /// How it is drawn.
        var mark: Mark
        /// Which colour and shape it has, from 0; nil: those of its place among the series, where one without points has a
        /// place too, so that a method looks the same in several charts.
        var style: Int?
        /// True for what lies under something that says the same more clearly: raw values under their mean.
        var isFaint: Bool

        /// A series.
        init(_ name: String, _ points: [Point], mark: Mark = .line, style: Int? = nil, isFaint: Bool = false) {
            (self.name, self.points, self.mark, self.style, self.isFaint) = (name, points, mark, style, isFaint)
        }
    }

    /// A line across the chart at a value of y: what the series are to be seen against.
    struct Guide: Sendable {
        /// Its name, written above it.
        var name: String
        /// Where it lies.
        var y: Double
    }

    /// A part of the x axis with a name: a stage of a run.
    struct Section: Sendable {
        /// Its name, written at the top where there is room for it.
        var name: String
        /// Where it begins and ends.
        var range: ClosedRange<Double>
    }

    /// The heading.
    var title: String
    /// The horizontal axis.
    var x: Axis
    /// The vertical axis.
    var y: Axis
    /// What is drawn, the first on top of nothing, the last on top of all.
    var series: [Series]
    /// Lines across it.
    var guides: [Guide]
    /// Parts of the x axis, by rising x.
    var sections: [Section]

    /// A chart.
    init(title: String, x: Axis, y: Axis, series: [Series], guides: [Guide] = [], sections: [Section] = []) {
        (self.title, self.x, self.y, self.series) = (title, x, y, series)
        (self.guides, self.sections) = (guides, sections)
    }

    /// The series with the points that can be drawn and their styles; those without any point are left out.
    var drawable: [Series] {
        series.enumerated().map { index, series in
            var series = series
            series.style = series.style ?? index
            series.points = series.points.filter { fits($0.x, x) && fits($0.y, y) }
            return series
        }.filter { !$0.points.isEmpty }
    }

    /// True for a value that an axis can show.
    func fits(_ value: Double, _ axis: Axis) -> Bool {
        abs(value) <= ChartScale.largest && (!axis.isLogarithmic || value > 0)
    }

    /// The chart in words, for those who do not see it: each series with its first and its last point.
    var summary: String {
        func text(_ point: Point) -> String { "\(y.text(point.y)) at \(x.text(point.x))" }
        let lines = drawable.map { series -> String in
            guard let first = series.points.first, let last = series.points.last, series.points.count > 1 else {
                return "\(series.name): " + series.points.map(text).joined()
            }
            return "\(series.name): \(series.points.count) points, from \(text(first)) to \(text(last))"
        }
        let across = guides.filter { fits($0.y, y) }.map { "\($0.name): \(y.text($0.y))" }
        return "\(y.label) over \(x.label). " + (lines + across).joined(separator: "; ") + "."
    }

    /// The chart as a `<figure>` for the body of an `HTMLPage`; empty if there is nothing to draw.
    func figure() -> String {
        let drawing = svg()
        return drawing.isEmpty ? "" : "<figure class=\"chart\">\(drawing)</figure>"
    }
}
