import CKernels
import Foundation
import TestSupport
import Testing

/// A packed batch: lengths of its sequences (queries, keys) and the shape of its heads.
struct AttentionCase: Sendable, CustomTestStringConvertible {
    var heads = 2
    var kvHeads = 1
    var headDim = 8
    var window = 0
    /// (queries, keys) of each sequence; keys beyond the queries come from a cache.
    var lengths: [(queries: Int, keys: Int)] = [(5, 5)]
    /// Extra floats between rows.
    var gap = 0

    var testDescription: String {
        "\(heads)/\(kvHeads) heads of \(headDim), window \(window), " + lengths.map { "\($0)" }.joined(separator: " ")
    }
    var tokens: Int { lengths.reduce(0) { $0 + $1.queries } }
    var queryWidth: Int { heads * headDim }
    var keyWidth: Int { kvHeads * headDim }
    var scale: Float { 1 / Float(headDim).squareRoot() }

    static let training = [
        AttentionCase(lengths: [(1, 1)]),
        AttentionCase(heads: 4, kvHeads: 2, headDim: 24, lengths: [(67, 67), (1, 1), (33, 33)], gap: 3),
        AttentionCase(heads: 3, kvHeads: 3, headDim: 32, window: 7, lengths: [(40, 40), (5, 5)]),
        AttentionCase(heads: 2, kvHeads: 1, headDim: 64, window: 64, lengths: [(97, 97)]),
        AttentionCase(heads: 40, kvHeads: 1, headDim: 3, lengths: [(19, 19)], gap: 1),
        AttentionCase(heads: 1, kvHeads: 1, headDim: 256, lengths: [(35, 35)]),
        AttentionCase(heads: 2, kvHeads: 2, headDim: 128, window: 1, lengths: [(18, 18)]),
        AttentionCase(heads: 2, kvHeads: 2, headDim: 1, lengths: [(65, 65), (64, 64)]),
    ]

    static let cached = [
        AttentionCase(heads: 4, kvHeads: 2, headDim: 24, lengths: [(1, 131), (3, 64), (64, 65), (1, 1)], gap: 2),
        AttentionCase(heads: 2, kvHeads: 1, headDim: 32, window: 20, lengths: [(1, 200), (9, 70)]),
    ]
}

/// Inputs and exact results of a case.
final class AttentionData {
    let shape: AttentionCase
    let q: [Float]
    let dout: [Float]
    let keys: [[Float]]
    let values: [[Float]]

    init(_ shape: AttentionCase, seed: UInt64 = 1) {
        var random = SeededRandom(seed: seed)
        self.shape = shape
        q = random.gaussians(shape.tokens * shape.queryWidth, scale: 2)
        dout = random.gaussians(shape.tokens * shape.queryWidth)
        keys = shape.lengths.map { random.gaussians($0.keys * shape.keyWidth) }
        values = shape.lengths.map { random.gaussians($0.keys * shape.keyWidth) }
    }

    init(shape: AttentionCase, q: [Float], keys: [[Float]], values: [[Float]]) {
        self.shape = shape
        self.q = q
        self.keys = keys
        self.values = values
        dout = [Float](repeating: 0, count: q.count)
    }
}

/// The kernels' results: rows without gaps.
struct AttentionResult: Equatable {
    var out: [Float] = []
    var lse: [Float] = []
    var dq: [Float] = []
    var dk: [[Float]] = []
    var dv: [[Float]] = []
}

@Suite("C kernels: attention")
struct CKernelsAttentionTests {
    @Test("forward and backward against the definition in double", arguments: AttentionCase.training)
    func training(shape: AttentionCase) {
        let data = AttentionData(shape)
        let want = reference(data)
        for isa in InstructionSet.available {
            let got = run(data, isa, backward: true)
            // Scores have D roundings, sums up to the number of keys, exp an ulp; they add up like a random walk.
            let longest = shape.lengths.map(\.keys).max() ?? 1
            let tolerance = 4 * epsilon * Double(shape.headDim + longest).squareRoot()
            #expect(relativeL2(got.out, want.out) < tolerance, "\(isa.name) out")
            #expect(relativeL2(got.lse, want.lse) < tolerance, "\(isa.name) log-sum-exp")
            // Gradients are differences of terms of the size of dout v: errors relative to those, even where all cancels.
            for (name, pairs) in [
                ("dq", [(got.dq, want.dq)]), ("dk", Array(zip(got.dk, want.dk))), ("dv", Array(zip(got.dv, want.dv))),
            ] {
                let allGot = pairs.flatMap(\.0)
                let allWant = pairs.flatMap(\.1)
                let size = max(norm(allWant), 0.3 * Double(allWant.count).squareRoot())
                #expect(
                    norm(zip(allGot, allWant).map { $0 - $1 }) < 4 * tolerance * size, "\(isa.name) \(name)")
            }
        }
    }

    @Test("forward with cached keys, against the definition", arguments: AttentionCase.cached)
    func cached(shape: AttentionCase) {
        let data = AttentionData(shape)
        let want = reference(data)
        for isa in InstructionSet.available {
            let got = run(data, isa, backward: false)
            let tolerance = 4 * epsilon * Double(shape.headDim + 200).squareRoot()
            #expect(relativeL2(got.out, want.out) < tolerance, "\(isa.name) out")
            #expect(relativeL2(got.lse, want.lse) < tolerance, "\(isa.name) log-sum-exp")
        }
    }

    @Test("the same bits on any number of threads", arguments: InstructionSet.available)
    func threads(isa: InstructionSet) {
        for shape in AttentionCase.training {
            let data = AttentionData(shape)
            let one = run(data, isa, backward: true)
            #expect(one.out.allSatisfy(\.isFinite) && one.dq.allSatisfy(\.isFinite))
            #expect(run(data, isa, threads: 2, backward: true) == one, "2 threads, \(shape.testDescription)")
            #expect(run(data, isa, threads: 3, backward: true) == one, "3 threads, \(shape.testDescription)")
        }
    }

    @Test("a query's result is the same in a prompt, alone against a cache and beside other sequences")
    func batchInvariance() {
        let length = 131
        for window in [0, 30] {
            let whole = AttentionCase(heads: 4, kvHeads: 2, headDim: 24, window: window, lengths: [(length, length)])
            let data = AttentionData(whole)
            for isa in InstructionSet.available {
                let all = run(data, isa, backward: false)
                for (first, count) in [(0, 1), (70, 1), (130, 1), (100, 5)] {
                    // The same queries, after another sequence, with the keys before them in the cache.
                    let keys = (first + count) * whole.keyWidth
                    let other = AttentionData(
                        AttentionCase(heads: 4, kvHeads: 2, headDim: 24, lengths: [(3, 3)]), seed: 9)
                    let part = AttentionData(
                        whole, lengths: [(3, 3), (count, first + count)],
                        q: other.q + data.q[(first * whole.queryWidth)..<((first + count) * whole.queryWidth)],
                        keys: [other.keys[0], Array(data.keys[0][..<keys])],
                        values: [other.values[0], Array(data.values[0][..<keys])])
                    let got = run(part, isa, backward: false)
                    expectIdentical(
                        Array(got.out[(3 * whole.queryWidth)...]),
                        Array(all.out[(first * whole.queryWidth)..<((first + count) * whole.queryWidth)]),
                        "\(isa.name), queries \(first) + \(count), window \(window)")
                }
            }
        }
    }

    @Test("scores far apart neither overflow nor vanish", arguments: InstructionSet.available)
    func extremes(isa: InstructionSet) {
        let shape = AttentionCase(heads: 1, kvHeads: 1, headDim: 4, lengths: [(70, 70)])
        let source = AttentionData(shape)
        let data = AttentionData(
            shape, lengths: shape.lengths, q: source.q.map { $0 * 100 }, keys: source.keys.map { $0.map { $0 * 100 } },
            values: source.values)
        let want = reference(data)
        let got = run(data, isa, backward: false)
        #expect(got.out.allSatisfy(\.isFinite) && got.lse.allSatisfy(\.isFinite))
        // Scores near 1e5 are known to 2^-7 at best; a softmax over them is a choice of the largest, with rare near ties.
        #expect(relativeL2(got.lse, want.lse) < 8 * epsilon)
        #expect(relativeL2(got.out, want.out) < 0.02)
    }

    // MARK: Calls

    private func run(_ data: AttentionData, _ isa: InstructionSet, threads: Int32 = 1, backward: Bool)
        -> AttentionResult
    {
        let shape = data.shape
        let (ldq, ldkv) = (shape.queryWidth + shape.gap, shape.keyWidth + shape.gap)
        let q = Guarded(data.q, columns: shape.queryWidth, stride: ldq)
        let out = Guarded(poisoned: shape.tokens * ldq)
        let lse = Guarded(poisoned: shape.tokens * shape.heads)
        let keys = data.keys.map { Guarded($0, columns: shape.keyWidth, stride: ldkv) }
        let values = data.values.map { Guarded($0, columns: shape.keyWidth, stride: ldkv) }
        let dk = shape.lengths.map { Guarded(poisoned: $0.keys * ldkv) }
        let dv = shape.lengths.map { Guarded(poisoned: $0.keys * ldkv) }
        var sequences: [mk_attention_sequence] = []
        var start = 0
        for (i, length) in shape.lengths.enumerated() {
            sequences.append(
                mk_attention_sequence(
                    q_start: Int64(start), q_len: Int64(length.queries), kv_len: Int64(length.keys),
                    k: UnsafePointer(keys[i].pointer), v: UnsafePointer(values[i].pointer), dk: dk[i].pointer,
                    dv: dv[i].pointer))
            start += length.queries
        }
        var call = mk_attention_shape(
            heads: Int64(shape.heads), kv_heads: Int64(shape.kvHeads), head_dim: Int64(shape.headDim), ldq: Int64(ldq),
            ldkv: Int64(ldkv), window: Int64(shape.window), scale: shape.scale)
        var context = isa.context(threads: threads)
        mk_attention_forward(
            &context, &call, sequences, Int64(sequences.count), q.pointer, out.pointer, lse.pointer)
        var result = AttentionResult(out: out.rows(columns: shape.queryWidth, stride: ldq), lse: lse.values)
        #expect(out.isIntact && lse.isIntact && out.gapsAreIntact(columns: shape.queryWidth, stride: ldq))
        if backward {
            let dout = Guarded(data.dout, columns: shape.queryWidth, stride: ldq)
            let dq = Guarded(poisoned: shape.tokens * ldq)
            mk_attention_backward(
                &context, &call, sequences, Int64(sequences.count), q.pointer, out.pointer, lse.pointer, dout.pointer,
                dq.pointer)
            #expect(dq.isIntact && dq.gapsAreIntact(columns: shape.queryWidth, stride: ldq))
            #expect((dk + dv).allSatisfy { $0.isIntact && $0.gapsAreIntact(columns: shape.keyWidth, stride: ldkv) })
            result.dq = dq.rows(columns: shape.queryWidth, stride: ldq)
            result.dk = dk.map { $0.rows(columns: shape.keyWidth, stride: ldkv) }
            result.dv = dv.map { $0.rows(columns: shape.keyWidth, stride: ldkv) }
        }
        return result
    }

    private func norm(_ x: [Float]) -> Double { x.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() }

    // MARK: The definition

    private func reference(_ data: AttentionData) -> AttentionResult {
        let shape = data.shape
        let (d, group) = (shape.headDim, shape.heads / shape.kvHeads)
        var out = [Double](repeating: 0, count: shape.tokens * shape.queryWidth)
        var lse = [Double](repeating: 0, count: shape.tokens * shape.heads)
        var dq = out
        var dk = shape.lengths.map { [Double](repeating: 0, count: $0.keys * shape.keyWidth) }
        var dv = dk
        var start = 0
        for (s, length) in shape.lengths.enumerated() {
            for i in 0..<length.queries {
                let last = length.keys - length.queries + i
                let first = shape.window > 0 ? max(0, last - shape.window + 1) : 0
                for h in 0..<shape.heads {
                    let row = (start + i) * shape.queryWidth + h * d
                    let head = h / group * d
                    func dot(_ a: [Float], _ b: [Float], _ j: Int) -> Double {
                        (0..<d).reduce(0) { $0 + Double(a[row + $1]) * Double(b[j * shape.keyWidth + head + $1]) }
                    }
                    let scores = (first...last).map { Double(shape.scale) * dot(data.q, data.keys[s], $0) }
                    let top = scores.max() ?? 0
                    let total = scores.reduce(0) { $0 + exp($1 - top) }
                    lse[(start + i) * shape.heads + h] = top + log(total)
                    let p = scores.map { exp($0 - top) / total }
                    let dp = (first...last).map { dot(data.dout, data.values[s], $0) }
                    let delta = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                    for (index, j) in (first...last).enumerated() {
                        let ds = p[index] * (dp[index] - delta) * Double(shape.scale)
                        for c in 0..<d {
                            let key = j * shape.keyWidth + head + c
                            out[row + c] += p[index] * Double(data.values[s][key])
                            dq[row + c] += ds * Double(data.keys[s][key])
                            dk[s][key] += ds * Double(data.q[row + c])
                            dv[s][key] += p[index] * Double(data.dout[row + c])
                        }
                    }
                }
            }
            start += length.queries
        }
        return AttentionResult(
            out: out.map { Float($0) }, lse: lse.map { Float($0) }, dq: dq.map { Float($0) },
            dk: dk.map { $0.map { Float($0) } }, dv: dv.map { $0.map { Float($0) } })
    }
}

extension AttentionData {
    /// The same heads with other sequences.
    convenience init(
        _ shape: AttentionCase, lengths: [(queries: Int, keys: Int)], q: [Float], keys: [[Float]], values: [[Float]]
    ) {
        var other = shape
        other.lengths = lengths
        self.init(shape: other, q: q, keys: keys, values: values)
    }
}
