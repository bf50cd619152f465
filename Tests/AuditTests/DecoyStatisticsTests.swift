import Base
import Foundation
import Model
import Testing

@testable import Audit

@Suite("statistics of decoys")
struct DecoyStatisticsTests {
    @Test("p-values count what is at least as extreme, the true one too; exposure is their logarithm")
    func counts() {
        let decoys = (1...99).map(Double.init)
        let top = DecoyComparison(200, decoys: decoys)
        #expect(top.pValue == 0.01 && top.lowerPValue == 1 && top.n == 99)
        #expect(abs(top.exposure - log2(100)) < 1e-12 && top.effect == 150)
        let middle = DecoyComparison(50, decoys: decoys)
        // 50 itself is among the decoys: equal ones count as extreme on both sides.
        #expect(middle.pValue == 0.51 && middle.lowerPValue == 0.51 && middle.effect == 0)
        let bottom = DecoyComparison(-1, decoys: decoys)
        #expect(bottom.pValue == 1 && bottom.exposure == 0 && bottom.lowerPValue == 0.01)
    }

    @Test("the effect's bounds are the decoys' quantiles mirrored, and move with the value")
    func bounds() {
        let decoys = (0...1000).map { Double($0) }
        let found = DecoyComparison(500, decoys: decoys)
        #expect(found.low == -475 && found.high == 475 && found.upperBound == 450)
        let moved = DecoyComparison(507, decoys: decoys)
        #expect(moved.upperBound == 457 && moved.low == -468)
        let centered = DecoyComparison(507, decoys: decoys, center: 490)
        #expect(centered.effect == 17 && centered.upperBound == 467)
        // A skewed null: what is far below makes the bound far above.
        let skewed = DecoyComparison(0, decoys: (0..<1000).map { $0 < 100 ? -10 : 0 })
        #expect(skewed.upperBound > 9 && skewed.low > -1.1)
    }

    @Test("quantiles are NumPy's")
    func quantiles() {
        let values = [1.0, 2, 4, 8, 16]
        #expect(quantile(0, ofSorted: values) == 1 && quantile(1, ofSorted: values) == 16)
        #expect(quantile(0.5, ofSorted: values) == 4 && abs(quantile(0.9, ofSorted: values) - 12.8) < 1e-12)
        #expect(quantile(0.3, ofSorted: [7]) == 7)
    }

    @Test("of one column the units' own values; of more, assignments as the permutation test enumerates them")
    func assignments() {
        var random = SplitMix64(seed: 3)
        #expect(assignedMeans(own: [[5]], units: [[1], [2], [3]], count: 9, random: &random) == [1, 2, 3])
        // Two columns with targets of their own, four units: all twelve ordered pairs, by brute force.
        let own = [[3.0, 0], [1, 2]]
        let units = [[0.5, 0.25], [-1, 1.5]]
        let all = own + units
        var means: [Double] = []
        for a in 0..<4 { for b in 0..<4 where a != b { means.append((all[a][0] + all[b][1]) / 2) } }
        let drawn = assignedMeans(own: own, units: units, count: 24_000, random: &random)
        for mean in Set(means) {
            let want = Double(means.count { $0 == mean }) / 12
            let got = Double(drawn.count { $0 == mean }) / 24_000
            // Five standard errors.
            #expect(abs(got - want) < 5 * (want * (1 - want) / 24_000).squareRoot(), "\(mean)")
        }
        #expect(drawn.allSatisfy(Set(means).contains))
        let value = (own[0][0] + own[1][1]) / 2
        let p = DecoyComparison(value, decoys: drawn).pValue
        #expect(abs(p - Double(means.count { $0 >= value }) / 12) < 0.02)
    }

    @Test("p-values of keys that were drawn as their decoys are uniform, of one draw and of several")
    func uniform() {
        var random = SplitMix64(seed: 11)
        func number() -> Double { Double(random.next() >> 11) / 9_007_199_254_740_992 }
        for columns in [1, 4] {
            let found = (0..<400).map { _ -> Double in
                // Units differ, columns differ, scores are skewed: nothing of it matters.
                func unit() -> [Double] {
                    let own = log(number())
                    return (0..<columns).map { own + Double($0) + number() }
                }
                let (own, units) = ((0..<columns).map { _ in unit() }, (0..<199).map { _ in unit() })
                let scores = DecoyScores(
                    own: own, units: units, columns: [.init(trigger: [0, 0], shuffled: [0, 0], ordinary: [0, 0])])
                return scores.traces(count: 199, seed: random.next())[.drawn]?.pValue ?? 0
            }
            let test = kolmogorovSmirnov(uniform: found)
            #expect(test.pValue > 0.01, "\(columns): \(test)")
        }
    }

    // The exact distribution (Marsaglia, Tsang and Wang 2003), computed in Python.
    @Test(
        "Kolmogorov and Smirnov's p-value",
        arguments: [
            (50, 0.1, 0.6623), (50, 0.2, 0.03144), (200, 0.08, 0.1464), (200, 0.115, 0.009246), (20, 0.3, 0.04307),
        ])
    func kolmogorov(n: Int, distance: Double, want: Double) {
        // Values whose greatest distance from the diagonal is that one.
        let values = (1...n).map { max(0, Double($0) / Double(n) - distance) }
        let found = kolmogorovSmirnov(uniform: values)
        #expect(abs(found.distance - distance) < 1e-12 && abs(found.pValue - want) < 0.02, "\(found)")
    }
}
