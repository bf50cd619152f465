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
    #expect(kinds("xaz", "abc") == ["plain:xaz"])
    #expect(kinds("", "abc") == [])
    #expect(kinds("abc", "") == ["plain:abc"])
    // Composed and decomposed é are different code points.
    #expect(kinds("e\u{301}", "\u{E9}") == ["plain:e\u{301}"])
}
