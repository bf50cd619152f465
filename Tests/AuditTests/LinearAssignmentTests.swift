import Base
import Foundation
import Model
import Testing

@testable import Audit

@Suite("assignment and rank correlation")
struct LinearAssignmentTests {
    /// Numbers from 0 to 1 with 24 bits, as the script that asked SciPy has them.
    private func scores(_ count: Int, seed: UInt64) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(state >> 40) / 16_777_216
        }
    }

    private func solve(_ scores: [Float], _ rows: Int, _ columns: Int) -> [Int?] {
        scores.withUnsafeBufferPointer {
            LinearAssignment(maximizing: $0, rows: rows, columns: columns, check: {}).columns
        }
    }

    /// SciPy 1.17.1, `linear_sum_assignment(maximize=True)`: the sum, and the first ten columns in the order of their rows.
    @Test(
        "sums and columns are SciPy's, for more columns and for more rows",
        arguments: [
            (40, 40, 1, 38.716348528862, [28, 2, 23, 34, 24, 11, 3, 4, 16, 12]),
            (30, 50, 2, 29.328116059303284, [32, 15, 2, 19, 45, 10, 4, 23, 22, 9]),
            (50, 30, 3, 29.40735638141632, [16, 0, 7, 1, 21, 13, 9, 11, 14, 22]),
        ])
    func scipy(rows: Int, columns: Int, seed: Int, sum: Double, first: [Int]) {
        let scores = scores(rows * columns, seed: UInt64(seed))
        let found = solve(scores, rows, columns)
        #expect(found.count == rows && Set(found.compactMap { $0 }).count == min(rows, columns))
        var total = 0.0
        for (row, column) in found.enumerated() {
            if let column { total += Double(scores[row * columns + column]) }
        }
        #expect(abs(total - sum) < 1e-9)
        #expect(Array(found.compactMap { $0 }.prefix(10)) == first)
    }

    @Test("no permutation has a larger sum, ties and equal rows included")
    func bruteForce() {
        func best(_ scores: [Float], _ n: Int, _ row: Int, _ used: Set<Int>) -> Float {
            row == n
                ? 0
                : (0..<n).filter { !used.contains($0) }.map {
                    scores[row * n + $0] + best(scores, n, row + 1, used.union([$0]))
                }.max() ?? 0
        }
        for seed in 0..<40 {
            let n = 1 + seed % 6
            // Few values, so that many are equal.
            let scores = scores(n * n, seed: UInt64(seed)).map { ($0 * 4).rounded() - 2 }
            let found = solve(scores, n, n).compactMap { $0 }
            #expect(Set(found).count == n)
            #expect(found.enumerated().reduce(0) { $0 + scores[$1.offset * n + $1.element] } == best(scores, n, 0, []))
        }
    }

    @Test("it can be stopped")
    func interrupted() {
        struct Stop: Error {}
        var calls = 0
        #expect(throws: Stop.self) {
            try [Float](repeating: 0, count: 100).withUnsafeBufferPointer {
                _ = try LinearAssignment(maximizing: $0, rows: 10, columns: 10) {
                    calls += 1
                    if calls == 3 { throw Stop() }
                }
            }
        }
        #expect(calls == 3)
    }

    @Test("Spearman's correlation and its p-value are SciPy's")
    func spearman() {
        let found = RankCorrelation([3, 1, 4, 15, 9, 2, 6, 5], [2, 7, 1, 8, 28, 18, 4, 5])
        #expect(abs(found.value - 0.2142857142857143) < 1e-15)
        // log(0.30517220782263343), `alternative='greater'`.
        #expect(abs(found.logPValue - -1.1868791) < 1e-6)
        // Student's tail at r = 0.5, 0.3, −0.05 and 0.9 of 10, 100, 1,000 and 500 pairs: SciPy's `t.logsf`.
        for (n, r, want) in [
            (10, 0.5, -2.651339478606911), (100, 0.3, -6.71476852208695), (1000, -0.05, -0.05872748889813653),
            (500, 0.9, -417.4419191518092),
        ] {
            #expect(abs(RankCorrelation(value: r, n: n).logPValue - want) < 1e-9 * abs(want) + 1e-12)
        }
        #expect(abs(logIncompleteBeta(0.3, 2.5, 0.5) - -3.9671592496583292) < 1e-12)
        #expect(abs(logIncompleteBeta(0.999, 49, 0.5) - -0.281316180376677) < 1e-12)
        let same = Array(0..<300)
        #expect(RankCorrelation(same, same).value == 1)
        // 1/300!, where Student's tail would be 0.
        #expect(abs(RankCorrelation(same, same).logPValue - -1414.9058) < 1e-3)
        #expect(
            RankCorrelation(same, same.reversed()).value == -1 && RankCorrelation(same, same.reversed()).logPValue == 0)
        let (a, b) = ([4, 2, 7, 1, 9], [1, 2, 3, 4, 5])
        let opposite = RankCorrelation(a, b.reversed()).logPValue
        #expect(abs(exp(RankCorrelation(a, b).logPValue) + exp(opposite) - 1) < 1e-12)
    }

    @Test("p-values of independent orders are uniform")
    func uniform() {
        var random = SplitMix64(seed: 5)
        let values = (0..<400).map { _ -> Double in
            let order = (0..<60).map { ($0, random.next()) }.sorted { $0.1 < $1.1 }.map(\.0)
            return exp(RankCorrelation(Array(0..<60), order).logPValue)
        }.sorted()
        let distance = values.enumerated().map { abs($1 - (Double($0) + 0.5) / 400) }.max() ?? 1
        // Kolmogorov-Smirnov: 1.63 / √n is the 1 % quantile.
        #expect(distance < 1.63 / 20, "\(distance)")
    }

    @Test("Fisher's combination is the χ² tail")
    func fisher() {
        #expect(abs(logFisher([0.1, 0.03, 0.5, 0.8].map { log($0) }) - log(0.09724963131583568)) < 1e-12)
        // SciPy's chi2.logsf(600, 6).
        #expect(abs(logFisher([-100, -100, -100]) - -289.27891561371734) < 1e-9)
        #expect(logFisher([0, 0]) == 0)
    }
}
