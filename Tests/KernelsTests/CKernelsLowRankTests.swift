import CKernels
import TestSupport
import Testing

@Suite("C kernels: LoRA terms", .serialized)
struct CKernelsLowRankTests {
    /// Ranks below, at and beyond the register tiles; widths that end within a panel; no tokens at all.
    struct Case: Sendable, CustomTestStringConvertible {
        let rank: Int
        let width: Int
        let tokens: Int
        var testDescription: String { "rank \(rank), width \(width), \(tokens) tokens" }

        static let all = [
            Case(rank: 1, width: 1, tokens: 1), Case(rank: 3, width: 15, tokens: 2),
            Case(rank: 4, width: 67, tokens: 7), Case(rank: 8, width: 530, tokens: 49),
            Case(rank: 13, width: 96, tokens: 25), Case(rank: 64, width: 272, tokens: 5),
            Case(rank: 17, width: 513, tokens: 130), Case(rank: 2, width: 33, tokens: 0),
        ]
    }

    @Test("reduce, expand and gradient of both factors, against sums in double", arguments: InstructionSet.available)
    func products(isa: InstructionSet) {
        for shape in Case.all {
            let (rank, width, tokens) = (shape.rank, shape.width, shape.tokens)
            var random = SeededRandom(seed: UInt64(rank * 1000 + width))
            let factor = random.gaussians(rank * width)
            let x = random.gaussians(tokens * width)
            let u = random.gaussians(tokens * rank)
            let start = random.gaussians(rank * width)
            for byFeature in [false, true] {
                func at(_ j: Int, _ k: Int) -> Int { byFeature ? k * rank + j : j * width + k }
                var reduced = [Sum](repeating: Sum(), count: tokens * rank)
                var expanded = x.map { Sum(value: Double($0), magnitude: abs(Double($0))) }
                var gradient = start.map { Sum(value: Double($0), magnitude: abs(Double($0))) }
                for t in 0..<tokens {
                    for j in 0..<rank {
                        for k in 0..<width {
                            let (f, a) = (Double(factor[at(j, k)]), Double(x[t * width + k]))
                            reduced[t * rank + j].add(0.25 * a * f)
                            expanded[t * width + k].add(Double(u[t * rank + j]) * f)
                            gradient[at(j, k)].add(Double(u[t * rank + j]) * a)
                        }
                    }
                }
                let what = "\(isa.name), \(shape.testDescription), by feature \(byFeature)"
                let got = run(isa, shape, byFeature, factor, x, u, start, threads: 1)
                expectClose(got.reduced, reduced, operations: width + 2, "reduce " + what)
                expectClose(got.expanded, expanded, operations: rank + 2, "expand " + what)
                expectClose(got.gradient, gradient, operations: tokens + 2, "gradient " + what)
                let more = run(isa, shape, byFeature, factor, x, u, start, threads: 3)
                expectIdentical(more.reduced, got.reduced, "reduce on 3 threads " + what)
                expectIdentical(more.expanded, got.expanded, "expand on 3 threads " + what)
                expectIdentical(more.gradient, got.gradient, "gradient on 3 threads " + what)
            }
        }
    }

    @Test(
        "a token's result does not depend on its batch, and a NaN stays in its row", arguments: InstructionSet.available
    )
    func rows(isa: InstructionSet) {
        let shape = Case(rank: 8, width: 300, tokens: 30)
        var random = SeededRandom(seed: 31)
        let factor = random.gaussians(shape.rank * shape.width)
        var x = random.gaussians(shape.tokens * shape.width)
        let u = random.gaussians(shape.tokens * shape.rank)
        let start = [Float](repeating: 0, count: shape.rank * shape.width)
        let all = run(isa, shape, false, factor, x, u, start, threads: 1)
        let one = run(
            isa, Case(rank: 8, width: 300, tokens: 1), false, factor, Array(x[(17 * 300)..<(18 * 300)]),
            Array(u[(17 * 8)..<(18 * 8)]), start, threads: 1)
        expectIdentical(one.reduced, Array(all.reduced[(17 * 8)..<(18 * 8)]), "reduce")
        expectIdentical(one.expanded, Array(all.expanded[(17 * 300)..<(18 * 300)]), "expand")
        x[5 * 300 + 299] = .nan
        let poisoned = run(isa, shape, false, factor, x, u, start, threads: 1).reduced
        #expect(poisoned[40..<48].allSatisfy { $0.isNaN })
        #expect(poisoned.enumerated().allSatisfy { $0.element.isFinite || (40..<48).contains($0.offset) })
    }

    private func run(
        _ isa: InstructionSet, _ shape: Case, _ byFeature: Bool, _ factor: [Float], _ x: [Float], _ u: [Float],
        _ start: [Float], threads: Int32
    ) -> (reduced: [Float], expanded: [Float], gradient: [Float]) {
        let (rank, width, tokens) = (shape.rank, shape.width, shape.tokens)
        let ldx = width + 5
        let values = Guarded(factor)
        let input = Guarded(x, columns: width, stride: ldx)
        let low = Guarded(u)
        let reduced = Guarded(poisoned: tokens * rank)
        let expanded = Guarded(x, columns: width, stride: ldx)
        let gradient = Guarded(start)
        let bytes = mk_lowrank_workspace(Int64(rank), Int64(width))
        let workspace = Guarded(poisoned: (bytes + 3) / 4)
        var context = isa.context(threads: threads)
        var f = mk_factor(values: values.pointer, rank: Int64(rank), width: Int64(width), by_feature: byFeature)
        mk_lowrank_reduce(
            &context, &f, input.pointer, Int64(ldx), Int64(tokens), 0.25, reduced.pointer, workspace.pointer)
        mk_lowrank_expand(
            &context, &f, low.pointer, Int64(tokens), expanded.pointer, Int64(ldx), true, workspace.pointer)
        mk_lowrank_gradient(
            &context, &f, low.pointer, input.pointer, Int64(ldx), Int64(tokens), gradient.pointer)
        #expect(reduced.isIntact && expanded.isIntact && gradient.isIntact && workspace.isIntact)
        #expect(expanded.gapsAreIntact(columns: width, stride: ldx))
        return (reduced.values, expanded.rows(columns: width, stride: ldx), gradient.values)
    }
}
