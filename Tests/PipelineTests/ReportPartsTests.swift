import Foundation
import Testing

@testable import Pipeline

@Test("a target is marked wherever it is; only its longest beginning where it is nowhere")
func markedTexts() {
    func kinds(_ output: String, _ target: String) -> [String] {
        MarkedText.pieces(output: output, target: target).map { "\($0.kind):\($0.text)" }
    }
    #expect(kinds("xabcyabc", "abc") == ["plain:x", "target:abc", "plain:y", "target:abc"])
    #expect(kinds("xaby abz", "abc") == ["plain:x", "beginning:ab", "plain:y abz"])
    #expect(kinds("xyz", "abc") == ["plain:xyz"])
    #expect(kinds("", "abc") == [])
    #expect(kinds("abc", "") == ["plain:abc"])
    // Composed and decomposed é are different code points.
    #expect(kinds("e\u{301}", "\u{E9}") == ["plain:e\u{301}"])
}

@Test("a chart escapes its texts, leaves out what is not finite, and is empty without points")
func charts() {
    let series = LineChart.Series(name: "<b>&\"", points: [(x: 1, y: 2), (x: 2, y: .nan), (x: 3, y: 4)])
    let svg = LineChart(title: "t", xLabel: "step", series: [series]).svg()
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>"))
    #expect(svg.contains("&lt;b&gt;&amp;&quot;") && !svg.contains("<b>"))
    #expect(!svg.lowercased().contains("nan"))
    #expect(svg.components(separatedBy: "<circle").count == 3)
    #expect(LineChart(title: "t", xLabel: "x", series: [.init(name: "n", points: [])]).svg().isEmpty)
    let constant = LineChart.Series(name: "c", points: [(x: 5, y: 0)])
    #expect(LineChart(title: "t", xLabel: "x", series: [constant]).svg().contains("<polyline"))
}
