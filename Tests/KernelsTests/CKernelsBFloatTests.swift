import Base
import CKernels
import TestSupport
import Testing

/// The paths with bf16 products, on which alone these tests say anything.
private let bfloatPaths = InstructionSet.available.filter { $0.computes.contains(bf16) }
private let bf16 = Int32(MK_COMPUTE_BF16)
private let f32 = Int32(MK_COMPUTE_F32)

/// Round to nearest even, by the letter.
private func rounded(_ x: Float) -> Float {
    guard x.isFinite else { return x }
    let bits = x.bitPattern
    return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
}

extension WeightType {
    /// True if bf16 products take these weights; the others stay in f32.
    fileprivate var isRounded: Bool { isTiled || self == .bf16 }
}

@Suite(
    "C kernels: bf16 and grouped products",
    .enabled(if: !bfloatPaths.isEmpty, "this CPU has no bf16 dot products"))
struct CKernelsBFloatTests {
    private let calls = CKernelsLinearTests()

    /// What the operands of a product are after rounding. A product of two bf16 is exact in fp32, so that only the
    /// additions round, at most one for each term of the reduction, as in f32.
    private func operands(_ weight: Weight, _ x: [Float]) -> (weight: [Double], x: [Double]) {
        guard weight.type.isRounded else { return (weight.values, x.map(Double.init)) }
        return (weight.values.map { Double(rounded(Float($0))) }, x.map { Double(rounded($0)) })
    }

    @Test("forward: within K roundings of the product of the rounded operands", arguments: WeightType.allCases)
    func forward(type: WeightType) {
        for shape in LinearShape.all {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 21)
            let x = random.gaussians(shape.tokens * weight.columns)
            let start = random.gaussians(shape.tokens * shape.rows)
            let (w, activations) = operands(weight, x)
            var want = [Sum](repeating: Sum(), count: shape.tokens * shape.rows)
            for t in 0..<shape.tokens {
                for n in 0..<shape.rows {
                    for k in 0..<weight.columns {
                        want[t * shape.rows + n].add(activations[t * weight.columns + k] * w[n * weight.columns + k])
                    }
                }
            }
            for isa in bfloatPaths {
                let what = "\(type) \(shape.testDescription) \(isa.name)"
                let fresh = calls.forward(isa, bf16, weight, x, tokens: shape.tokens)
                expectClose(fresh, want, operations: weight.columns + 1, what)
                let added = calls.forward(isa, bf16, weight, x, tokens: shape.tokens, onto: start)
                expectIdentical(added, zip(start, fresh).map { $0 + $1 }, what + " accumulated")
            }
        }
    }

    @Test("backward: within N roundings of the product of the rounded operands", arguments: WeightType.allCases)
    func backward(type: WeightType) {
        for shape in LinearShape.all {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 22)
            let dy = random.gaussians(shape.tokens * shape.rows)
            let start = random.gaussians(shape.tokens * weight.columns)
            let (w, gradients) = operands(weight, dy)
            var want = [Sum](repeating: Sum(), count: shape.tokens * weight.columns)
            for t in 0..<shape.tokens {
                for n in 0..<shape.rows {
                    for k in 0..<weight.columns {
                        want[t * weight.columns + k].add(gradients[t * shape.rows + n] * w[n * weight.columns + k])
                    }
                }
            }
            for isa in bfloatPaths {
                let what = "\(type) \(shape.testDescription) \(isa.name)"
                let fresh = calls.backward(isa, bf16, weight, dy, tokens: shape.tokens)
                expectClose(fresh, want, operations: weight.rows + 1, what)
                let added = calls.backward(isa, bf16, weight, dy, tokens: shape.tokens, onto: start)
                expectIdentical(added, zip(start, fresh).map { $0 + $1 }, what + " accumulated")
            }
        }
    }

    @Test("f32 and f16 weights give the bits of f32")
    func plainWeights() {
        let shape = LinearShape(rows: 33, columns: 96, tokens: 14)
        for type in [WeightType.f32, .f16] {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 23)
            let x = random.gaussians(shape.tokens * weight.columns)
            let dy = random.gaussians(shape.tokens * shape.rows)
            for isa in bfloatPaths {
                expectIdentical(
                    calls.forward(isa, bf16, weight, x, tokens: shape.tokens),
                    calls.forward(isa, f32, weight, x, tokens: shape.tokens), "\(type) forward")
                expectIdentical(
                    calls.backward(isa, bf16, weight, dy, tokens: shape.tokens),
                    calls.backward(isa, f32, weight, dy, tokens: shape.tokens), "\(type) backward")
            }
        }
    }

    @Test("more tokens than are packed at once: every row as alone, on any number of threads")
    func chunks() {
        let shape = LinearShape(rows: 40, columns: 320, tokens: 523)
        let weight = shape.weight(.q40)
        var random = SeededRandom(seed: 24)
        let x = random.gaussians(shape.tokens * weight.columns)
        let dy = random.gaussians(shape.tokens * shape.rows)
        for isa in bfloatPaths {
            for compute in [f32, bf16] {
                let y = calls.forward(isa, compute, weight, x, tokens: shape.tokens, threads: 3)
                let dx = calls.backward(isa, compute, weight, dy, tokens: shape.tokens, threads: 3)
                for (first, count) in [(0, 1), (255, 20), (522, 1), (261, 262)] {
                    let partY = calls.forward(
                        isa, compute, weight, Array(x[(first * 320)..<((first + count) * 320)]), tokens: count)
                    expectIdentical(partY, Array(y[(first * 40)..<((first + count) * 40)]), "forward \(first)")
                    let partDX = calls.backward(
                        isa, compute, weight, Array(dy[(first * 40)..<((first + count) * 40)]), tokens: count)
                    expectIdentical(partDX, Array(dx[(first * 320)..<((first + count) * 320)]), "backward \(first)")
                }
            }
        }
    }

    @Test("dx of several weights is one chain over all of them")
    func backwardGroup() {
        let tokens = 13
        let weights = [
            LinearShape(rows: 31, columns: 64, tokens: 0).weight(.q40),
            LinearShape(rows: 272, columns: 64, tokens: 0).weight(.bf16).padded(to: 64),
            LinearShape(rows: 18, columns: 64, tokens: 0).weight(.f32).padded(to: 64),
        ]
        var random = SeededRandom(seed: 26)
        let dys = weights.map { random.gaussians(tokens * $0.rows) }
        for isa in InstructionSet.available {
            for compute in isa.computes where compute != Int32(MK_COMPUTE_INT8) {
                var want = [Sum](repeating: Sum(), count: tokens * 64)
                for (weight, dy) in zip(weights, dys) {
                    let (w, gradients) = compute == bf16 ? operands(weight, dy) : (weight.values, dy.map(Double.init))
                    for t in 0..<tokens {
                        for n in 0..<weight.rows {
                            for k in 0..<64 { want[t * 64 + k].add(gradients[t * weight.rows + n] * w[n * 64 + k]) }
                        }
                    }
                }
                let terms = weights.reduce(0) { $0 + $1.rows }
                let one = summed(isa, compute, weights, dys, tokens: tokens, threads: 1)
                expectClose(one, want, operations: terms + 1, "\(isa.name) \(compute)")
                expectIdentical(summed(isa, compute, weights, dys, tokens: tokens, threads: 3), one, "3 threads")
            }
        }
    }

    @Test("a padding row's scale says nothing, even where a pair ends in it")
    func padding() {
        for type in WeightType.allCases where type.isTiled {
            let shape = LinearShape(rows: 17, columns: 64, tokens: 3)
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 27)
            let dy = random.gaussians(shape.tokens * shape.rows)
            let clean = bfloatPaths.map { calls.backward($0, bf16, weight, dy, tokens: shape.tokens) }
            // The second group of 16 rows has one row; the scale of the next is made infinite in its first tile.
            let secondGroup = weight.storage.count / 2
            weight.storage[secondGroup + 2] = 0
            weight.storage[secondGroup + 3] = 0x7c
            for (isa, want) in zip(bfloatPaths, clean) {
                expectIdentical(calls.backward(isa, bf16, weight, dy, tokens: shape.tokens), want, "\(type)")
            }
        }
    }

    @Test("subnormal activations count as zero; those beyond bf16's range become infinite")
    func extremes() {
        let weight = LinearShape(rows: 16, columns: 32, tokens: 1).weight(.q80)
        for isa in bfloatPaths {
            let tiny = calls.forward(
                isa, bf16, weight, [Float](repeating: Float(bitPattern: 0xffff), count: 32), tokens: 1)
            #expect(tiny.allSatisfy { $0 == 0 })
            let huge = calls.forward(
                isa, bf16, weight, [.greatestFiniteMagnitude] + [Float](repeating: 0, count: 31), tokens: 1)
            #expect(huge.allSatisfy { !$0.isFinite })
        }
    }

    private func summed(
        _ isa: InstructionSet, _ compute: Int32, _ weights: [Weight], _ dys: [[Float]], tokens: Int, threads: Int32
    ) -> [Float] {
        let columns = weights[0].columns
        let inputs = dys.map { Guarded($0) }
        let output = Guarded(poisoned: tokens * columns)
        var context = isa.context(threads: threads)
        let matrices = UnsafeMutablePointer<mk_matrix>.allocate(capacity: weights.count)
        defer { matrices.deallocate() }
        var terms: [mk_linear_input] = []
        for (i, weight) in weights.enumerated() {
            matrices[i] = weight.matrix
            terms.append(mk_linear_input(w: matrices + i, dy: inputs[i].pointer, lddy: Int64(weight.rows)))
        }
        let bytes = mk_linear_backward_workspace(compute, terms, Int32(terms.count), Int64(tokens))
        let workspace = Guarded(poisoned: (bytes + 3) / 4)
        mk_linear_backward(
            &context, compute, terms, Int32(terms.count), Int64(tokens), output.pointer, Int64(columns), false,
            workspace.pointer)
        #expect(workspace.isIntact && output.isIntact)
        return output.values
    }
}

extension Weight {
    /// A weight of the same type and rows whose columns are as many as asked for (plain types of `LinearShape` have one
    /// fewer than the tiled ones).
    fileprivate func padded(to columns: Int) -> Weight {
        guard self.columns != columns else { return self }
        var random = SeededRandom(seed: UInt64(rows))
        return Weight(type, rows: rows, columns: columns, source: random.gaussians(rows * columns, scale: 0.02))
    }
}
