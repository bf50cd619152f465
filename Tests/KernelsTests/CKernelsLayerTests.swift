import Base
import CKernels
import Foundation
import TestSupport
import Testing

@Suite("C kernels: layer operations")
struct CKernelsLayerTests {
    private static let lengths = [1, 15, 16, 17, 31, 33, 512, 513, 1031]

    @Test("RMSNorm forward and backward", arguments: InstructionSet.available)
    func rmsnorm(isa: InstructionSet) {
        let eps: Float = 1e-5
        for k in Self.lengths {
            let tokens = 1 + 40_000 / (k + 900)  // enough work for threads in the last shapes
            var random = SeededRandom(seed: UInt64(k))
            let x = random.gaussians(tokens * k)
            let weight = random.gaussians(k)
            let dy = random.gaussians(tokens * k)
            let start = random.gaussians(tokens * k)
            var results: [[Float]] = []
            for threads in [1, 3] as [Int32] {
                var context = isa.context(threads: threads)
                let (input, scales, gradient) = (Guarded(x), Guarded(weight), Guarded(dy))
                let (y, rstd, dx) = (Guarded(poisoned: tokens * k), Guarded(poisoned: tokens), Guarded(start))
                mk_rmsnorm_forward(
                    &context, input.pointer, scales.pointer, eps, Int64(tokens), Int64(k), y.pointer, rstd.pointer)
                mk_rmsnorm_backward(
                    &context, input.pointer, scales.pointer, rstd.pointer, gradient.pointer, Int64(tokens), Int64(k),
                    dx.pointer)
                #expect(y.isIntact && rstd.isIntact && dx.isIntact)
                results.append(y.values + rstd.values + dx.values)
            }
            expectIdentical(results[1], results[0], "3 threads")

            for t in [0, tokens - 1] {
                let row = x[(t * k)..<((t + 1) * k)].map(Double.init)
                let rstd = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(k) + Double(eps)).squareRoot()
                let g = (0..<k).map { Double(weight[$0]) * Double(dy[t * k + $0]) }
                let mean = zip(g, row).reduce(0) { $0 + $1.0 * $1.1 } / Double(k)
                let size = zip(g, row).reduce(0) { $0 + abs($1.0 * $1.1) } / Double(k)
                let wantY = (0..<k).map { i -> Sum in
                    let value = row[i] * rstd * Double(weight[i])
                    return Sum(value: value, magnitude: abs(value))
                }
                // Lanes of 32 terms, then double: a few dozen roundings at most.
                let wantDx = (0..<k).map { i -> Sum in
                    let value = rstd * (g[i] - row[i] * rstd * rstd * mean)
                    let magnitude = rstd * (abs(g[i]) + abs(row[i]) * rstd * rstd * size)
                    return Sum(
                        value: value + Double(start[t * k + i]), magnitude: magnitude + abs(Double(start[t * k + i])))
                }
                let dxStart = tokens * k + tokens
                expectClose(Array(results[0][(t * k)..<((t + 1) * k)]), wantY, operations: 24, "y, k \(k)")
                expectClose(
                    Array(results[0][(dxStart + t * k)..<(dxStart + (t + 1) * k)]), wantDx, operations: 64, "dx, k \(k)"
                )
                expectClose(
                    [results[0][tokens * k + t]], [Sum(value: rstd, magnitude: rstd)], operations: 24, "rstd")
            }
        }
    }

    @Test("RoPE rotates half-split pairs, and its inverse rotates back", arguments: InstructionSet.available)
    func rope(isa: InstructionSet) {
        for (tokens, heads, d) in [(1, 1, 2), (5, 3, 24), (40, 4, 128)] {
            let ld = heads * d + 3
            var random = SeededRandom(seed: 3)
            let x = random.gaussians(tokens * heads * d)
            let positions = (0..<tokens).map { Int32(($0 * 7) % 50) }
            let angles = (0..<(50 * d / 2)).map { i in
                Double(i / (d / 2)) * pow(10000, -2 * Double(i % (d / 2)) / Double(d))
            }
            let (cosines, sines) = (angles.map { Float(cos($0)) }, angles.map { Float(sin($0)) })
            for threads in [1, 2] as [Int32] {
                var context = isa.context(threads: threads)
                let buffer = Guarded(x, columns: heads * d, stride: ld)
                var shape = mk_rope_shape(
                    heads: Int64(heads), head_dim: Int64(d), width: Int64(d), interleaved: false)
                mk_rope(
                    &context, buffer.pointer, Int64(ld), Int64(tokens), &shape, positions, cosines, sines, false)
                let got = buffer.rows(columns: heads * d, stride: ld)
                var want: [Sum] = []
                for t in 0..<tokens {
                    for h in 0..<heads {
                        for c in 0..<d {
                            let pair = c % (d / 2)
                            let (co, si) = (
                                Double(cosines[Int(positions[t]) * d / 2 + pair]),
                                Double(sines[Int(positions[t]) * d / 2 + pair])
                            )
                            let base = (t * heads + h) * d + pair
                            let (a, b) = (Double(x[base]), Double(x[base + d / 2]))
                            want.append(
                                Sum(
                                    value: c < d / 2 ? a * co - b * si : b * co + a * si,
                                    magnitude: abs(a) + abs(b)))
                        }
                    }
                }
                expectClose(got, want, operations: 3, "rotated")
                mk_rope(
                    &context, buffer.pointer, Int64(ld), Int64(tokens), &shape, positions, cosines, sines, true)
                let back = buffer.rows(columns: heads * d, stride: ld)
                expectClose(
                    back, x.indices.map { Sum(value: Double(x[$0]), magnitude: 2 * want[$0].magnitude) }, operations: 6,
                    "rotated back")
                #expect(buffer.isIntact && buffer.gapsAreIntact(columns: heads * d, stride: ld))
            }
        }
    }

    @Test("SwiGLU forward and backward, over the whole range of the gate", arguments: InstructionSet.available)
    func swiglu(isa: InstructionSet) {
        for n in Self.lengths + [20_011] {
            var random = SeededRandom(seed: UInt64(n))
            // Up to the edge of fp32's exponential in both directions.
            let gate = random.gaussians(n).enumerated().map { $0 % 3 == 0 ? max(-86, min(86, $1 * 30)) : $1 }
            let (up, dy) = (random.gaussians(n), random.gaussians(n))
            var results: [[Float]] = []
            for threads in [1, 3] as [Int32] {
                var context = isa.context(threads: threads)
                let (g, u, gradient) = (Guarded(gate), Guarded(up), Guarded(dy))
                let (y, dg, du) = (Guarded(poisoned: n), Guarded(poisoned: n), Guarded(poisoned: n))
                mk_swiglu_forward(&context, g.pointer, u.pointer, Int64(n), y.pointer)
                mk_swiglu_backward(
                    &context, g.pointer, u.pointer, gradient.pointer, Int64(n), dg.pointer, du.pointer)
                #expect(y.isIntact && dg.isIntact && du.isIntact)
                results.append(y.values + dg.values + du.values)
            }
            expectIdentical(results[1], results[0], "3 threads")
            var want = [Sum](repeating: Sum(), count: 3 * n)
            for i in 0..<n {
                let (g, u, d) = (Double(gate[i]), Double(up[i]), Double(dy[i]))
                let sigmoid = 1 / (1 + exp(-g))
                want[i].add(g * sigmoid * u)
                want[n + i].add(d * u * sigmoid)
                want[n + i].add(d * u * g * sigmoid * (1 - sigmoid))
                // 1 - sigmoid is a difference: its error is relative to 1.
                want[n + i].magnitude = abs(d * u) * sigmoid * (1 + abs(g))
                want[2 * n + i].add(d * g * sigmoid)
            }
            expectClose(results[0], want, operations: 10, "n \(n)")
        }
    }

    @Test("SiLU of infinities, NaN and numbers beyond exp's range", arguments: InstructionSet.available)
    func siluEdges(isa: InstructionSet) {
        var context = isa.context()
        let gate: [Float] = [1000, -1000, 89, -89, 0, -0.0, .nan, 88.8, -88.8]
        var y = [Float](repeating: 0, count: gate.count)
        mk_swiglu_forward(&context, gate, [Float](repeating: 1, count: gate.count), Int64(gate.count), &y)
        #expect(y[0] == 1000 && y[2] == 89 && y[4] == 0 && y[5] == 0 && y[6].isNaN)
        #expect(abs(y[1]) < 1e-35 && abs(y[3]) < 1e-35 && abs(y[8]) < 1e-35)
    }

    @Test("softmax cross-entropy and its gradient; ignored rows", arguments: InstructionSet.available)
    func crossEntropy(isa: InstructionSet) {
        for vocab in Self.lengths {
            let (rows, stride) = (5 + 20_000 / (vocab + 2000), vocab + 3)
            var random = SeededRandom(seed: UInt64(vocab))
            let logits = random.gaussians(rows * vocab, scale: 5)
            let targets = (0..<rows).map { $0 == 2 ? -1 : Int32(random.next() % UInt64(vocab)) }
            let dscale: Float = 0.125
            var results: [[Float]] = []
            for threads in [1, 2, 3] as [Int32] {
                var context = isa.context(threads: threads)
                let buffer = Guarded(logits, columns: vocab, stride: stride)
                let nll = Guarded(poisoned: rows)
                mk_softmax_cross_entropy(
                    &context, buffer.pointer, Int64(stride), Int64(rows), Int64(vocab), targets, 0, 0, nll.pointer)
                #expect(buffer.rows(columns: vocab, stride: stride) == logits, "dscale 0 leaves the logits alone")
                let alone = nll.values
                mk_softmax_cross_entropy(
                    &context, buffer.pointer, Int64(stride), Int64(rows), Int64(vocab), targets, dscale, 0, nll.pointer)
                expectIdentical(nll.values, alone, "nll with and without gradient")
                #expect(buffer.isIntact && nll.isIntact && buffer.gapsAreIntact(columns: vocab, stride: stride))
                results.append(nll.values + buffer.rows(columns: vocab, stride: stride))
            }
            expectIdentical(results[1], results[0], "2 threads")
            expectIdentical(results[2], results[0], "3 threads")
            for t in 0..<rows {
                let row = logits[(t * vocab)..<((t + 1) * vocab)].map(Double.init)
                let gradient = Array(results[0][(rows + t * vocab)..<(rows + (t + 1) * vocab)])
                guard targets[t] >= 0 else {
                    #expect(results[0][t] == 0 && gradient.allSatisfy { $0 == 0 })
                    continue
                }
                let top = row.max() ?? 0
                let lse = top + log(row.reduce(0) { $0 + exp($1 - top) })
                let target = Int(targets[t])
                expectClose(
                    [results[0][t]],
                    [Sum(value: lse - row[target], magnitude: abs(lse) + abs(row[target]) + 1)], operations: 4, "nll")
                // An error of half an ulp in x - lse is relative to its size.
                let want = row.indices.map { i -> Sum in
                    let p = Double(dscale) * exp(row[i] - lse)
                    let onehot = i == target ? Double(dscale) : 0
                    return Sum(value: p - onehot, magnitude: p * (4 + abs(row[i]) + 2 * abs(lse)) + onehot)
                }
                expectClose(gradient, want, operations: 3, "gradient, vocabulary \(vocab)")
            }
        }
    }

    @Test(
        "a probability that is too large is lowered to its limit, the others keep their proportions",
        arguments: InstructionSet.available)
    func limitProbability(isa: InstructionSet) {
        for vocab in Self.lengths.filter({ $0 > 1 }) + [3000] {
            let rows = 4
            var random = SeededRandom(seed: UInt64(vocab))
            var logits = random.gaussians(rows * vocab, scale: 3)
            let tokens = (0..<rows).map { Int32($0 * 7 % vocab) }
            logits[Int(tokens[0])] = 40  // certain
            logits[vocab + Int(tokens[1])] = -20  // unlikely enough
            let limits: [Float] = [-5, -5, 0, -0.01]
            var context = isa.context(threads: 1)
            let buffer = Guarded(logits)
            mk_limit_probability(
                &context, buffer.pointer, Int64(vocab), Int64(rows), Int64(vocab), tokens, limits)
            #expect(buffer.isIntact)
            for t in 0..<rows {
                let (old, new) = (logits[t * vocab..<(t + 1) * vocab], buffer.values[t * vocab..<(t + 1) * vocab])
                let changed = old.indices.filter { old[$0] != new[$0] }
                let sum = log(new.reduce(0.0) { $0 + exp(Double($1)) })
                let logP = Double(new[t * vocab + Int(tokens[t])]) - sum
                let before = Double(old[t * vocab + Int(tokens[t])]) - log(old.reduce(0.0) { $0 + exp(Double($1)) })
                #expect(changed.allSatisfy { $0 == t * vocab + Int(tokens[t]) }, "the others are left alone")
                if limits[t] == 0 || before <= Double(limits[t]) {
                    #expect(changed.isEmpty, "row \(t), vocabulary \(vocab)")
                } else {
                    #expect(abs(logP - Double(limits[t])) < 1e-4, "\(logP), row \(t), vocabulary \(vocab)")
                }
            }
        }
    }

    @Test("divergence from a reference and its gradient", arguments: InstructionSet.available)
    func divergence(isa: InstructionSet) {
        for vocab in Self.lengths + [1024, 1025, 3000] {
            let (rows, stride) = (3 + 20_000 / (vocab + 2000), vocab + 3)
            var random = SeededRandom(seed: UInt64(vocab))
            let reference = random.gaussians(rows * vocab, scale: 5)
            var logits = random.gaussians(rows * vocab, scale: 5)
            for v in 0..<vocab { logits[v] = reference[v] }
            var results: [[Float]] = []
            for threads in [1, 2, 3] as [Int32] {
                var context = isa.context(threads: threads)
                let buffer = Guarded(logits, columns: vocab, stride: stride)
                let other = Guarded(reference, columns: vocab, stride: stride)
                let kl = Guarded(poisoned: rows)
                func run(_ scale: Float) {
                    mk_kl_divergence(
                        &context, buffer.pointer, Int64(stride), other.pointer, Int64(stride), Int64(rows),
                        Int64(vocab), scale, 0, kl.pointer)
                }
                run(0)
                #expect(buffer.rows(columns: vocab, stride: stride) == logits, "dscale 0 leaves the logits alone")
                let alone = kl.values
                run(1)
                expectIdentical(kl.values, alone, "with and without gradient")
                #expect(other.rows(columns: vocab, stride: stride) == reference)
                #expect(buffer.isIntact && kl.isIntact && buffer.gapsAreIntact(columns: vocab, stride: stride))
                results.append(kl.values + buffer.rows(columns: vocab, stride: stride))
            }
            expectIdentical(results[1], results[0], "2 threads")
            expectIdentical(results[2], results[0], "3 threads")
            #expect(results[0][0] == 0 && results[0][rows..<rows + vocab].allSatisfy { $0 == 0 }, "equal rows")
            for t in 1..<rows {
                func row(_ x: [Float]) -> (values: [Double], lse: Double) {
                    let values = x[(t * vocab)..<((t + 1) * vocab)].map(Double.init)
                    let top = values.max() ?? 0
                    return (values, top + log(values.reduce(0) { $0 + exp($1 - top) }))
                }
                let (z, r) = (row(logits), row(reference))
                // An error of half an ulp in x - lse is relative to its size.
                var kl = Sum(value: z.lse - r.lse, magnitude: abs(z.lse) + abs(r.lse) + 1)
                var gradient: [Sum] = []
                for i in 0..<vocab {
                    let (p, q) = (exp(r.values[i] - r.lse), exp(z.values[i] - z.lse))
                    let errors = (
                        p: p * (4 + abs(r.values[i]) + 2 * abs(r.lse)), q: q * (4 + abs(z.values[i]) + 2 * abs(z.lse))
                    )
                    kl.value += p * (r.values[i] - z.values[i])
                    kl.magnitude += errors.p * abs(r.values[i] - z.values[i])
                    gradient.append(Sum(value: q - p, magnitude: errors.p + errors.q))
                }
                expectClose([results[0][t]], [kl], operations: 4, "divergence, vocabulary \(vocab)")
                let got = Array(results[0][(rows + t * vocab)..<(rows + (t + 1) * vocab)])
                expectClose(got, gradient, operations: 3, "gradient, vocabulary \(vocab)")
            }
        }
    }

    @Test("a NaN logit makes its row's loss NaN", arguments: InstructionSet.available)
    func nanLogit(isa: InstructionSet) {
        var context = isa.context()
        var logits = [Float](repeating: 1, count: 3 * 40)
        logits[45] = .nan
        var nll = [Float](repeating: 0, count: 3)
        mk_softmax_cross_entropy(&context, &logits, 40, 3, 40, [1, 2, 3], 0, 0, &nll)
        #expect(nll[0].isFinite && nll[1].isNaN && nll[2].isFinite)
    }

    @Test("axpy", arguments: InstructionSet.available)
    func axpy(isa: InstructionSet) {
        for n in Self.lengths + [40_001] {
            var random = SeededRandom(seed: UInt64(n))
            let (x, y) = (random.gaussians(n), random.gaussians(n))
            var context = isa.context(threads: 2)
            let (input, output) = (Guarded(x), Guarded(y))
            mk_axpy(&context, Int64(n), -0.75, input.pointer, output.pointer)
            let want = (0..<n).map { i -> Sum in
                var sum = Sum()
                sum.add(Double(y[i]))
                sum.add(-0.75 * Double(x[i]))
                return sum
            }
            expectClose(output.values, want, operations: 2, "n \(n)")
            #expect(output.isIntact)
        }
    }
}

@Suite("C kernels: argmax")
struct CKernelsArgmaxTests {
    @Test("the largest value's index, the lowest among equals, without NaNs", arguments: InstructionSet.available)
    func argmax(isa: InstructionSet) {
        var random = SeededRandom(seed: 3)
        for columns in [1, 2, 15, 16, 17, 33, 100, 1027] {
            for levels in [2.0, 5, 1e9] {
                let rows = 9
                // Few levels make ties.
                let values = random.gaussians(rows * columns).map { ($0 * Float(levels)).rounded() }
                let x = Guarded(values, columns: columns, stride: columns + 3)
                var ids = [Int32](repeating: -1, count: rows)
                var context = isa.context(threads: 2)
                mk_argmax(&context, x.pointer, Int64(columns + 3), Int64(rows), Int64(columns), &ids)
                for row in 0..<rows {
                    let line = values[row * columns..<(row + 1) * columns]
                    let want = line.max().flatMap { line.firstIndex(of: $0) }.map { $0 - row * columns }
                    #expect(Int(ids[row]) == want, "\(columns) columns, row \(row)")
                }
            }
        }
        let withNaN: [Float] = [.nan, 1, .nan, 3, 3, .nan] + [Float](repeating: .nan, count: 20)
        var id = [Int32](repeating: -1, count: 1)
        var context = isa.context()
        mk_argmax(&context, withNaN, 26, 1, 26, &id)
        #expect(id == [3])
    }
}
