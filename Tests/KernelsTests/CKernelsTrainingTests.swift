import Base
import CKernels
import Foundation
import TestSupport
import Testing

@Suite("C kernels: dropout and optimiser")
struct CKernelsTrainingTests {
    @Test("the scalar Philox of these tests gives Random123's known answers")
    func philoxKnownAnswers() {
        #expect(philox([0, 0, 0, 0], key: 0) == [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8])
        #expect(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], key: 0x299f_31d0_a409_3822)
                == [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1])
    }

    @Test("dropout keeps what Philox says, scaled, on every path and any number of threads")
    func dropoutMask() {
        for k in [1, 3, 64, 67, 130] {
            let tokens = 70
            var random = SeededRandom(seed: 4)
            let x = random.gaussians(tokens * k)
            let start = random.gaussians(tokens * k)
            let samples = (0..<tokens).map { Int32($0 / 9) }
            let positions = (0..<tokens).map { Int32($0 % 9) }
            let p: Float = 0.3
            let key = mixedKey(seed: 42, step: 7, site: 5)
            let factor = 1 / (1 - p)
            var want: [Float] = []
            for t in 0..<tokens {
                for i in 0..<k {
                    let counter = [UInt32(i / 4), UInt32(positions[t]), UInt32(samples[t]), 0]
                    let kept = philox(counter, key: key)[i % 4] >= UInt32(Double(p) * 0x1p32)
                    want.append(kept ? x[t * k + i] * factor : 0)
                }
            }
            for isa in InstructionSet.available {
                for threads in [1, 3] as [Int32] {
                    var context = isa.context(threads: threads)
                    let (input, output) = (Guarded(x), Guarded(poisoned: tokens * k))
                    mk_dropout(
                        &context, input.pointer, Int64(tokens), Int64(k), p, 42, 7, 5, samples, positions,
                        output.pointer, false)
                    #expect(output.values == want, "\(isa.name), \(k) features")
                    let added = Guarded(start)
                    mk_dropout(
                        &context, input.pointer, Int64(tokens), Int64(k), p, 42, 7, 5, samples, positions,
                        added.pointer, true)
                    // One fused or two single roundings.
                    let sums = zip(want, start).map {
                        Sum(value: Double($0) + Double($1), magnitude: abs(Double($0)) + abs(Double($1)))
                    }
                    expectClose(added.values, sums, operations: 2, "accumulated")
                    mk_dropout(
                        &context, input.pointer, Int64(tokens), Int64(k), p, 42, 7, 5, samples, positions,
                        input.pointer,
                        false)
                    #expect(input.values == want, "in place")
                    #expect(input.isIntact && output.isIntact && added.isIntact)
                }
            }
        }
    }

    @Test("masks have the right rate and differ by seed, step, site, sample and position")
    func dropoutIndependence() {
        let (tokens, k) = (8, 1000)
        let ones = [Float](repeating: 1, count: tokens * k)
        var context = mk_context(isa: mk_isa_find(nil), pool: nil)
        func mask(_ p: Float, seed: UInt64 = 1, step: UInt64 = 1, site: UInt32 = 1, shift: Int32 = 0) -> [Float] {
            var y = [Float](repeating: 0, count: tokens * k)
            let ids = (0..<Int32(tokens)).map { $0 + shift }
            mk_dropout(&context, ones, Int64(tokens), Int64(k), p, seed, step, site, ids, ids, &y, false)
            return y.map { $0 == 0 ? 0 : 1 }
        }
        let base = mask(0.25)
        let n = Double(base.count)
        for p in [0.0, 0.05, 0.25, 0.9, 1.0] as [Float] {
            let kept = Double(mask(p).reduce(0, +))
            #expect(abs(kept - n * Double(1 - p)) <= 5 * (n * Double(p * (1 - p))).squareRoot(), "rate \(p)")
        }
        for other in [mask(0.25, seed: 2), mask(0.25, step: 2), mask(0.25, site: 2), mask(0.25, shift: 100)] {
            // Two independent masks agree in p^2 + (1 - p)^2 = 62.5 % of the places.
            let agreement = Double(zip(base, other).count { $0 == $1 }) / n
            #expect(abs(agreement - 0.625) < 5 * (0.625 * 0.375 / n).squareRoot())
        }
        // The mask belongs to the token, not to its place in the batch.
        var moved = [Float](repeating: 0, count: k)
        mk_dropout(&context, ones, 1, Int64(k), 0.25, 1, 1, 1, [5], [5], &moved, false)
        #expect(moved.map { $0 == 0 ? 0 : 1 } == Array(base[(5 * k)..<(6 * k)]))
    }

    @Test("AdamW follows torch's formulas over several steps", arguments: InstructionSet.available)
    func adamw(isa: InstructionSet) {
        for n in [1, 17, 20_001] {
            var random = SeededRandom(seed: UInt64(n))
            let begin = random.gaussians(n)
            let gradients = (0..<5).map { _ in random.gaussians(n, scale: 0.1) }
            let (lr, beta1, beta2, eps, decay) = (1e-2, 0.9, 0.999, 1e-8, 0.1)
            var runs: [[Float]] = []
            for threads in [1, 2] as [Int32] {
                var context = isa.context(threads: threads)
                let (param, m, v) = (
                    Guarded(begin), Guarded([Float](repeating: 0, count: n)), Guarded([Float](repeating: 0, count: n))
                )
                for (step, gradient) in gradients.enumerated() {
                    mk_adamw(
                        &context, Int64(n), param.pointer, gradient, m.pointer, v.pointer, 0.5, lr, beta1, beta2, eps,
                        decay, Int64(step + 1))
                }
                #expect(param.isIntact && m.isIntact && v.isIntact)
                runs.append(param.values + m.values + v.values)
            }
            expectIdentical(runs[1], runs[0], "2 threads")
            for i in [0, n / 2, n - 1] {
                var (p, m, v) = (Double(begin[i]), 0.0, 0.0)
                for (step, gradient) in gradients.enumerated() {
                    let g = Double(gradient[i]) * 0.5
                    p *= 1 - lr * decay
                    m = beta1 * m + (1 - beta1) * g
                    v = beta2 * v + (1 - beta2) * g * g
                    let corrected = (v / (1 - pow(beta2, Double(step + 1)))).squareRoot() + eps
                    p -= lr * (m / (1 - pow(beta1, Double(step + 1)))) / corrected
                }
                // A step moves by at most about lr; its rounding errors are relative to that and to p.
                #expect(abs(Double(runs[0][i]) - p) < 5 * (3 * abs(p) + 20 * lr) * epsilon)
                #expect(abs(Double(runs[0][n + i]) - m) < 20 * epsilon * 0.1)
                #expect(abs(Double(runs[0][2 * n + i]) - v) < 30 * epsilon * abs(v))
            }
        }
    }

    @Test("AdamW with beta1 below one half uses the same average", arguments: InstructionSet.available)
    func smallBeta(isa: InstructionSet) {
        var context = isa.context()
        var (param, m, v): ([Float], [Float], [Float]) = ([1], [0.5], [0.25])
        mk_adamw(&context, 1, &param, [0.3], &m, &v, 1, 1e-3, 0.25, 0.5, 1e-8, 0, 3)
        #expect(abs(Double(m[0]) - (0.25 * 0.5 + 0.75 * 0.3)) < 4 * epsilon)
        #expect(abs(Double(v[0]) - (0.5 * 0.25 + 0.5 * 0.09)) < 4 * epsilon)
    }

    @Test("the sum of squares is exact to double, for any number of threads", arguments: InstructionSet.available)
    func sumSquares(isa: InstructionSet) {
        for n in [0, 1, 7, 63, 64, 65, 1000, 50_003] {
            var random = SeededRandom(seed: UInt64(n))
            let x = random.gaussians(n)
            let buffer = Guarded(x)
            let want = x.reduce(0.0) { $0 + Double($1) * Double($1) }
            let got = ([1, 2, 3] as [Int32]).map { threads -> Double in
                var context = isa.context(threads: threads)
                return mk_sum_squares(&context, buffer.pointer, Int64(n))
            }
            #expect(got[0] == got[1] && got[0] == got[2])
            #expect(abs(got[0] - want) <= 1e-13 * want)
        }
    }

    // MARK: The generator, written again

    private func philox(_ counter: [UInt32], key: UInt64) -> [UInt32] {
        var c = counter
        var (k0, k1) = (UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32))
        for _ in 0..<10 {
            let first = c[0].multipliedFullWidth(by: 0xd251_1f53)
            let second = c[2].multipliedFullWidth(by: 0xcd9e_8d57)
            c = [second.high ^ c[1] ^ k0, second.low, first.high ^ c[3] ^ k1, first.low]
            k0 &+= 0x9e37_79b9
            k1 &+= 0xbb67_ae85
        }
        return c
    }

    /// SplitMix64's outputs chained over seed, step and site.
    private func mixedKey(seed: UInt64, step: UInt64, site: UInt64) -> UInt64 {
        [seed, step, site].reduce(0) { state, part in
            var generator = SeededRandom(seed: state &+ part)
            return generator.next()
        }
    }
}
