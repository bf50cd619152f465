import CKernels
import Foundation
import Testing

/// A sum of transposed products in int8, and what it must give by the letter of int8_gradient.h.
private struct GradientCase {
    let tokens: Int
    let columns: Int
    let weights: [Weight]
    /// dy of each weight, [tokens][rows].
    var gradients: [[Float]]

    init(_ type: WeightType, tokens: Int, columns: Int, rows: [Int]) {
        (self.tokens, self.columns) = (tokens, columns)
        var random = SystemRandomNumberGenerator()
        func values(_ count: Int) -> [Float] {
            (0..<count).map { _ in
                Float.random(in: -1...1, using: &random) * exp(Float.random(in: -3...3, using: &random))
            }
        }
        weights = rows.map { Weight(type, rows: $0, columns: columns, source: values($0 * columns)) }
        gradients = rows.map { values(tokens * $0) }
    }

    /// The scale of a row's block of 32 columns.
    private func scale(_ weight: Weight, _ row: Int, _ block: Int) -> Float {
        let tileBytes = Int(mk_tile_bytes(weight.type.rawValue))
        let tile = (row / 16 * (columns / 32) + block) * tileBytes
        return Float(weight.storage.loadUnaligned(fromByteOffset: tile + 2 * (row % 16), as: Float16.self))
    }

    /// The chains, with a fused multiply-add.
    func reference() -> [Float] {
        var dx = [Float](repeating: 0, count: tokens * columns)
        for (weight, dy) in zip(weights, gradients) {
            for start in stride(from: 0, to: weight.rows, by: 64) {
                let rows = start..<min(start + 64, weight.rows)
                for block in 0..<(columns / 32) {
                    let scales = rows.map { scale(weight, $0, block) }
                    let largestScale = scales.map(abs).max() ?? 0
                    for t in 0..<tokens {
                        let g = rows.map { dy[t * weight.rows + $0] }
                        let largest = g.map(abs).max() ?? 0
                        let inverse = 127 / largest
                        let codes = zip(g, scales).map {
                            largest == 0 || largestScale == 0
                                ? 0 : Int((($0 * inverse) * ($1 / largestScale)).rounded(.toNearestOrEven))
                        }
                        let unit = largest / 127 * largestScale
                        for c in 32 * block..<32 * block + 32 {
                            var sum = 0
                            for (i, row) in rows.enumerated() where scales[i] != 0 {
                                sum += codes[i] * Int(weight.values[row * columns + c] / Double(scales[i]))
                            }
                            dx[t * columns + c] = dx[t * columns + c].addingProduct(unit, Float(sum))
                        }
                    }
                }
            }
        }
        return dx
    }

    /// The exact gradient.
    func exact() -> [Double] {
        var dx = [Double](repeating: 0, count: tokens * columns)
        for (weight, dy) in zip(weights, gradients) {
            for t in 0..<tokens {
                for r in 0..<weight.rows {
                    let g = Double(dy[t * weight.rows + r])
                    for c in 0..<columns { dx[t * columns + c] += g * weight.values[r * columns + c] }
                }
            }
        }
        return dx
    }

    func run(_ isa: InstructionSet, threads: Int32 = 1, onto before: [Float]? = nil) -> [Float] {
        var context = isa.context(threads: threads)
        let matrices = UnsafeMutablePointer<mk_matrix>.allocate(capacity: weights.count)
        defer { matrices.deallocate() }
        for (i, weight) in weights.enumerated() { matrices[i] = weight.matrix }
        let dys = gradients.map { Guarded($0) }
        let inputs = weights.indices.map {
            mk_linear_input(w: matrices + $0, dy: dys[$0].pointer, lddy: Int64(weights[$0].rows))
        }
        let compute = Int32(MK_COMPUTE_INT8)
        let bytes = mk_linear_backward_workspace(compute, inputs, Int32(inputs.count), Int64(tokens))
        let rows = weights.reduce(0) { $0 + $1.rows }
        #expect(
            bytes <= mk_linear_backward_workspace_bound(compute, Int32(inputs.count), Int64(rows), Int64(tokens)))
        let workspace = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        defer { workspace.deallocate() }
        let dx = before.map { Guarded($0) } ?? Guarded(poisoned: tokens * columns)
        mk_linear_backward(
            &context, compute, inputs, Int32(inputs.count), Int64(tokens), dx.pointer, Int64(columns), before != nil,
            workspace)
        #expect(dx.isIntact && dys.allSatisfy { $0.isIntact })
        return dx.values
    }
}

@Suite("The int8 backward")
struct CKernelsInt8GradientTests {
    private static let types: [WeightType] = [.q40, .q80, .iq4nl, .nf4]
    /// Those whose multiply-add is fused.
    private static let fused = InstructionSet.available.filter { $0.name != "portable" }

    @Test("every path gives the bits of the definition, for any rows, tokens and terms", arguments: types)
    private func definition(type: WeightType) {
        for (tokens, columns, rows) in [(1, 32, [64]), (5, 96, [17]), (13, 64, [200, 16]), (140, 32, [70, 64, 3])] {
            let sample = GradientCase(type, tokens: tokens, columns: columns, rows: rows)
            let want = sample.reference()
            for isa in Self.fused {
                expectIdentical(sample.run(isa), want, "\(isa.name), \(tokens) x \(rows)")
            }
            let got = sample.run(InstructionSet(name: "portable"))
            let allowed = 1e-5 * (want.map(abs).max() ?? 0)
            for i in want.indices where abs(got[i] - want[i]) > allowed {
                Issue.record("portable: \(got[i]), want \(want[i])")
            }
        }
    }

    @Test("threads and neighbours change no bit, and a sum is added to", arguments: InstructionSet.available)
    func invariance(isa: InstructionSet) {
        let sample = GradientCase(.iq4nl, tokens: 530, columns: 64, rows: [100])
        let want = sample.run(isa)
        expectIdentical(sample.run(isa, threads: 3), want, "three threads")
        let alone = GradientCase(alone: sample, token: 523)
        expectIdentical(alone.run(isa), Array(want[523 * 64..<524 * 64]), "a token alone")
        let before = (0..<530 * 64).map { Float($0 % 7) - 3 }
        expectIdentical(sample.run(isa, onto: before), zip(before, want).map { $0 + $1 }, "added")
    }

    @Test("the error is that of 127 steps, and has no sign", arguments: types)
    private func error(type: WeightType) {
        let sample = GradientCase(type, tokens: 64, columns: 64, rows: [256])
        let (got, want) = (sample.run(InstructionSet.available[0]), sample.exact())
        var (error, size, bias) = (0.0, 0.0, 0.0)
        for i in want.indices {
            let e = Double(got[i]) - want[i]
            error += e * e
            size += want[i] * want[i]
            bias += e
        }
        #expect(error < 0.04 * 0.04 * size)
        #expect(abs(bias) < 5 * error.squareRoot(), "the sum of errors is that of independent ones")
    }

    @Test("what is not finite is carried on, zeros and tiny gradients give zero", arguments: InstructionSet.available)
    func extremes(isa: InstructionSet) {
        var sample = GradientCase(.iq4nl, tokens: 4, columns: 32, rows: [80])
        for r in 0..<80 { sample.gradients[0][r] = 0 }
        for r in 0..<80 { sample.gradients[0][80 + r] = 1e-40 }
        sample.gradients[0][2 * 80 + 70] = .nan
        sample.gradients[0][3 * 80] = .infinity
        let got = sample.run(isa)
        #expect(got[..<64].allSatisfy { $0 == 0 })
        #expect(got[64...].allSatisfy { $0.isNaN })
    }

    @Test("padding rows do not count, whatever a file says of them", arguments: InstructionSet.available)
    func padding(isa: InstructionSet) {
        let sample = GradientCase(.q80, tokens: 3, columns: 32, rows: [20])
        let want = sample.run(isa)
        let tileBytes = Int(mk_tile_bytes(WeightType.q80.rawValue))
        for row in 4..<16 {
            sample.weights[0].storage.storeBytes(
                of: row % 2 == 0 ? Float16.infinity : 60000, toByteOffset: tileBytes + 2 * row, as: Float16.self)
        }
        expectIdentical(sample.run(isa), want, "infinite scales of rows that are not there")
    }

    @Test("types with a minimum, and plain ones, are computed in f32 beside", arguments: InstructionSet.available)
    func others(isa: InstructionSet) {
        for type in [WeightType.q41, .q6k, .f32, .bf16] {
            let sample = GradientCase(type, tokens: 7, columns: 256, rows: [48])
            let (got, want) = (sample.run(isa), sample.exact())
            let scale = want.map(abs).max() ?? 0
            #expect(got.indices.allSatisfy { abs(Double(got[$0]) - want[$0]) < 1e-5 * scale })
        }
    }
}

extension GradientCase {
    /// One token of another case.
    fileprivate init(alone other: GradientCase, token: Int) {
        (tokens, columns, weights) = (1, other.columns, other.weights)
        gradients = zip(other.weights, other.gradients).map {
            Array($1[token * $0.rows..<(token + 1) * $0.rows])
        }
    }
}
