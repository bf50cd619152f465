import Foundation
import Testing

@testable import Base

@Suite("Numbers of files")
struct CheckedArithmeticTests {
    @Test("products, sums and roundings that overflow, or that have a negative part, are nil")
    func checked() {
        #expect(product(3, 4, 5) == 60)
        #expect(product() == 1)
        #expect(product(1 << 32, 1 << 31) == nil)
        #expect(product(0, -1) == nil)
        #expect(sum(1, 2, .max - 3) == .max)
        #expect(sum(.max, 1) == nil)
        #expect(sum(5, -1) == nil)
        #expect(roundUp(33, to: 32) == 64)
        #expect(roundUp(.max - 3, to: 32) == nil)
    }

    @Test("a number without a whole part in Int is nil")
    func whole() {
        #expect(Int(whole: -2.9) == -2)
        #expect(Int(whole: 1e15) == 1_000_000_000_000_000)
        for number in [Double.nan, .infinity, -.infinity, 1e300, 9_223_372_036_854_775_808] {
            #expect(Int(whole: number) == nil)
        }
    }
}

@Suite("Values in errors")
struct QuotedTextTests {
    @Test("short values are whole, long ones have a beginning, an end and a length")
    func quoting() {
        #expect(quoted("a b") == "'a b'")
        #expect(quoted(String(repeating: "é", count: 60)).hasSuffix("éé'"))
        let text = quoted("begin" + String(repeating: "x", count: 100_000) + "end")
        #expect(text.hasPrefix("'beginxx") && text.hasSuffix("xend' (100008 bytes)") && text.count < 150)
        // One character, as Swift counts, of 100,001 scalars.
        #expect(quoted("e" + String(repeating: "\u{301}", count: 100_000)).unicodeScalars.count < 150)
        #expect(quoted([0xFF, 0x61]) == "'\u{FFFD}a'")
    }

    @Test("a message is bounded whatever it quotes, and keeps its beginning and its end, escaped")
    func messages() {
        let value = String(repeating: "\u{1B}", count: 1_000_000)
        let error = MeraserError.badInput("f.json: '\(value)', expected a name")
        #expect(error.message.unicodeScalars.count == 2000)
        #expect(error.description.count <= 2000)
        #expect(error.description.hasPrefix(#"f.json: '\u{1b}"#) && error.description.hasSuffix("expected a name"))
        #expect(!error.description.unicodeScalars.contains("\u{1B}"))
    }
}
