import CKernels
import Foundation
import TestSupport
import Testing

/// Inputs whose columns hang together, as hidden states do, and weights.
private struct FeedbackCase {
    let rows: Int
    let columns: Int
    let tokens = 300
    let weights: [Float]
    let inputs: [Float]
    /// XᵀX in double, and with the damping on its diagonal.
    let moments: [Double]
    let damped: [Double]
    static let damping = 0.03

    init(rows: Int = 21, columns: Int, scale: Float = 0.05) {
        (self.rows, self.columns) = (rows, columns)
        var random = SeededRandom(seed: UInt64(rows * 1000 + columns))
        weights = random.gaussians(rows * columns, scale: scale)
        var x = random.gaussians(tokens * columns)
        for t in 0..<tokens {
            for c in 1..<columns {
                let factor: Float = c % 5 == 0 ? 1.4 : 0.7
                x[t * columns + c] += factor * x[t * columns + c - 1]
            }
            x[t * columns + 3] = 0  // a dead column
        }
        inputs = x
        var h = [Double](repeating: 0, count: columns * columns)
        for t in 0..<tokens {
            let row = x[t * columns..<(t + 1) * columns].map { Double($0) }
            for i in 0..<columns { for j in 0..<columns { h[i * columns + j] += row[i] * row[j] } }
        }
        moments = h
        damped = Self.damped(h, columns, Self.damping)
    }

    static func mean(_ h: [Double], _ n: Int) -> Double {
        var sum = 0.0
        for c in 0..<n { sum += h[c * n + c] }
        return sum / Double(n)
    }

    static func damped(_ h: [Double], _ n: Int, _ damping: Double) -> [Double] {
        var result = h
        for c in 0..<n { result[c * n + c] += damping * mean(h, n) }
        return result
    }

    /// (w − v)·H·(w − v)ᵀ of a row.
    func error(_ values: [Float], row: Int, _ h: [Double]) -> Double {
        var d = [Double](repeating: 0, count: columns)
        for c in 0..<columns { d[c] = Double(weights[row * columns + c]) - Double(values[row * columns + c]) }
        var sum = 0.0
        for i in 0..<columns {
            var product = 0.0
            for j in 0..<columns { product += h[i * columns + j] * d[j] }
            sum += d[i] * product
        }
        return sum
    }

    func total(_ values: [Float], _ h: [Double]) -> Double {
        var sum = 0.0
        for row in 0..<rows { sum += error(values, row: row, h) }
        return sum
    }
}

private func memory(_ bytes: Int, _ body: (UnsafeMutableRawPointer) -> Void) {
    let pointer = UnsafeMutableRawPointer.allocate(byteCount: max(bytes, 64), alignment: 64)
    defer { pointer.deallocate() }
    body(pointer)
}

private func moments(_ context: mk_context, _ inputs: [Float], _ columns: Int) -> [Double] {
    var (context, h) = (context, [Double](repeating: 0, count: columns * columns))
    memory(mk_gram_workspace(mk_pool_threads(context.pool), Int64(columns))) {
        mk_gram(&context, inputs, Int64(columns), Int64(inputs.count / columns), Int64(columns), &h, $0)
    }
    return h
}

private func factor(
    _ context: mk_context, _ h: [Double], _ columns: Int, damping: Double = FeedbackCase.damping
) -> (unit: [Float], weight: [Float]) {
    var (context, h, weight) = (context, h, [Float](repeating: .nan, count: columns))
    memory(mk_feedback_factor_workspace(Int64(columns))) {
        mk_feedback_factor(&context, &h, Int64(columns), damping, &weight, $0)
    }
    return h.withUnsafeBytes { (Array($0.bindMemory(to: Float.self).prefix(columns * columns)), weight) }
}

private func quantize(
    _ context: mk_context, _ type: Int32, _ sample: FeedbackCase, _ factor: (unit: [Float], weight: [Float])
) -> (bytes: [UInt8], errors: [Float]) {
    var context = context
    let count = mk_matrix_bytes(type, Int64(sample.rows), Int64(sample.columns))
    var bytes = [UInt8](repeating: 0xa5, count: count + 64)
    var errors = [Float](repeating: .nan, count: sample.rows)
    memory(mk_feedback_workspace(mk_pool_threads(context.pool), Int64(sample.columns))) {
        mk_quantize_feedback(
            &context, type, sample.weights, Int64(sample.rows), Int64(sample.columns), factor.unit, factor.weight,
            &bytes,
            &errors, $0)
    }
    #expect(bytes[count...].allSatisfy { $0 == 0xa5 })
    return (Array(bytes[..<count]), errors)
}

private func values(_ type: Int32, _ bytes: [UInt8], _ sample: FeedbackCase) -> [Float] {
    bytes.withUnsafeBytes { raw in
        var matrix = mk_matrix(
            type: type, rows: Int64(sample.rows), cols: Int64(sample.columns), data: raw.baseAddress)
        var out = [Float](repeating: .nan, count: sample.rows * sample.columns)
        mk_dequantize(&matrix, 0, Int64(sample.rows), &out)
        return out
    }
}

private func plainly(_ type: Int32, _ sample: FeedbackCase) -> [Float] {
    var bytes = [UInt8](repeating: 0, count: mk_matrix_bytes(type, Int64(sample.rows), Int64(sample.columns)))
    mk_quantize(type, sample.weights, Int64(sample.rows), Int64(sample.columns), &bytes)
    return values(type, bytes, sample)
}

private let types = [MK_Q8_0, MK_Q4_0, MK_Q4_1, MK_IQ4_NL, MK_NF4, MK_Q4_K, MK_Q5_K, MK_Q6_K].map { Int32($0) }

@Suite("C kernels: quantizing with error feedback")
struct CKernelsFeedbackTests {
    @Test("moments of inputs, against sums in double, on one thread and three", arguments: InstructionSet.available)
    func gram(isa: InstructionSet) {
        for columns in [1, 17, 96, 200] {
            let sample = FeedbackCase(columns: max(columns, 4))
            let n = sample.columns
            let got = moments(isa.context(), sample.inputs, n)
            let scale = FeedbackCase.mean(sample.moments, n)
            var worst = 0.0
            for i in 0..<n { for j in i..<n { worst = max(worst, abs(got[i * n + j] - sample.moments[i * n + j])) } }
            #expect(worst < 2e-5 * scale)
            let more = moments(isa.context(threads: 3), sample.inputs, n)
            #expect((0..<n).allSatisfy { i in (i..<n).allSatisfy { got[i * n + $0] == more[i * n + $0] } })
        }
    }

    @Test("S·D·Sᵀ is the damped matrix again, whatever lies below the diagonal", arguments: InstructionSet.available)
    func factorization(isa: InstructionSet) {
        for n in [5, 64, 150] {
            let sample = FeedbackCase(columns: n)
            var upper = sample.moments
            for i in 0..<n { for j in 0..<i { upper[i * n + j] = .nan } }
            let (unit, weight) = factor(isa.context(), upper, n)
            let scale = FeedbackCase.mean(sample.moments, n)
            var worst = 0.0
            for i in 0..<n {
                #expect(unit[i * n + i] == 1 && (0..<i).allSatisfy { unit[i * n + $0] == 0 })
                for j in i..<n {
                    var product = 0.0
                    for k in j..<n {
                        let left = Double(unit[i * n + k]) * Double(weight[k])
                        product += left * Double(unit[j * n + k])
                    }
                    worst = max(worst, abs(product * scale - sample.damped[i * n + j]))
                }
            }
            #expect(worst < 1e-5 * scale)
            let more = factor(isa.context(threads: 3), upper, n)
            expectIdentical(more.unit, unit, "3 threads")
            expectIdentical(more.weight, weight, "3 threads")
        }
    }

    /// GPTQ as its paper has it: the Cholesky factor U of the inverse of H, column after column rounded to what the block's
    /// scale has, the error divided by U_cc and taken from the columns behind by U's row.
    @Test("with the scales that were chosen, the codes are those of GPTQ by the inverse")
    func reference() {
        let sample = FeedbackCase(columns: 96)
        let n = sample.columns
        let context = InstructionSet.available[0].context()
        let result = quantize(context, Int32(MK_Q4_0), sample, factor(context, sample.moments, n))
        let got = values(Int32(MK_Q4_0), result.bytes, sample)
        let upper = Self.upperCholesky(Self.inverse(sample.damped, n), n)
        var different = 0
        for row in 0..<sample.rows {
            var w = sample.weights[row * n..<(row + 1) * n].map { Double($0) }
            for c in 0..<n {
                let tile = (row / 16 * (n / 32) + c / 32) * 288 + 2 * (row % 16)
                let scale = Double(
                    Float16(bitPattern: UInt16(result.bytes[tile]) | UInt16(result.bytes[tile + 1]) << 8))
                let q = min(max((w[c] / scale).rounded(.toNearestOrEven), -8), 7)
                // Where two codes are as near in fp32, go on with the one that was chosen.
                let chosen = Double(got[row * n + c])
                if abs(q * scale - chosen) > 1e-9 {
                    #expect(
                        abs(abs(w[c] - q * scale) - abs(w[c] - chosen)) < 1e-4 * abs(scale), "row \(row) column \(c)")
                    different += 1
                }
                let error = (w[c] - chosen) / upper[c * n + c]
                for k in c..<n { w[k] -= error * upper[c * n + k] }
            }
        }
        #expect(different < 3)
    }

    @Test("every type loses less of the outputs than by plain rounding, and says how much", arguments: types)
    func errors(type: Int32) {
        let sample = FeedbackCase(columns: 512)
        let context = mk_context(isa: mk_isa_find(nil), pool: threadPool(2))
        let (bytes, errors) = quantize(context, type, sample, factor(context, sample.moments, 512))
        let got = values(type, bytes, sample)
        #expect(sample.total(got, sample.moments) < 0.65 * sample.total(plainly(type, sample), sample.moments))
        let scale = FeedbackCase.mean(sample.moments, 512)
        for row in 0..<sample.rows {
            let want = sample.error(got, row: row, sample.damped) / scale
            #expect(abs(Double(errors[row]) - want) < 1e-3 * want, "row \(row)")
        }
    }

    @Test("without correlations nothing is fed back: hardly more is lost than by plain rounding", arguments: types)
    func uncorrelated(type: Int32) {
        let sample = FeedbackCase(columns: 256)
        let context = mk_context(isa: mk_isa_find(nil), pool: nil)
        let none = [Double](repeating: 0, count: 256 * 256)
        let identity = (0..<256 * 256).map { $0 % 257 == 0 ? 1.0 : 0 }
        for h in [none, identity] {
            let (unit, weight) = factor(context, h, 256)
            #expect(unit.enumerated().allSatisfy { $1 == ($0 % 257 == 0 ? 1 : 0) } && Set(weight).count == 1)
            let got = values(type, quantize(context, type, sample, (unit, weight)).bytes, sample)
            let ratio = sample.total(got, identity) / sample.total(plainly(type, sample), identity)
            #expect(ratio < 1.02 && ratio > 0.9)
        }
    }

    @Test("the same bytes on every path and number of threads", arguments: types)
    func identical(type: Int32) {
        let sample = FeedbackCase(columns: 256)
        let context = mk_context(isa: mk_isa_find(nil), pool: nil)
        let factor = factor(context, sample.moments, 256)
        let want = quantize(context, type, sample, factor)
        for isa in InstructionSet.available {
            for threads in [1, 2, 3] as [Int32] {
                let got = quantize(isa.context(threads: threads), type, sample, factor)
                #expect(got.bytes == want.bytes && got.errors == want.errors, "\(isa.name), \(threads) threads")
            }
        }
    }

    @Test("weights too large for fp16 scales show as an infinite error; zeros stay zeros", arguments: types)
    func extremes(type: Int32) {
        let context = mk_context(isa: mk_isa_find(nil), pool: nil)
        let large = FeedbackCase(columns: 256, scale: 1e30)
        let factors = factor(context, large.moments, 256)
        if ![MK_Q4_K, MK_Q5_K, MK_Q6_K].map({ Int32($0) }).contains(type) {
            #expect(quantize(context, type, large, factors).errors.allSatisfy { $0 == .infinity })
        } else {
            #expect(quantize(context, type, large, factors).errors.allSatisfy { !$0.isFinite })
        }
        let zero = FeedbackCase(columns: 256, scale: 0)
        let (bytes, errors) = quantize(context, type, zero, factors)
        #expect(values(type, bytes, zero).allSatisfy { $0 == 0 } && errors.allSatisfy { $0 == 0 })
    }

    private static func inverse(_ h: [Double], _ n: Int) -> [Double] {
        var (a, b) = (h, (0..<n * n).map { $0 % (n + 1) == 0 ? 1.0 : 0 })
        for p in 0..<n {
            let pivot = a[p * n + p]
            for j in 0..<n {
                a[p * n + j] /= pivot
                b[p * n + j] /= pivot
            }
            for i in 0..<n where i != p {
                let factor = a[i * n + p]
                for j in 0..<n {
                    a[i * n + j] -= factor * a[p * n + j]
                    b[i * n + j] -= factor * b[p * n + j]
                }
            }
        }
        return b
    }

    /// U with UᵀU = a.
    private static func upperCholesky(_ a: [Double], _ n: Int) -> [Double] {
        var u = [Double](repeating: 0, count: n * n)
        for i in 0..<n {
            for j in i..<n {
                var sum = a[i * n + j]
                for k in 0..<i { sum -= u[k * n + i] * u[k * n + j] }
                u[i * n + j] = j == i ? sum.squareRoot() : sum / u[i * n + i]
            }
        }
        return u
    }
}
