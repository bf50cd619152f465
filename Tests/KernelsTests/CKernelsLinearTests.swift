import Base
import CKernels
import TestSupport
import Testing

/// Shape of a product: `tokens` rows of `columns` features into `rows` features.
struct LinearShape: Sendable, CustomTestStringConvertible {
    let rows: Int
    let columns: Int
    let tokens: Int
    var testDescription: String { "\(rows) x \(columns), \(tokens) tokens" }

    /// Ones, neighbours of the tile and block sizes, primes; columns are multiples of 32 for the tiled types (of 256 for
    /// those with super-blocks).
    static let all = [
        LinearShape(rows: 1, columns: 32, tokens: 1), LinearShape(rows: 15, columns: 64, tokens: 2),
        LinearShape(rows: 16, columns: 96, tokens: 5), LinearShape(rows: 17, columns: 32, tokens: 13),
        LinearShape(rows: 33, columns: 288, tokens: 7), LinearShape(rows: 67, columns: 96, tokens: 12),
        LinearShape(rows: 271, columns: 32, tokens: 3), LinearShape(rows: 31, columns: 64, tokens: 50),
    ]

    func weight(_ type: WeightType) -> Weight {
        var random = SeededRandom(seed: UInt64(rows * 1000 + columns))
        // Plain types may have any number of columns.
        let width = type.isTiled ? type.wholeTiles(columns) : columns - 1
        return Weight(type, rows: rows, columns: width, source: random.gaussians(rows * width, scale: 0.02))
    }
}

@Suite("C kernels: linear layers")
struct CKernelsLinearTests {
    @Test(
        "forward: within K roundings of the exact product; nothing outside is touched", arguments: WeightType.allCases)
    func forward(type: WeightType) {
        for shape in LinearShape.all {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 1)
            let x = random.gaussians(shape.tokens * weight.columns)
            let start = random.gaussians(shape.tokens * shape.rows)
            let want = products(x, weight, tokens: shape.tokens)
            let wantAdded = zip(want, start).map { product, start in
                Sum(value: product.value + Double(start), magnitude: product.magnitude + abs(Double(start)))
            }
            for isa in InstructionSet.available {
                let what = "\(type) \(shape.testDescription) \(isa.name)"
                let fresh = forward(isa, Int32(MK_COMPUTE_F32), weight, x, tokens: shape.tokens)
                expectClose(fresh, want, operations: weight.columns + 1, what)
                let added = forward(isa, Int32(MK_COMPUTE_F32), weight, x, tokens: shape.tokens, onto: start)
                expectClose(added, wantAdded, operations: weight.columns + 2, what + " accumulated")
            }
        }
    }

    @Test("backward: within N roundings of the exact product", arguments: WeightType.allCases)
    func backward(type: WeightType) {
        for shape in LinearShape.all {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 3)
            let dy = random.gaussians(shape.tokens * shape.rows)
            let start = random.gaussians(shape.tokens * weight.columns)
            var want = [Sum](repeating: Sum(), count: shape.tokens * weight.columns)
            for t in 0..<shape.tokens {
                for n in 0..<weight.rows {
                    let gradient = Double(dy[t * weight.rows + n])
                    for k in 0..<weight.columns {
                        want[t * weight.columns + k].add(gradient * weight.values[n * weight.columns + k])
                    }
                }
            }
            let wantAdded = zip(want, start).map { product, start in
                Sum(value: product.value + Double(start), magnitude: product.magnitude + abs(Double(start)))
            }
            for isa in InstructionSet.available {
                let what = "\(type) \(shape.testDescription) \(isa.name)"
                let fresh = backward(isa, Int32(MK_COMPUTE_F32), weight, dy, tokens: shape.tokens)
                expectClose(fresh, want, operations: weight.rows + 1, what)
                let added = backward(isa, Int32(MK_COMPUTE_F32), weight, dy, tokens: shape.tokens, onto: start)
                expectClose(added, wantAdded, operations: weight.rows + 2, what + " accumulated")
            }
        }
    }

    @Test(
        "a row's result is the same alone, in a batch and on any number of threads", arguments: InstructionSet.available
    )
    func invariance(isa: InstructionSet) {
        // Large enough that the drivers really start threads, over several blocks in both directions.
        let shape = LinearShape(rows: 530, columns: 544, tokens: 53)
        for type in WeightType.allCases {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 4)
            let x = random.gaussians(shape.tokens * weight.columns)
            let dy = random.gaussians(shape.tokens * weight.rows)
            for compute in isa.computes {
                let one = forward(isa, compute, weight, x, tokens: shape.tokens)
                for threads in [2, 3] as [Int32] {
                    let more = forward(isa, compute, weight, x, tokens: shape.tokens, threads: threads)
                    expectIdentical(more, one, "\(type) forward, compute \(compute), \(threads) threads")
                }
                for (first, count) in [(0, 1), (17, 2), (52, 1), (30, 9)] {
                    let part = forward(
                        isa, compute, weight, Array(x[(first * weight.columns)..<((first + count) * weight.columns)]),
                        tokens: count)
                    expectIdentical(
                        part, Array(one[(first * weight.rows)..<((first + count) * weight.rows)]),
                        "\(type) forward, compute \(compute), rows \(first) + \(count)")
                }
            }
            for compute in isa.computes where compute != Int32(MK_COMPUTE_INT8) {
                let one = backward(isa, compute, weight, dy, tokens: shape.tokens)
                for threads in [2, 3] as [Int32] {
                    let more = backward(isa, compute, weight, dy, tokens: shape.tokens, threads: threads)
                    expectIdentical(more, one, "\(type) backward, compute \(compute), \(threads) threads")
                }
                for (first, count) in [(20, 1), (2, 3), (40, 13)] {
                    let part = backward(
                        isa, compute, weight, Array(dy[(first * weight.rows)..<((first + count) * weight.rows)]),
                        tokens: count)
                    expectIdentical(
                        part, Array(one[(first * weight.columns)..<((first + count) * weight.columns)]),
                        "\(type) backward, compute \(compute), rows \(first) + \(count)")
                }
            }
        }
    }

    @Test(
        "products of a group have the bits of single calls, whatever types are mixed",
        arguments: InstructionSet.available,
        [[WeightType.iq4nl, .bf16, .q80], [.q4k, .q80, .q6k], [.q41, .q40, .f32]])
    func group(isa: InstructionSet, types: [WeightType]) {
        let (tokens, columns) = (11, types[0].wholeTiles(96))
        var random = SeededRandom(seed: 9)
        let weights = types.enumerated().map { i, type in
            Weight(type, rows: 19 + 30 * i, columns: columns, source: random.gaussians((19 + 30 * i) * columns))
        }
        let x = random.gaussians(tokens * columns)
        let starts = weights.map { random.gaussians(tokens * $0.rows) }
        for compute in isa.computes {
            for threads in [1, 2] as [Int32] {
                let matrices = UnsafeMutableBufferPointer<mk_matrix>.allocate(capacity: 3)
                defer { matrices.deallocate() }
                _ = matrices.initialize(from: weights.map(\.matrix))
                let y = zip(starts, weights).map { Guarded($0, columns: $1.rows, stride: $1.rows + 5) }
                let outputs = (0..<3).map { i in
                    mk_linear_output(
                        w: matrices.baseAddress.map { $0 + i }, y: y[i].pointer, ldy: Int64(weights[i].rows + 5),
                        accumulate: i != 1)
                }
                let bytes = mk_linear_workspace(compute, Int64(tokens), Int64(columns))
                let workspace = Guarded(poisoned: (bytes + 3) / 4)
                let input = Guarded(x)
                var context = isa.context(threads: threads)
                mk_linear_forward(
                    &context, compute, outputs, 3, input.pointer, Int64(columns), Int64(tokens), workspace.pointer)
                #expect(workspace.isIntact && y.allSatisfy(\.isIntact))
                for (i, weight) in weights.enumerated() {
                    let alone = forward(isa, compute, weight, x, tokens: tokens, onto: i == 1 ? nil : starts[i])
                    let got = y[i].rows(columns: weight.rows, stride: weight.rows + 5)
                    expectIdentical(got, alone, "output \(i), compute \(compute), \(threads) threads")
                }
            }
        }
    }

    @Test("AVX2 and AVX-512 give the same bits: both are one chain of fused multiply-adds")
    func fusedPathsAgree() throws {
        let fused = InstructionSet.available.filter { $0.name != "portable" }
        let shape = LinearShape(rows: 45, columns: 288, tokens: 14)
        let weight = shape.weight(.iq4nl)
        var random = SeededRandom(seed: 5)
        let x = random.gaussians(shape.tokens * weight.columns)
        let results = fused.map { forward($0, Int32(MK_COMPUTE_F32), weight, x, tokens: shape.tokens) }
        for result in results.dropFirst() { expectIdentical(result, results[0], "forward") }
        #expect(results.allSatisfy { $0.allSatisfy(\.isFinite) })
    }

    @Test("rows are gathered from every type", arguments: WeightType.allCases)
    func gather(type: WeightType) {
        let weight = LinearShape(rows: 67, columns: 96, tokens: 1).weight(type)
        let ids: [Int32] = [0, 66, 15, 16, 17, 66, 32]
        let stride = weight.columns + 2
        for isa in InstructionSet.available {
            for threads in [1, 3] as [Int32] {
                var context = isa.context(threads: threads)
                var matrix = weight.matrix
                let out = Guarded(poisoned: ids.count * stride)
                mk_gather_rows(&context, &matrix, ids, Int64(ids.count), out.pointer, Int64(stride))
                let want = ids.flatMap { id in
                    weight.values[(Int(id) * weight.columns)..<((Int(id) + 1) * weight.columns)].map { Float($0) }
                }
                #expect(out.rows(columns: weight.columns, stride: stride) == want)
                #expect(out.isIntact && out.gapsAreIntact(columns: weight.columns, stride: stride))
            }
        }
    }

    @Test(
        "any bytes as weights: a result is finite where its own weights are, and only there",
        arguments: InstructionSet.available)
    func hostileTiles(isa: InstructionSet) {
        var (finite, notFinite) = (0, 0)
        for type in WeightType.allCases {
            let shape = LinearShape(rows: 20, columns: 64, tokens: 3)
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 6)
            for i in weight.storage.indices { weight.storage[i] = UInt8(truncatingIfNeeded: random.next()) }
            var matrix = weight.matrix
            var values = [Float](repeating: 0, count: weight.rows * weight.columns)
            mk_dequantize(&matrix, 0, Int64(weight.rows), &values)
            /// Expects of one output what its terms, a weight times a factor each, say.
            func check(_ got: Float, _ terms: [(weight: Float, factor: Float)], _ what: String) {
                if !terms.allSatisfy(\.weight.isFinite) {
                    notFinite += 1
                    #expect(!got.isFinite, "\(what): a weight that is not finite was passed over")
                } else if terms.reduce(0, { $0 + abs(Double($1.weight) * Double($1.factor)) }) < 1e38 {
                    finite += 1
                    #expect(got.isFinite, "\(what): \(got) of finite weights")
                }
            }
            let x = random.gaussians(shape.tokens * weight.columns)
            let dy = random.gaussians(shape.tokens * shape.rows)
            for compute in isa.computes {
                let what = "\(type), compute \(compute)"
                let y = forward(isa, compute, weight, x, tokens: shape.tokens, checksPadding: true)
                for i in y.indices {
                    let (t, n) = (i / weight.rows, i % weight.rows)
                    let terms = (0..<weight.columns).map {
                        (values[n * weight.columns + $0], x[t * weight.columns + $0])
                    }
                    check(y[i], terms, "forward \(what)")
                }
                guard compute != Int32(MK_COMPUTE_INT8) else { continue }
                let dx = backward(isa, compute, weight, dy, tokens: shape.tokens)
                for i in dx.indices {
                    let (t, k) = (i / weight.columns, i % weight.columns)
                    let terms = (0..<weight.rows).map { (values[$0 * weight.columns + k], dy[t * weight.rows + $0]) }
                    check(dx[i], terms, "backward \(what)")
                }
            }
        }
        #expect(finite > 100 && notFinite > 100, "\(finite) finite results, \(notFinite) others")
    }

    @Test("a NaN or an infinity in an activation stays in its row", arguments: InstructionSet.available)
    func nonfinite(isa: InstructionSet) {
        let shape = LinearShape(rows: 20, columns: 64, tokens: 3)
        for type in [WeightType.iq4nl, .f32] {
            let weight = shape.weight(type)
            var random = SeededRandom(seed: 8)
            var x = random.gaussians(shape.tokens * weight.columns)
            for bad in [Float.nan, .infinity] {
                x[weight.columns + 3] = bad
                for compute in isa.computes {
                    let y = forward(isa, compute, weight, x, tokens: shape.tokens)
                    #expect(y[..<20].allSatisfy(\.isFinite) && y[40...].allSatisfy(\.isFinite))
                    #expect(y[20..<40].allSatisfy { !$0.isFinite }, "\(bad) vanished, compute \(compute)")
                }
            }
        }
    }

    // MARK: Calls with guarded buffers and gaps between rows

    func forward(
        _ isa: InstructionSet, _ compute: Int32, _ weight: Weight, _ x: [Float], tokens: Int, threads: Int32 = 1,
        onto start: [Float]? = nil, checksPadding: Bool = true
    ) -> [Float] {
        let (ldx, ldy) = (weight.columns + 7, weight.rows + 5)
        let input = Guarded(x, columns: weight.columns, stride: ldx)
        let output = start.map { Guarded($0, columns: weight.rows, stride: ldy) } ?? Guarded(poisoned: tokens * ldy)
        var context = isa.context(threads: threads)
        var matrix = weight.matrix
        let bytes = mk_linear_workspace(compute, Int64(tokens), Int64(weight.columns))
        let workspace = Guarded(poisoned: (bytes + 3) / 4)
        withUnsafePointer(to: &matrix) { w in
            var product = mk_linear_output(w: w, y: output.pointer, ldy: Int64(ldy), accumulate: start != nil)
            mk_linear_forward(
                &context, compute, &product, 1, input.pointer, Int64(ldx), Int64(tokens), workspace.pointer)
        }
        #expect(output.isIntact && workspace.isIntact && input.isIntact)
        #expect(output.gapsAreIntact(columns: weight.rows, stride: ldy))
        return output.rows(columns: weight.rows, stride: ldy)
    }

    func backward(
        _ isa: InstructionSet, _ compute: Int32, _ weight: Weight, _ dy: [Float], tokens: Int,
        threads: Int32 = 1, onto start: [Float]? = nil
    ) -> [Float] {
        let (lddy, lddx) = (weight.rows + 3, weight.columns + 9)
        let input = Guarded(dy, columns: weight.rows, stride: lddy)
        let output =
            start.map { Guarded($0, columns: weight.columns, stride: lddx) } ?? Guarded(poisoned: tokens * lddx)
        var context = isa.context(threads: threads)
        var matrix = weight.matrix
        let workspace = withUnsafePointer(to: &matrix) { w in
            var term = mk_linear_input(w: w, dy: input.pointer, lddy: Int64(lddy))
            let bytes = mk_linear_backward_workspace(compute, &term, 1, Int64(tokens))
            let workspace = Guarded(poisoned: (bytes + 3) / 4)
            mk_linear_backward(
                &context, compute, &term, 1, Int64(tokens), output.pointer, Int64(lddx), start != nil,
                workspace.pointer)
            return workspace
        }
        #expect(workspace.isIntact)
        #expect(output.isIntact && input.isIntact && output.gapsAreIntact(columns: weight.columns, stride: lddx))
        return output.rows(columns: weight.columns, stride: lddx)
    }

    // MARK: References

    private func products(_ x: [Float], _ weight: Weight, tokens: Int) -> [Sum] {
        products(x.map(Double.init), weight, tokens: tokens)
    }

    private func products(_ x: [Double], _ weight: Weight, tokens: Int) -> [Sum] {
        var sums: [Sum] = []
        for t in 0..<tokens {
            for n in 0..<weight.rows {
                var sum = Sum()
                for k in 0..<weight.columns {
                    sum.add(x[t * weight.columns + k] * weight.values[n * weight.columns + k])
                }
                sums.append(sum)
            }
        }
        return sums
    }
}
