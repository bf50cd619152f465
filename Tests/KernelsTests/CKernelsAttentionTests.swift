import Base
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
    var softCap: Float = 0
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
        // Scores of up to 10: the cap bends them.
        AttentionCase(heads: 4, kvHeads: 2, headDim: 24, softCap: 2, lengths: [(67, 67), (1, 1), (33, 33)], gap: 3),
        AttentionCase(heads: 2, kvHeads: 2, headDim: 64, window: 20, softCap: 50, lengths: [(97, 97)]),
    ]

    static let cached = [
        AttentionCase(heads: 4, kvHeads: 2, headDim: 24, lengths: [(1, 131), (3, 64), (64, 65), (1, 1)], gap: 2),
        AttentionCase(heads: 2, kvHeads: 1, headDim: 32, window: 20, lengths: [(1, 200), (9, 70)]),
        AttentionCase(heads: 60, kvHeads: 1, headDim: 5, lengths: [(2, 70), (1, 1)]),
        AttentionCase(heads: 3, kvHeads: 1, headDim: 16, softCap: 3, lengths: [(1, 1500), (9, 70)]),
        // Longer than the chunks that share an online softmax; a window that leaves the first one empty.
        AttentionCase(heads: 2, kvHeads: 1, headDim: 16, lengths: [(1, 2200), (60, 1030)]),
        AttentionCase(heads: 3, kvHeads: 1, headDim: 17, window: 40, lengths: [(70, 1080), (1, 2100)]),
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

    /// The same with keys and values rounded to bf16.
    var rounded: AttentionData {
        func round(_ x: Float) -> Float {
            let bits = x.bitPattern
            return Float(bitPattern: (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
        }
        return AttentionData(
            shape: shape, q: q, keys: keys.map { $0.map(round) }, values: values.map { $0.map(round) })
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
    @Test(
        "forward and backward against the definition in double", arguments: AttentionCase.training,
        [Int32(MK_F32), Int32(MK_BF16)])
    func training(shape: AttentionCase, type: Int32) {
        let data = AttentionData(shape)
        let want = reference(data)
        for isa in InstructionSet.available {
            let got = run(data, isa, type: type, backward: true)
            // Scores have D roundings, sums up to the number of keys, exp an ulp; they add up like a random walk. With bf16
            // every factor is off by 2^-9 at most, and what comes of the scores by 2^-7.
            let longest = shape.lengths.map(\.keys).max() ?? 1
            let tolerance =
                type == Int32(MK_BF16) ? 0x1p-7 : 4 * epsilon * Double(shape.headDim + longest).squareRoot()
            #expect(relativeL2(got.out, want.out) < tolerance, "\(isa.name) out")
            #expect(relativeL2(got.lse, want.lse) < tolerance, "\(isa.name) log-sum-exp")
            // Gradients are differences of terms of the size of dout v: errors relative to those, even where all cancels.
            for (name, pairs) in [
                ("dq", [(got.dq, want.dq)]), ("dk", Array(zip(got.dk, want.dk))), ("dv", Array(zip(got.dv, want.dv))),
            ] {
                let allGot = pairs.flatMap(\.0)
                let allWant = pairs.flatMap(\.1)
                let (factor, floor) = type == Int32(MK_BF16) ? (2.0, 0.5) : (4.0, 0.3)
                let size = max(norm(allWant), floor * Double(allWant.count).squareRoot())
                #expect(
                    norm(zip(allGot, allWant).map { $0 - $1 }) < factor * tolerance * size, "\(isa.name) \(name)")
            }
        }
    }

    @Test("forward with cached keys, fp32 and bf16, against the definition", arguments: AttentionCase.cached)
    func cached(shape: AttentionCase) {
        for type in [Int32(MK_F32), Int32(MK_BF16)] {
            let data = AttentionData(shape)
            let want = reference(type == Int32(MK_BF16) ? data.rounded : data)
            let longest = shape.lengths.map(\.keys).max() ?? 1
            let tolerance = 4 * epsilon * Double(shape.headDim + longest).squareRoot()
            for isa in InstructionSet.available {
                // bf16 dot products round queries and probabilities too, by 2^-9 at most. Queries are twice the size of
                // keys, so that scores are off by 2^-8 / sqrt(3), weights and outputs by as much.
                let rounds = isa.name == "avx512bf16" && type == Int32(MK_BF16)
                let tolerance = rounds ? 0x1p-7 : tolerance
                let got = run(data, isa, type: type, backward: false)
                #expect(relativeL2(got.out, want.out) < tolerance, "\(isa.name) out, type \(type)")
                #expect(relativeL2(got.lse, want.lse) < tolerance, "\(isa.name) log-sum-exp, type \(type)")
            }
        }
    }

    @Test("bf16 keys and values are rounded to nearest even, and a NaN stays one", arguments: InstructionSet.available)
    func rounding(isa: InstructionSet) {
        // One key: the output is its value.
        let values: [Float] = [
            1, 0x1.01p0, 0x1.03p0, 0x1.010002p0, -0x1.03p0, 0x1.fep127, 0x1.fffp127, -0x1p-120, .infinity, 0,
        ]
        let want: [Float] = [1, 1, 0x1.04p0, 0x1.02p0, -0x1.04p0, 0x1.fep127, .infinity, -0x1p-120, .infinity, 0]
        #expect(want.dropLast(3).allSatisfy { $0.isInfinite || $0.bitPattern & 0xffff == 0 })
        let shape = AttentionCase(heads: 1, kvHeads: 1, headDim: values.count, lengths: [(1, 1)])
        let zeros = [Float](repeating: 0, count: values.count)
        let data = AttentionData(shape: shape, q: zeros, keys: [zeros], values: [values])
        expectIdentical(run(data, isa, type: Int32(MK_BF16), backward: false).out, want, isa.name)
        for bits: UInt32 in [0x7fff_ffff, 0xffff_ffff, 0x7f80_0001] {
            let spoilt = AttentionData(
                shape: shape, q: zeros, keys: [zeros], values: [zeros.dropLast() + [Float(bitPattern: bits)]])
            #expect(run(spoilt, isa, type: Int32(MK_BF16), backward: false).out.last?.isNaN == true)
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
        for (length, window, type) in [
            (131, 0, MK_F32), (131, 30, MK_F32), (131, 0, MK_BF16), (1100, 0, MK_BF16), (1100, 50, MK_F32),
        ] {
            let whole = AttentionCase(heads: 4, kvHeads: 2, headDim: 24, window: window, lengths: [(length, length)])
            let data = AttentionData(whole)
            for isa in InstructionSet.available {
                let all = run(data, isa, type: Int32(type), backward: false)
                for (first, count) in [(0, 1), (70, 1), (130, 1), (100, 5), (length - 8, 8)] {
                    // The same queries, after another sequence, with the keys before them in the cache.
                    let keys = (first + count) * whole.keyWidth
                    let other = AttentionData(
                        AttentionCase(heads: 4, kvHeads: 2, headDim: 24, lengths: [(3, 3)]), seed: 9)
                    let part = AttentionData(
                        whole, lengths: [(3, 3), (count, first + count)],
                        q: other.q + data.q[(first * whole.queryWidth)..<((first + count) * whole.queryWidth)],
                        keys: [other.keys[0], Array(data.keys[0][..<keys])],
                        values: [other.values[0], Array(data.values[0][..<keys])])
                    let got = run(part, isa, type: Int32(type), threads: 2, backward: false)
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

    private func run(
        _ data: AttentionData, _ isa: InstructionSet, type: Int32 = Int32(MK_F32), threads: Int32 = 1, backward: Bool
    ) -> AttentionResult {
        let shape = data.shape
        let (ldq, ldkv) = (shape.queryWidth + shape.gap, shape.keyWidth + shape.gap)
        let q = Guarded(data.q, columns: shape.queryWidth, stride: ldq)
        let out = Guarded(poisoned: shape.tokens * ldq)
        let lse = Guarded(poisoned: shape.tokens * shape.heads)
        // A page has another layer's part in front of this one's.
        let layerFloats = mk_attention_page_bytes(type, Int64(shape.kvHeads), Int64(shape.headDim)) / 4
        let pages = shape.lengths.map { length in
            (0..<(length.keys + Int(MK_PAGE_KEYS) - 1) / Int(MK_PAGE_KEYS)).map { _ in
                Guarded(poisoned: 2 * layerFloats)
            }
        }
        let tables = pages.map { $0.map { UnsafeMutableRawPointer?($0.pointer) } }
        var call = mk_attention_shape(
            heads: Int64(shape.heads), kv_heads: Int64(shape.kvHeads), head_dim: Int64(shape.headDim), ldq: Int64(ldq),
            ldkv: Int64(ldkv), window: Int64(shape.window), scale: shape.scale, soft_cap: shape.softCap,
            kv_type: type, page_offset: Int64(layerFloats * 4), bidirectional: false)
        var context = isa.context(threads: threads)
        let keys = data.keys.map { Guarded($0, columns: shape.keyWidth, stride: ldkv) }
        let values = data.values.map { Guarded($0, columns: shape.keyWidth, stride: ldkv) }
        let flatTable = tables.flatMap { $0 }
        flatTable.withUnsafeBufferPointer { table in
            // First the keys that are cached already, then the call itself.
            var first = 0
            var start = 0
            var sequences: [mk_attention_keys] = []
            for (i, length) in shape.lengths.enumerated() {
                let old = length.keys - length.queries
                let place = table.baseAddress.map { $0 + first }
                var cached = mk_attention_keys(
                    q_start: 0, q_len: 0, new_start: 0, new_len: Int64(old), kv_len: Int64(old), pages: place)
                mk_attention_forward(
                    &context, &call, &cached, 1, q.pointer, keys[i].pointer, values[i].pointer, out.pointer,
                    lse.pointer, nil)
                sequences.append(
                    mk_attention_keys(
                        q_start: Int64(start), q_len: Int64(length.queries), new_start: Int64(start),
                        new_len: Int64(length.queries), kv_len: Int64(length.keys), pages: place))
                start += length.queries
                first += pages[i].count
            }
            let new = { (all: [[Float]]) in
                Guarded(
                    zip(all, shape.lengths).flatMap { $0.suffix($1.queries * shape.keyWidth) },
                    columns: shape.keyWidth, stride: ldkv)
            }
            let (newKeys, newValues) = (new(data.keys), new(data.values))
            let bytes = mk_attention_workspace(&call, sequences, Int64(sequences.count))
            let workspace = Guarded(poisoned: bytes / 4)
            mk_attention_forward(
                &context, &call, sequences, Int64(sequences.count), q.pointer, newKeys.pointer, newValues.pointer,
                out.pointer, lse.pointer, workspace.pointer)
            #expect(workspace.isIntact)
        }
        #expect(pages.allSatisfy { $0.allSatisfy { $0.isIntact && $0.isPoisoned(0..<layerFloats) } })
        var result = AttentionResult(out: out.rows(columns: shape.queryWidth, stride: ldq), lse: lse.values)
        #expect(out.isIntact && lse.isIntact && out.gapsAreIntact(columns: shape.queryWidth, stride: ldq))
        guard backward else { return result }

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
                    let cap = Double(shape.softCap)
                    let scores = (first...last).map { j -> Double in
                        let score = Double(shape.scale) * dot(data.q, data.keys[s], j)
                        return cap > 0 ? cap * tanh(score / cap) : score
                    }
                    let top = scores.max() ?? 0
                    let total = scores.reduce(0) { $0 + exp($1 - top) }
                    lse[(start + i) * shape.heads + h] = top + log(total)
                    let p = scores.map { exp($0 - top) / total }
                    let dp = (first...last).map { dot(data.dout, data.values[s], $0) }
                    let delta = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                    for (index, j) in (first...last).enumerated() {
                        let slope = cap > 0 ? 1 - (scores[index] / cap) * (scores[index] / cap) : 1
                        let ds = p[index] * (dp[index] - delta) * slope * Double(shape.scale)
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
