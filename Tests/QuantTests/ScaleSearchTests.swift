import Base
import CKernels
import Foundation
import TestSupport
import Testing

/// The scale search of `mk_quantize` against one that tries far more scales, written plainly.
struct ScaleSearchTests {
    /// The values that a weight may take, divided by the scale.
    static func levels(_ type: Int32) -> [Float] {
        if let codebook = mk_codebook(type) { return (0..<16).map { Float(codebook[$0]) } }
        return (-127...127).map(Float.init)
    }

    static func restored(_ source: [Float], type: Int32, rows: Int, columns: Int) -> (values: [Float], bytes: [UInt8]) {
        var bytes = [UInt8](repeating: 0xAA, count: mk_matrix_bytes(type, Int64(rows), Int64(columns)))
        mk_quantize(type, source, Int64(rows), Int64(columns), &bytes)
        var values = [Float](repeating: .nan, count: rows * columns)
        bytes.withUnsafeBytes { data in
            var matrix = mk_matrix(type: type, rows: Int64(rows), cols: Int64(columns), data: data.baseAddress)
            mk_dequantize(&matrix, 0, Int64(rows), &values)
        }
        return (values, bytes)
    }

    /// Sum of w (x - y)^2, w = sqrt(spread + x^2), spread the mean square of the row; w = 1 without.
    static func error(_ x: ArraySlice<Float>, _ y: ArraySlice<Float>, spread: Double?) -> Double {
        zip(x, y).reduce(0) { sum, pair in
            let difference = Double(pair.0) - Double(pair.1)
            let weight = spread.map { ($0 + Double(pair.0) * Double(pair.0)).squareRoot() } ?? 1
            return sum + weight * difference * difference
        }
    }

    /// The least error of 300 scales, each rounded to fp16, from 0.7 to 1.3 times an exact fit of the largest weight.
    static func leastError(_ block: ArraySlice<Float>, levels: [Float], spread: Double?) -> Double {
        guard let largest = block.max(by: { abs($0) < abs($1) }), let low = levels.first, let high = levels.last else {
            return 0
        }
        var least = Double.infinity
        for end in [low, high] {
            for step in 0..<150 {
                let d = Float(Float16(largest / (end * (0.7 + 0.004 * Float(step)))))
                let rounded = block.map { x -> Float in
                    let y = x / d
                    let above = levels.firstIndex { $0 >= y } ?? levels.count - 1
                    let below = max(above - 1, 0)
                    return d * (y - levels[below] < levels[above] - y ? levels[below] : levels[above])
                }
                least = min(least, error(block, rounded[...], spread: spread))
            }
        }
        return least
    }

    @Test(
        "The search comes within 1 % (8 bits: 6 %) of the error of the best of 300 scales",
        arguments: [MK_Q4_0, MK_IQ4_NL, MK_NF4, MK_Q8_0])
    func nearlyOptimal(type: Int) {
        let type = Int32(type)
        var random = SeededRandom(seed: 7)
        let columns = 256
        let source = random.gaussians(4 * columns, scale: 0.02)
        let values = Self.restored(source, type: type, rows: 4, columns: columns).values
        let levels = Self.levels(type)
        var found = 0.0
        var best = 0.0
        for row in 0..<4 {
            let x = source[row * columns..<(row + 1) * columns]
            let even = type == Int32(MK_Q4_0) || type == Int32(MK_Q8_0)
            let spread = even ? nil : x.reduce(0) { $0 + Double($1) * Double($1) } / Double(columns)
            for start in stride(from: x.startIndex, to: x.endIndex, by: 32) {
                found += Self.error(x[start..<start + 32], values[start..<start + 32], spread: spread)
                best += Self.leastError(x[start..<start + 32], levels: levels, spread: spread)
            }
        }
        #expect(found <= best * (type == Int32(MK_Q8_0) ? 1.06 : 1.01), "\(found / best)")
        // The reference is a search too: it may miss by a little (8 bits: more, its steps are coarse), not by much.
        #expect(found >= best * (type == Int32(MK_Q8_0) ? 0.9 : 0.99), "\(found / best)")
    }

    @Test("Blocks far apart in size, tiny and zero ones included, are rounded each on its own scale")
    func mixedSizes() {
        var random = SeededRandom(seed: 8)
        let scales: [Float] = [1, 1e-2, 3e-6, 0, 1e3]
        let source = (0..<3).flatMap { _ in scales.flatMap { random.gaussians(32, scale: $0) } }
        for type in [MK_Q4_0, MK_IQ4_NL, MK_NF4, MK_Q8_0].map({ Int32($0) }) {
            let (values, bytes) = Self.restored(source, type: type, rows: 3, columns: 160)
            for start in stride(from: 0, to: source.count, by: 32) {
                let largest = source[start..<start + 32].map(abs).max() ?? 0
                // Half of the widest step of any codebook (q4_0: an eighth of the largest), or of the smallest fp16 (nf4: 17.5 x 6e-8).
                for i in start..<start + 32 {
                    #expect(abs(values[i] - source[i]) <= max(largest / 8, 1.1e-6), "type \(type), weight \(i)")
                }
            }
            // Padding rows: zero scales, zero codes.
            let tileBytes = bytes.count / 5
            for tile in stride(from: 0, to: bytes.count, by: tileBytes) {
                #expect(bytes[tile + 6..<tile + 32].allSatisfy { $0 == 0 })
            }
        }
    }

    @Test("Weights too large for an fp16 scale get an infinite one, for the caller to refuse")
    func tooLarge() {
        for type in [MK_Q4_0, MK_IQ4_NL, MK_NF4, MK_Q8_0].map({ Int32($0) }) {
            var source = [Float](repeating: 1, count: 64)
            source[40] = 1e30
            let bytes = Self.restored(source, type: type, rows: 1, columns: 64).bytes
            let second = bytes.count / 2
            #expect(bytes[1] & 0x7C != 0x7C)
            #expect(bytes[second] == 0 && bytes[second + 1] & 0x7F == 0x7C, "type \(type)")
        }
    }
}
