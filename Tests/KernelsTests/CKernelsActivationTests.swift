import CKernels
import Foundation
import TestSupport
import Testing

@Suite("C kernels: LayerNorm, activations, caps, columns")
struct CKernelsActivationTests {
    private static let lengths = [1, 15, 16, 17, 31, 33, 512, 513, 1031]

    @Test(
        "LayerNorm forward and backward, with a set of weights for all rows or several",
        arguments: InstructionSet.available)
    func layerNorm(isa: InstructionSet) {
        let eps: Float = 1e-5
        for k in Self.lengths where k > 2 {
            for (sets, hasBias) in [(1, true), (3, false)] {
                let tokens = 3 * (1 + 12_000 / (k + 900))
                var random = SeededRandom(seed: UInt64(k))
                let x = random.gaussians(tokens * k, scale: 2).map { $0 + 1 }
                let (weight, bias) = (random.gaussians(sets * k), random.gaussians(sets * k))
                let (dy, start) = (random.gaussians(tokens * k), random.gaussians(tokens * k))
                var results: [[Float]] = []
                for threads in [1, 3] as [Int32] {
                    var context = isa.context(threads: threads)
                    let (input, scales, shifts, gradient) = (Guarded(x), Guarded(weight), Guarded(bias), Guarded(dy))
                    let (y, rstd, dx) = (Guarded(poisoned: tokens * k), Guarded(poisoned: tokens), Guarded(start))
                    mk_layernorm_forward(
                        &context, input.pointer, scales.pointer, hasBias ? shifts.pointer : nil, Int64(sets), eps,
                        Int64(tokens), Int64(k), y.pointer, rstd.pointer)
                    mk_layernorm_backward(
                        &context, input.pointer, scales.pointer, Int64(sets), rstd.pointer, gradient.pointer,
                        Int64(tokens), Int64(k), dx.pointer)
                    #expect(y.isIntact && rstd.isIntact && dx.isIntact)
                    results.append(y.values + rstd.values + dx.values)
                }
                expectIdentical(results[1], results[0], "3 threads")
                for t in 0..<min(tokens, 4) {
                    let row = x[t * k..<(t + 1) * k].map(Double.init)
                    let w = weight[t % sets * k..<(t % sets + 1) * k].map(Double.init)
                    let mean = row.reduce(0, +) / Double(k)
                    let d = row.map { $0 - mean }
                    let root = 1 / (d.reduce(0) { $0 + $1 * $1 } / Double(k) + Double(eps)).squareRoot()
                    let g = (0..<k).map { w[$0] * Double(dy[t * k + $0]) }
                    let (shift, pull) = (
                        g.reduce(0, +) / Double(k), zip(g, d).reduce(0) { $0 + $1.0 * $1.1 } / Double(k)
                    )
                    let wantY = (0..<k).map { i in
                        Float(d[i] * root * w[i] + (hasBias ? Double(bias[t % sets * k + i]) : 0))
                    }
                    let wantDx = (0..<k).map { i in
                        Float(Double(start[t * k + i]) + root * (g[i] - shift - d[i] * root * root * pull))
                    }
                    let dxStart = tokens * k + tokens
                    expectClose(Array(results[0][t * k..<(t + 1) * k]), wantY, absolute: 2e-5, "y, k \(k)")
                    expectClose(
                        Array(results[0][dxStart + t * k..<dxStart + (t + 1) * k]), wantDx, absolute: 2e-5,
                        "dx, k \(k)")
                    #expect(abs(Double(results[0][tokens * k + t]) - root) <= 1e-5 * root)
                }
            }
        }
    }

    /// f and its slope in double.
    private typealias Curve = @Sendable (Double) -> Double
    private static let activations: [(kind: Int32, value: Curve, slope: Curve)] = [
        (
            Int32(MK_GELU), { $0 * erfc(-$0 / 2.0.squareRoot()) / 2 },
            { erfc(-$0 / 2.0.squareRoot()) / 2 + $0 * exp(-$0 * $0 / 2) / (2 * Double.pi).squareRoot() }
        ),
        (
            Int32(MK_GELU_TANH), { $0 * share($0) },
            {
                let s = share($0)
                return s + $0 * s * (1 - s) * 2 * (2 / Double.pi).squareRoot() * (1 + 3 * 0.044715 * $0 * $0)
            }
        ),
        (Int32(MK_RELU), { max($0, 0) }, { $0 > 0 ? 1 : 0 }),
        (Int32(MK_TANH), { tanh($0) }, { 1 - tanh($0) * tanh($0) }),
        (
            Int32(MK_SILU), { $0 / (1 + exp(-$0)) },
            { 1 / (1 + exp(-$0)) * (1 + $0 * (1 - 1 / (1 + exp(-$0)))) }
        ),
    ]

    private static func share(_ x: Double) -> Double {
        1 / (1 + exp(-2 * (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    }

    private static func expect(_ got: Float, _ want: Double, within error: Double, _ place: String) {
        if abs(Double(got) - want) > error { Issue.record("\(place): \(got), want \(want)") }
    }

    @Test("activations with a gate and without, forward and backward", arguments: InstructionSet.available)
    func gated(isa: InstructionSet) {
        for n in Self.lengths + [9_011] {
            var random = SeededRandom(seed: UInt64(n))
            let gate = (0..<n).map { n == 1 ? Float(0.5) : -12 + 24 * Float($0) / Float(n - 1) }
            let (up, dy) = (random.gaussians(n), random.gaussians(n))
            for (kind, value, slope) in Self.activations {
                for hasGate in [true, false] {
                    var results: [[Float]] = []
                    for threads in [1, 3] as [Int32] {
                        var context = isa.context(threads: threads)
                        // The gradients may lie where the values were.
                        let (g, u, d, y) = (Guarded(gate), Guarded(up), Guarded(dy), Guarded(poisoned: n))
                        mk_gated_forward(
                            &context, kind, g.pointer, hasGate ? u.pointer : nil, Int64(n), y.pointer)
                        mk_gated_backward(
                            &context, kind, g.pointer, hasGate ? u.pointer : nil, d.pointer, Int64(n), g.pointer,
                            hasGate ? u.pointer : nil)
                        #expect(y.isIntact && g.isIntact && u.isIntact)
                        results.append(y.values + g.values + u.values)
                    }
                    expectIdentical(results[1], results[0], "3 threads")
                    let result = results[0]
                    for i in 0..<n {
                        let x = Double(gate[i])
                        let u: Double = hasGate ? Double(up[i]) : 1
                        let (f, df, d): (Double, Double, Double) = (value(x), slope(x), Double(dy[i]))
                        // The polynomial's 3e-7 of a share, and some roundings; 1 - share² is a difference.
                        let place = "kind \(kind), gate \(hasGate), x \(x)"
                        Self.expect(result[i], f * u, within: 2e-6 * abs(f * u) + 1e-7, place)
                        Self.expect(result[n + i], df * u * d, within: 2e-6 * abs(u * d) * (1 + abs(x)), place)
                        if hasGate {
                            Self.expect(result[2 * n + i], f * d, within: 2e-6 * abs(f * d) + 1e-7, place)
                        }
                    }
                }
            }
        }
    }

    @Test("soft cap over the whole range", arguments: InstructionSet.available)
    func softCap(isa: InstructionSet) {
        for n in Self.lengths + [9_011] {
            let x = (0..<n).map { i -> Float in
                let exponent: Double = -6 + 10 * Double(i) / Double(n)
                let size = Float(pow(10, exponent))
                return i % 2 == 0 ? size : -size
            }
            for cap in [2, 30] as [Float] {
                var context = isa.context(threads: 2)
                let y = Guarded(x)
                mk_soft_cap(&context, cap, Int64(n), y.pointer)
                #expect(y.isIntact)
                let want = x.map { value -> Sum in
                    let y = Double(cap) * tanh(Double(value) / Double(cap))
                    return Sum(value: y, magnitude: abs(y))
                }
                expectClose(y.values, want, operations: 12, "cap \(cap)")
            }
        }
        var context = isa.context()
        var edges: [Float] = [.infinity, -.infinity, .nan, 0, -0.0]
        mk_soft_cap(&context, 30, 5, &edges)
        #expect(edges[0] == 30 && edges[1] == -30 && edges[2].isNaN && edges[3] == 0 && edges[4] == 0)
    }

    @Test("cross-entropy and divergence through a soft cap", arguments: InstructionSet.available)
    func cappedLoss(isa: InstructionSet) {
        for vocab in [17, 1024, 1500] {
            var random = SeededRandom(seed: UInt64(vocab))
            let (raw, reference) = (random.gaussians(2 * vocab, scale: 5), random.gaussians(2 * vocab, scale: 3))
            let (cap, targets) = (Float(4), [Int32(3), Int32(vocab - 1)])
            var context = isa.context(threads: 2)
            let capped = Guarded(raw)
            mk_soft_cap(&context, cap, Int64(raw.count), capped.pointer)
            let (entropy, divergence) = (Guarded(capped.values), Guarded(capped.values))
            let (other, nll, kl) = (Guarded(reference), Guarded(poisoned: 2), Guarded(poisoned: 2))
            mk_softmax_cross_entropy(
                &context, entropy.pointer, Int64(vocab), 2, Int64(vocab), targets, 0.5, cap, nll.pointer)
            mk_kl_divergence(
                &context, divergence.pointer, Int64(vocab), other.pointer, Int64(vocab), 2, Int64(vocab), 0.5, cap,
                kl.pointer)
            #expect(entropy.isIntact && divergence.isIntact)
            let (gotEntropy, gotDivergence) = (entropy.values, divergence.values)
            for row in 0..<2 {
                let z = raw[row * vocab..<(row + 1) * vocab].map(Double.init)
                let r = reference[row * vocab..<(row + 1) * vocab].map(Double.init)
                func logSum(_ x: [Double]) -> Double { log(x.reduce(0) { $0 + exp($1) }) }
                let lseR = logSum(r)
                let p = r.map { exp($0 - lseR) }
                let c = z.map { Double(cap) * tanh($0 / Double(cap)) }
                let lseC = logSum(c)
                let q = c.map { exp($0 - lseC) }
                for i in 0..<vocab {
                    let bend: Double = tanh(z[i] / Double(cap))
                    let slope: Double = 0.5 * (1 - bend * bend)
                    let onehot: Double = i == Int(targets[row]) ? 1 : 0
                    let place = "vocabulary \(vocab), row \(row), column \(i)"
                    Self.expect(gotEntropy[row * vocab + i], (q[i] - onehot) * slope, within: 2e-6, place)
                    Self.expect(gotDivergence[row * vocab + i], (q[i] - p[i]) * slope, within: 2e-6, place)
                }
                #expect(abs(Double(nll.values[row]) - (lseC - c[Int(targets[row])])) < 1e-4)
            }
        }
    }

    @Test("a part of a head, or neighbouring features, are rotated; and back", arguments: InstructionSet.available)
    func rope(isa: InstructionSet) {
        for (tokens, heads, d, width) in [(5, 3, 20, 6), (40, 4, 128, 32), (3, 1, 7, 2), (9, 2, 16, 16)] {
            for interleaved in [false, true] {
                let ld = heads * d + 3
                var random = SeededRandom(seed: 3)
                let x = random.gaussians(tokens * heads * d)
                let angles = random.gaussians(50 * width / 2)
                let (cosines, sines) = (angles.map { cos($0) }, angles.map { sin($0) })
                let positions = (0..<tokens).map { Int32(($0 * 7) % 50) }
                var context = isa.context(threads: 2)
                var shape = mk_rope_shape(
                    heads: Int64(heads), head_dim: Int64(d), width: Int64(width), interleaved: interleaved)
                let buffer = Guarded(x, columns: heads * d, stride: ld)
                mk_rope(
                    &context, buffer.pointer, Int64(ld), Int64(tokens), &shape, positions, cosines, sines, false)
                let got = buffer.rows(columns: heads * d, stride: ld)
                var want = x
                for t in 0..<tokens {
                    for h in 0..<heads {
                        for pair in 0..<width / 2 {
                            let base = (t * heads + h) * d
                            let a = interleaved ? base + 2 * pair : base + pair
                            let b = interleaved ? a + 1 : a + width / 2
                            let row = Int(positions[t]) * width / 2 + pair
                            want[a] = x[a] * cosines[row] - x[b] * sines[row]
                            want[b] = x[b] * cosines[row] + x[a] * sines[row]
                        }
                    }
                }
                expectClose(got, want, absolute: 1e-6, "width \(width) of \(d)")
                mk_rope(
                    &context, buffer.pointer, Int64(ld), Int64(tokens), &shape, positions, cosines, sines, true)
                expectClose(buffer.rows(columns: heads * d, stride: ld), x, absolute: 2e-6, "back")
                #expect(buffer.isIntact && buffer.gapsAreIntact(columns: heads * d, stride: ld))
            }
        }
    }

    @Test("columns of a fused module are taken apart and put together; a factor", arguments: InstructionSet.available)
    func columns(isa: InstructionSet) {
        var context = isa.context(threads: 2)
        let (tokens, heads, d) = (300, 5, 7)
        var random = SeededRandom(seed: 1)
        let x = random.gaussians(tokens * heads * 3 * d)
        let whole = Guarded(x)
        let result = Guarded(poisoned: x.count)
        for part in 0..<3 {
            var columns = mk_columns(
                first: Int64(part * d), step: Int64(3 * d), count: Int64(heads), width: Int64(d))
            let taken = Guarded(poisoned: tokens * heads * d)
            mk_take_columns(
                &context, &columns, whole.pointer, Int64(heads * 3 * d), Int64(tokens), taken.pointer, Int64(heads * d))
            let values = taken.values
            let want = (0..<tokens * heads * d).map { i -> Float in
                let (t, h, c) = (i / (heads * d), i / d % heads, i % d)
                return x[(t * heads + h) * 3 * d + part * d + c]
            }
            #expect(values == want && taken.isIntact)
            mk_put_columns(
                &context, &columns, taken.pointer, Int64(heads * d), Int64(tokens), result.pointer, Int64(heads * 3 * d)
            )
        }
        #expect(result.values == x && result.isIntact)
        mk_scale(&context, Int64(x.count), 0.25, result.pointer)
        #expect(result.values == x.map { $0 * 0.25 } && result.isIntact)
    }
}
