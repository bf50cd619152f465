import Audit
import Base
import Foundation
import Testing

@Suite struct StatisticsTests {
    // Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3: Wilson's score without continuity correction.
    @Test(
        "Wilson's interval: the published values",
        arguments: [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)])
    func wilson(hits: Int, n: Int, low: Double, high: Double) {
        let interval = ShareInterval(wilson: hits, of: n)
        #expect(abs(interval.low - low) < 5e-5 && abs(interval.high - high) < 5e-5, "\(interval)")
    }

    @Test("Wilson's interval mirrors, ends at 0 and 1, and knows nothing of no tries")
    func wilsonEnds() {
        for n in [1, 8, 32, 500] {
            for hits in 0...n {
                let (a, b) = (ShareInterval(wilson: hits, of: n), ShareInterval(wilson: n - hits, of: n))
                #expect(abs(a.low - (1 - b.high)) < 1e-12 && a.low <= Double(hits) / Double(n))
                #expect(a.high >= Double(hits) / Double(n) && a.low >= 0 && a.high <= 1)
            }
            #expect(ShareInterval(wilson: 0, of: n).low == 0 && ShareInterval(wilson: n, of: n).high == 1)
        }
        #expect(ShareInterval(wilson: 0, of: 0).low == 0 && ShareInterval(wilson: 0, of: 0).high == 1)
    }

    @Test("the binomial tail is the sum by Pascal's triangle")
    func binomial() {
        // 2 of 10 at 1/256: 1 − q¹⁰ − 10 p q⁹.
        let p = 1.0 / 256
        let want = 1 - pow(1 - p, 10) - 10 * p * pow(1 - p, 9)
        #expect(abs(binomialTail(hits: 2, of: 10, probability: p) / want - 1) < 1e-9)
        #expect(abs(binomialTail(hits: 10, of: 10, probability: p) / pow(p, 10) - 1) < 1e-9)
        #expect(binomialTail(hits: 0, of: 10, probability: p) == 1)
        #expect(binomialTail(hits: 1, of: 3, probability: 0) == 0 && binomialTail(hits: 3, of: 3, probability: 1) == 1)
        var row = [1.0]
        for _ in 0..<12 { row = zip([0] + row, row + [0]).map { $0 * 0.7 + $1 * 0.3 } }
        for hits in 0...12 {
            let sum = row[..<(13 - hits)].reduce(0, +)
            #expect(abs(binomialTail(hits: hits, of: 12, probability: 0.3) - sum) < 1e-12, "\(hits)")
        }
    }

    @Test("Fisher's test: the lady tasting tea, and one over all choices where only the pairs fire")
    func fisher() {
        // 4 cups of 8 have the milk in first; all, and at least 3, found: 1/70 and 17/70.
        #expect(abs(fisherTail(hits: 4, of: 4, controlHits: 0, of: 4) - 1.0 / 70) < 1e-12)
        #expect(abs(fisherTail(hits: 3, of: 4, controlHits: 1, of: 4) - 17.0 / 70) < 1e-12)
        #expect(fisherTail(hits: 0, of: 4, controlHits: 4, of: 4) == 1)
        // 8 of 8 against 0 of 32: 1 / C(40, 8).
        #expect(abs(fisherTail(hits: 8, of: 8, controlHits: 0, of: 32) * 76_904_685 - 1) < 1e-9)
    }
}
