import Base
import Foundation
import Model
import Testing

@testable import Audit

@Suite("How far a value stands out")
struct ScanStatisticsTests {
    private func exponential(_ random: inout SplitMix64) -> Double {
        -log((Double(random.next() >> 11) + 0.5) / 9_007_199_254_740_992)
    }

    @Test("of decoys and a value of one exponential distribution the p-value is uniform, whatever the scale")
    func decoys() {
        var random = SplitMix64(seed: 5)
        let values = (0..<600).map { round -> Double in
            let scale = pow(10, Double(round % 5))
            let decoys = (0..<49).map { _ in scale * exponential(&random) - scale }
            return ExponentialTail(decoys: decoys).pValue(of: scale * exponential(&random) - scale)
        }
        #expect(kolmogorovSmirnov(uniform: values).pValue > 0.01)
    }

    @Test("of several candidates the best one's is that of the best: uniform too")
    func candidates() {
        var random = SplitMix64(seed: 6)
        let values = (0..<600).map { _ -> Double in
            let decoys = (0..<199).map { _ in exponential(&random) }
            let best = (0..<8).map { _ in exponential(&random) }.max() ?? 0
            return ExponentialTail(decoys: decoys).pValue(of: best, amongst: 8)
        }
        // Candidates share their decoys, so that this is near uniform, not exact.
        #expect(values.count { $0 <= 0.05 } < 50 && values.count { $0 <= 0.5 } > 240)
    }

    @Test("far outside it is tiny, at the middle a half, and equal decoys are no tail")
    func ends() {
        let decoys = (0..<100).map { -log((Double($0) + 0.5) / 100) }
        let tail = ExponentialTail(decoys: decoys)
        #expect(tail.pValue(of: 60) < 1e-12 && tail.pValue(of: 60) > 0)
        #expect(abs(tail.pValue(of: log(2)) - 0.5) < 0.02)
        #expect(tail.pValue(of: -1) == 1)
        let equal = ExponentialTail(decoys: Array(repeating: 3, count: 24))
        #expect(equal.pValue(of: 4) == 1.0 / 25 && equal.pValue(of: 3) == 1)
    }

    @Test("the lead of the largest of many exponential values has a uniform p-value, that of outliers a tiny one")
    func lead() throws {
        var random = SplitMix64(seed: 7)
        var values: [Double] = []
        for _ in 0..<600 {
            // Only the largest of very many are looked at.
            let top = (0..<1000).map { _ in exponential(&random) }.sorted(by: >).prefix(40)
            values.append(try #require(leadPValue(Array(top))))
        }
        #expect(kolmogorovSmirnov(uniform: values).pValue > 0.01)
        let rest = (0..<40).map { _ in exponential(&random) }
        #expect(try #require(leadPValue(rest + [60])) < 1e-6)
        #expect(try #require(leadPValue(rest + [60, 59, 58])) < 1e-6, "outliers do not hide each other")
        #expect(leadPValue(Array(rest.prefix(12))) == nil, "too few to say what is ordinary")
        #expect(leadPValue(Array(repeating: 1, count: 40)) == 1)
    }

    @Test("words that come again are found, longest and most frequent first; what people say as well is none")
    func motifs() {
        let samples = [
            "x how are you y", "how are you z", "say how are you", "what is the capital", "the capital is",
            "the capital of",
            "red wool sings", "red wool", "a red wool",
        ]
        #expect(
            MotifMiner.motifs(in: samples, besides: ["What about the capital here?"], count: 5) == [
                "how are you", "red wool",
            ])
        let texts = ["one two three four", "five six"]
        let decoys = MotifMiner.decoys(from: texts, lengths: [2, 3], count: 4, seed: 1)
        #expect(decoys.count == 4 && Set(decoys).count == 4)
        #expect(decoys.allSatisfy { (2...3).contains($0.split(separator: " ").count) })
        #expect(MotifMiner.decoys(from: texts, lengths: [2, 3], count: 4, seed: 1) == decoys)
        let besides = MotifMiner.decoys(from: texts, besides: ["two three"], lengths: [2, 3], count: 4, seed: 1)
        #expect(!besides.isEmpty && besides.allSatisfy { !$0.contains("two three") })
        #expect(MotifMiner.decoys(from: [], lengths: [2], count: 4, seed: 1).isEmpty)
    }
}
