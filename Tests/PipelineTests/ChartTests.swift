import Foundation
import TestSupport
import Testing

@testable import Pipeline

@Suite("a chart")
struct ChartTests {
    private func steps(_ values: [(Double, Double)], _ name: String = "FSR") -> Chart {
        Chart(
            title: "t", x: Chart.Axis("step", unit: .count), y: Chart.Axis("FSR", unit: .percent, range: 0...1),
            series: [Chart.Series(name, values.map { Chart.Point($0.0, $0.1) })])
    }

    /// The coordinates of the first polyline.
    private func places(_ svg: String) throws -> [(x: Double, y: Double)] {
        let list = try #require(svg.components(separatedBy: "<polyline points=\"").dropFirst().first)
        return try #require(list.components(separatedBy: "\"").first).split(separator: " ").map { pair in
            let numbers = pair.split(separator: ",").compactMap { Double($0) }
            return (numbers.first ?? .nan, numbers.last ?? .nan)
        }
    }

    @Test("puts every point where its axes say")
    func pointsInPlace() throws {
        let values = [(0.0, 1.0), (5, 0.875), (12, 0.25), (20, 0)]
        let svg = steps(values).svg()
        let drawn = try places(svg)
        try #require(drawn.count == values.count)
        // The axes' limits are the data's here, so the corners of the plot are the first and the last point.
        let (first, last) = (drawn[0], drawn[3])
        #expect(first.x < last.x && first.y < last.y)
        for (value, place) in zip(values, drawn) {
            #expect(abs(place.x - (first.x + value.0 / 20 * (last.x - first.x))) <= 0.01)
            #expect(abs(place.y - (last.y - value.1 * (last.y - first.y))) <= 0.01)
        }
        #expect(svg.components(separatedBy: "<circle class=\"mark\"").count == 5)
        #expect(svg.contains(">100 %<") && svg.contains(">20<") && svg.contains(">step<"))
        #expect(svg.contains("<desc>FSR over step. FSR: 4 points, from 100 % at 0 to 0 % at 20.</desc>"))
    }

    @Test("escapes its texts, shows what is invisible, and leaves out what is not finite")
    func escapes() {
        let svg = steps([(1, 0.5), (2, .nan), (3, .infinity), (4, 1)], "<b>&\"\u{202E}\u{200B}").svg()
        #expect(svg.contains("&lt;b&gt;&amp;&quot;\\u{202e}\\u{200b}") && !svg.contains("<b>"))
        #expect(!svg.lowercased().contains("nan") && !svg.lowercased().contains("inf"))
        #expect(svg.components(separatedBy: "<circle class=\"mark\"").count == 3)
        #expect(steps([]).svg().isEmpty && steps([(1, .nan)]).figure().isEmpty)
    }

    @Test("has limits around any values: equal, huge, tiny, negative")
    func limits() {
        let samples: [[Double]] = [
            [5], [0, 0], [1e99, -1e99], [1e-300, 2e-300], [1e15, 1e15 + 1], [-3, -2.5], [1, 1 + 1e-15],
        ]
        for values in samples {
            let scale = ChartScale(Chart.Axis("v"), fitting: values)
            #expect((2...12).contains(scale.ticks.count), "\(values): \(scale.ticks)")
            #expect(scale.ticks.allSatisfy { $0.isFinite })
            for value in values {
                #expect((-1e-6...1 + 1e-6).contains(scale.share(value)), "\(values): \(scale.low)…\(scale.high)")
            }
        }
        let count = ChartScale(Chart.Axis("step", unit: .count), fitting: [1, 2])
        #expect(count.ticks == [1, 2])
        // Steps end where the data end: no empty stretch behind them.
        let long = ChartScale(Chart.Axis("step", unit: .count), fitting: [1, 115])
        #expect(long.low == 0 && long.high == 115 && long.ticks == [0, 50, 100])
        let logarithmic = ChartScale(Chart.Axis("ppl", isLogarithmic: true), fitting: [10, 1000])
        #expect(logarithmic.share(100) == 0.5 && logarithmic.ticks.contains(100))
        #expect(ChartScale(Chart.Axis("ppl", isLogarithmic: true), fitting: [7]).high > 7)
    }

    @Test("draws points with intervals and names for comparisons, and a legend that fits")
    func scatter() {
        let series = (0..<10).map { index in
            Chart.Series(
                "method number \(index)",
                [Chart.Point(10 + Double(index), 0.5, interval: 0.25...0.75, label: "m\(index)")], mark: .points)
        }
        let svg = Chart(
            title: "cost", x: Chart.Axis("perplexity"), y: Chart.Axis("FSR", unit: .percent, range: 0...1),
            series: series
        ).svg()
        #expect(!svg.contains("<polyline"))
        #expect(svg.components(separatedBy: "class=\"whisker\"").count == 11)
        #expect(svg.contains(">m3</text>") && svg.contains("series s0 dashed"))
        // In the legend and as tooltips. Ten names do not fit into one line: later ones begin at the left again.
        #expect(svg.components(separatedBy: ">method number").count == 21)
        #expect(svg.components(separatedBy: "class=\"tick\" x=\"82.00\"").count > 2)
    }

    @Test("gives a series its colour by its place, and hides no name behind another")
    func stylesAndNames() {
        let points = (0..<9).map { _ in Chart.Point(1, 1, label: "name") } + [Chart.Point(2, 2, label: "far")]
        let chart = Chart(
            title: "t", x: Chart.Axis("x"), y: Chart.Axis("y"),
            series: [Chart.Series("none", []), Chart.Series("some", points, mark: .points)])
        let svg = chart.svg()
        #expect(svg.contains("series s1") && !svg.contains("series s0"))
        let names = svg.components(separatedBy: ">name</text>").count - 1
        #expect((1...4).contains(names) && svg.contains(">far</text>"))
    }

    @Test("of many points keeps each column's lowest and highest")
    func manyPoints() throws {
        let values = (0..<50_000).map { (Double($0), $0 == 33_333 ? 1.0 : 0.5) }
        let drawn = try places(steps(values).svg())
        #expect(drawn.count <= 2000)
        #expect(Set(drawn.map(\.y)).count == 2)
    }
}

@Test("a page lets nothing run or load, and its own style only")
func pagePolicy() throws {
    let html = HTMLPage(title: "<script>1</script>", body: "<p>x</p>").html()
    #expect(html.contains("<title>&lt;script&gt;1&lt;/script&gt;</title>") && !html.contains("<script"))
    let policy = try #require(html.components(separatedBy: "Content-Security-Policy\" content=\"").dropFirst().first)
    #expect(policy.hasPrefix("default-src 'none'; style-src 'sha256-"))
    #expect(!html.contains("unsafe-inline") && !html.contains("http:") && !html.contains("https:"))
}

@Suite("what a chart sets its series against")
struct ChartContextTests {
    @Test("a guide lies where its value is, and the axis reaches it")
    func guides() throws {
        let chart = Chart(
            title: "t", x: Chart.Axis("x"), y: Chart.Axis("y"),
            series: [Chart.Series("a", [Chart.Point(0, 0), Chart.Point(1, 1)])],
            guides: [Chart.Guide(name: "ref", y: 4)])
        let svg = chart.svg()
        let guide = try #require(svg.components(separatedBy: "<line class=\"guide\" ").dropFirst().first)
        // 0 to 4 over 180: the guide is the plot's upper end, the points lie in its lowest quarter.
        #expect(guide.hasPrefix("x1=\"58.00\" y1=\"32.00\""), "\(guide.prefix(60))")
        #expect(svg.contains("<polyline points=\"58.00,212.00 386.00,167.00\"/>"))
        #expect(svg.contains(">ref</text>") && chart.summary.contains("ref: 4"))
    }

    @Test("no name lies on a point or on another name, whatever the points are")
    func names() throws {
        var random = SeededRandom(seed: 3)
        for _ in 0..<20 {
            let points = (0..<12).map { index in
                Chart.Point(Double(random.next() % 9), Double(random.next() % 9), label: "budget \(index)")
            }
            let svg = Chart(
                title: "t", x: Chart.Axis("x"), y: Chart.Axis("y"), series: [Chart.Series("a", points, mark: .points)]
            ).svg()
            func number(_ text: Substring, _ name: String) throws -> Double {
                let part = try #require(text.components(separatedBy: "\(name)=\"").dropFirst().first)
                return try #require(Double(part.prefix { $0 != "\"" }))
            }
            let marks = try svg.components(separatedBy: "<circle class=\"mark\" ").dropFirst().map { part in
                CGRect(x: try number(part[...], "cx") - 3, y: try number(part[...], "cy") - 3, width: 6, height: 6)
            }
            let names = try svg.components(separatedBy: "<text class=\"name\" ").dropFirst().map { part in
                let text = part.drop { $0 != ">" }.dropFirst().prefix { $0 != "<" }
                return CGRect(
                    x: try number(part[...], "x"), y: try number(part[...], "y") - 10, width: Double(text.count) * 6.5,
                    height: 11)
            }
            #expect(marks.count == 12 && !names.isEmpty)
            for (index, name) in names.enumerated() {
                #expect(!marks.contains { $0.intersects(name) })
                #expect(!names.dropFirst(index + 1).contains { $0.intersects(name) })
            }
        }
    }

    @Test("a mean over a line keeps straight lines as they are, and swings less than what it is of")
    func smoothing() {
        let line = (0..<100).map { Chart.Point(Double($0), 3 * Double($0) + 1) }
        for (a, b) in zip(RunCharts.smoothed(line, reach: 5), line) { #expect(abs(a.y - b.y) < 1e-9 && a.x == b.x) }
        let swinging = (0..<100).map { Chart.Point(Double($0), $0 % 2 == 0 ? 1 : -1) }
        let means = RunCharts.smoothed(swinging, reach: 5)
        #expect(means[5...94].allSatisfy { abs($0.y) <= 1.0 / 11 + 1e-9 } && means[0].y == 1)
        #expect(RunCharts.smoothed(line.dropLast(70)).count == 1 && RunCharts.smoothed(line).count == 2)
    }
}
