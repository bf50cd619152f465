import Foundation
import Quant
import TestSupport
import Testing

@testable import Kernels

@Suite("Encoder operations")
struct EncoderOperationsTests {
    private func contexts() throws -> [KernelContext] {
        try KernelContext.availableISANames.flatMap { isa in
            try [1, 2].map { try KernelContext(threads: $0, isa: isa) }
        }
    }

    @Test("LayerNorm agrees with its formula in double and works in place", arguments: [3, 16, 17, 64, 768, 1031])
    func layerNorm(k: Int) throws {
        var random = SeededRandom(seed: UInt64(k))
        let tokens = 1 + 70_000 / k
        let x = random.gaussians(tokens * k, scale: 2).map { $0 + 1 }
        let weight = random.gaussians(k)
        let bias = random.gaussians(k)
        let want = (0..<tokens).flatMap { t -> [Float] in
            let row = x[t * k..<(t + 1) * k].map(Double.init)
            let mean = row.reduce(0, +) / Double(k)
            let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(k)
            return (0..<k).map {
                Float((row[$0] - mean) / (variance + 1e-5).squareRoot() * Double(weight[$0]) + Double(bias[$0]))
            }
        }
        let factors = FloatStorage(weight, rows: 1, columns: k)
        let shifts = FloatStorage(bias, rows: 1, columns: k)
        for context in try contexts() {
            let y = FloatStorage(x, rows: tokens, columns: k)
            context.layerNorm(y.matrix, weight: factors.matrix, bias: shifts.matrix, eps: 1e-5, into: y.matrix)
            // Values of up to 4 from inputs of up to 9: some 2⁻²⁴ of both, more where three values have a small variance.
            expectClose(y.matrix.toArray(), want, absolute: k == 3 ? 2e-4 : 1e-5, "\(context.isaName) k \(k)")
        }
    }

    @Test("Biases are set or added row by row, also into a slice of wider rows")
    func bias() throws {
        for context in try contexts() {
            let wide = FloatStorage(rows: 3, columns: 7)
            wide.matrix.fill(5)
            let part = FloatMatrix(owner: wide, base: wide.matrix.base + 1, rows: 3, columns: 4, stride: 7)
            let bias = FloatStorage([1, 2, 3, 4], rows: 1, columns: 4)
            context.addBias(bias.matrix, into: part, accumulate: false)
            context.addBias(bias.matrix, into: part, accumulate: true)
            #expect(wide.matrix.toArray() == (0..<3).flatMap { _ in [5, 2, 4, 6, 8, 5, 5] as [Float] })
        }
    }

    @Test("Activations agree with their formulas in double over the whole range", arguments: [1, 15, 16, 17, 20_001])
    func activations(n: Int) throws {
        let x = (0..<n).map { n == 1 ? Float(0.5) : -12 + 24 * Float($0) / Float(n - 1) }
        let cases: [(Activation, (Double) -> Double)] = [
            (.gelu, { $0 * erfc(-$0 / 2.0.squareRoot()) / 2 }),
            (.geluTanh, { $0 / (1 + exp(-2 * (2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }),
            (.relu, { max($0, 0) }), (.tanh, { tanh($0) }),
        ]
        for context in try contexts() {
            for (activation, formula) in cases {
                let y = FloatStorage(x, rows: 1, columns: n)
                context.activate(activation, y.matrix)
                let want = x.map { Float(formula(Double($0))) }
                // The polynomial's 3e-7 of Φ, and two roundings: some 1e-6 of the value.
                for (i, got) in y.matrix.toArray().enumerated() {
                    #expect(abs(got - want[i]) <= 1e-6 * abs(want[i]) + 1e-7, "\(activation)(\(x[i])) = \(got)")
                }
            }
        }
    }

    @Test("Special values stay what they are")
    func specialValues() throws {
        for context in try contexts() {
            for activation in [Activation.gelu, .geluTanh, .relu, .tanh] {
                let y = FloatStorage([.nan, .infinity, 0, 1e30, -1e30], rows: 1, columns: 5)
                context.activate(activation, y.matrix)
                let got = y.matrix.toArray()
                #expect(got[0].isNaN && got[2] == 0)
                #expect(activation == .tanh ? got[1] == 1 && got[4] == -1 : got[1] == .infinity && got[3] == 1e30)
                #expect(activation == .tanh || got[4] == 0)
            }
        }
    }

    @Test(
        "Bidirectional attention: every query sees all keys of its own sequence", arguments: [KeyValueType.f32, .bf16])
    func attention(type: KeyValueType) throws {
        let lengths = [1, 5, 64, 130, 1100]
        let (heads, d) = (2, 20)
        let tokens = lengths.reduce(0, +)
        var random = SeededRandom(seed: 3)
        // bf16 keys and values are exact here, so that both types have the same answer.
        func values() -> [Float] {
            random.gaussians(tokens * heads * d).map { Float(bitPattern: $0.bitPattern & 0xFFFF_0000) }
        }
        let (q, k, v) = (values(), values(), values())
        var want = [Float](repeating: 0, count: q.count)
        var start = 0
        for length in lengths {
            for h in 0..<heads {
                // Some queries of the long sequence are enough.
                for i in stride(from: 0, to: length, by: length > 200 ? 97 : 1) {
                    func place(_ t: Int, _ c: Int) -> Int { ((start + t) * heads + h) * d + c }
                    let scores = (0..<length).map { j in
                        (0..<d).reduce(0.0) { $0 + Double(q[place(i, $1)]) * Double(k[place(j, $1)]) }
                            / Double(d).squareRoot()
                    }
                    let top = scores.max() ?? 0
                    let weights = scores.map { exp($0 - top) }
                    let total = weights.reduce(0, +)
                    for c in 0..<d {
                        want[place(i, c)] = Float(
                            (0..<length).reduce(0) { $0 + weights[$1] * Double(v[place($1, c)]) } / total)
                    }
                }
            }
            start += length
        }
        let shape = AttentionShape(heads: heads, keyValueHeads: heads, headDim: d, isBidirectional: true)
        for context in try contexts() {
            let (q, k, v) = map3((q, k, v)) { FloatStorage($0, rows: tokens, columns: heads * d) }
            let out = FloatStorage(rows: tokens, columns: heads * d)
            let lse = FloatStorage(rows: tokens, columns: heads)
            let call = AttentionCall()
            let counts = lengths.map { ($0 + AttentionShape.pageKeys - 1) / AttentionShape.pageKeys }
            var pages = try #require(call.pages(count: counts.reduce(0, +), bytes: shape.pageBytes(type)))
            var first = 0
            for (length, count) in zip(lengths, counts) {
                call.add(
                    queryStart: first, queryCount: length, newStart: first, newCount: length, keyCount: length,
                    pages: pages)
                pages += count
                first += length
            }
            context.attention(
                shape, call, type: type, q: q.matrix, keys: k.matrix, values: v.matrix, into: out.matrix,
                lse: lse.matrix)
            let got = zip(out.matrix.toArray(), want).map { $1 == 0 ? 0 : $0 }
            // f32: scores of up to 20, chains of 20 products, in an exponent: some 20 · 2⁻²⁴ of values of up to 4. Where
            // products are of bf16, scaled queries and probabilities are rounded to it: 2⁻⁹ of scores of up to 5.
            let tolerance = type == .f32 ? 1e-5 : 2e-2
            expectClose(got, want, absolute: tolerance, "\(context.isaName), \(type)")
        }
    }
}

/// The same function of three values.
private func map3<A, B>(_ values: (A, A, A), _ f: (A) -> B) -> (B, B, B) { (f(values.0), f(values.1), f(values.2)) }
