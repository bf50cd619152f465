import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("bitsandbytes' NF4")
struct NF4Tests {
    @Test("the values are those of the normal distribution's quantiles, and each is its own nearest")
    func values() {
        #expect(NF4.values.count == 16 && NF4.values == NF4.values.sorted())
        for (code, value) in NF4.values.enumerated() { #expect(NF4.code(of: value) == code) }
        // QLoRA, appendix E: halves of both sides are the means of neighbouring quantiles between offset and 1/2.
        let offset = 0.9677083
        func quantile(_ p: Double) -> Double {
            var (low, high) = (-8.0, 8.0)
            for _ in 0..<80 {
                let middle = (low + high) / 2
                if 0.5 * erfc(-middle / 2.0.squareRoot()) < p { low = middle } else { high = middle }
            }
            return low
        }
        let up = (0..<8).map { quantile(offset - (offset - 0.5) * Double($0) / 8) }
        let down = (0..<7).map { -quantile(offset - (offset - 0.5) * Double($0) / 7) }
        let expected = (up + down + [0]).sorted().map { $0 / quantile(offset) }
        for (value, wanted) in zip(NF4.values, expected) { #expect(abs(Double(value) - wanted) < 2e-6) }
    }

    @Test("a code is the nearest value's, and a block is rounded by its own largest magnitude")
    func rounds() {
        var random = SeededRandom(seed: 3)
        var numbers = (0..<200).map { index in Float.random(in: -1...1, using: &random) * (index < 64 ? 100 : 0.01) }
        for i in 128..<192 { numbers[i] = 0 }
        var rounded = numbers
        rounded.withUnsafeMutableBufferPointer { NF4.round($0) }
        for start in stride(from: 0, to: numbers.count, by: 64) {
            let block = start..<min(start + 64, numbers.count)
            let scale = numbers[block].map(abs).max() ?? 0
            for i in block {
                let nearest = NF4.values.map { $0 * scale }.min { abs($0 - numbers[i]) < abs($1 - numbers[i]) } ?? 0
                #expect(abs(rounded[i] - nearest) <= 1e-6 * scale, "\(i)")
            }
        }
        let once = rounded
        rounded.withUnsafeMutableBufferPointer { NF4.round($0) }
        #expect(rounded == once)
    }

    @Test("rows are those of the whole tensor, though blocks run over their ends, and only layers are rounded")
    func weights() throws {
        let source = try openTensorSource(path: tinychatFolder().path)
        let weights = try NF4Weights(source)
        let name = try #require(source.tensorNames.first { $0.hasSuffix("q_proj.weight") })
        let entry = try source.tensorEntry(name)
        func read(_ rows: any TensorRows, _ range: Range<Int>) throws -> [Float] {
            var (result, raw) = ([Float](repeating: 0, count: range.count * entry.columns), [UInt8]())
            try result.withUnsafeMutableBufferPointer { buffer in
                if let base = buffer.baseAddress { try rows.read(rows: range, into: base, raw: &raw) }
            }
            return result
        }
        var whole = try read(source.rows(of: name), 0..<entry.rows)
        let plain = whole
        whole.withUnsafeMutableBufferPointer { NF4.round($0) }
        #expect(whole != plain)
        for range in [0..<1, 3..<4, 5..<22, entry.rows - 1..<entry.rows] {
            let found = try read(weights.rows(of: name), range)
            #expect(found == Array(whole[range.lowerBound * entry.columns..<range.upperBound * entry.columns]))
        }
        let embedding = try #require(source.tensorNames.first { $0.contains("embed_tokens") })
        #expect(try weights.rows(of: embedding) is StoredRows)
        #expect(try weights.entry(name)?.exactType == .bf16)
    }
}
