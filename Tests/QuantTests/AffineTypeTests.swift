import Base
import CKernels
import Foundation
import TestSupport
import Testing

@testable import Quant

/// The types whose weights are s·q + m: q4_1 and the K-quants.
private let affine: [TensorType] = [.q4_1, .q4_k, .q5_k, .q6_k]

private func quantize(_ type: TensorType, _ source: [Float], rows: Int, columns: Int) -> [UInt8] {
    let count = mk_matrix_bytes(Int32(type.rawValue), Int64(rows), Int64(columns))
    // Junk in the destination must not survive, nor bytes behind it be touched.
    var bytes = [UInt8](repeating: 0xa5, count: count + 64)
    mk_quantize(Int32(type.rawValue), source, Int64(rows), Int64(columns), &bytes)
    #expect(bytes[count...].allSatisfy { $0 == 0xa5 })
    return Array(bytes[..<count])
}

private func dequantize(_ type: TensorType, _ bytes: [UInt8], rows: Int, columns: Int) -> [Float] {
    var values = [Float](repeating: .nan, count: rows * columns)
    bytes.withUnsafeBytes {
        var matrix = mk_matrix(
            type: Int32(type.rawValue), rows: Int64(rows), cols: Int64(columns), data: $0.baseAddress)
        mk_dequantize(&matrix, 0, Int64(rows), &values)
    }
    return values
}

private func squaredError(_ a: some Collection<Float>, _ b: some Collection<Float>) -> Double {
    zip(a, b).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
}

@Suite("Types with minimums and super-blocks")
struct AffineTypeTests {
    @Test(
        "blocks of a GGUF file lie in tiles with the values that gguf's reader gives, bit for bit",
        arguments: GGMLType.allCases)
    func tilesOfBlocks(type: GGMLType) throws {
        guard case .exactly(let own) = type.reading, own.isTiled else { return }
        let file = try SafetensorsFile(
            path: packageRoot().appendingPathComponent("Tests/QuantTests/Fixtures/ggml_blocks.safetensors").path)
        let entry = try #require(file.entry("\(type.name).blocks"))
        let blocks = file.file.withBytes { Array($0[entry.offset..<entry.offset + entry.byteCount]) }
        let want = try file.tensor("\(type.name).floats").floats()
        let (rows, columns) = (3, 512)
        #expect(want.count == rows * columns)
        var tiles = [UInt8](repeating: 0xa5, count: try #require(own.byteCount(rows: rows, columns: columns)) + 64)
        mk_ggml_to_tiles(Int32(type.rawValue), blocks, Int64(rows), Int64(columns), &tiles)
        #expect(tiles.suffix(64).allSatisfy { $0 == 0xa5 })
        let got = dequantize(own, tiles, rows: rows, columns: columns)
        #expect(got.map(\.bitPattern) == want.map(\.bitPattern), "\(type)")
        // Padding rows are zero in every bit.
        let padded = [UInt8](repeating: 0, count: tiles.count)
        let all = dequantize(own, tiles, rows: 16, columns: columns)
        #expect(all[want.count...].allSatisfy { $0 == 0 })
        #expect(dequantize(own, padded, rows: 1, columns: columns).allSatisfy { $0 == 0 })
    }

    /// The least squared error of 32 weights over a fine grid of ranges, without any limits on scale and minimum.
    private func leastError(_ block: ArraySlice<Float>, levels: Int, minimumIsBelow: Bool) -> Double {
        guard var low = block.min(), let high = block.max() else { return 0 }
        if minimumIsBelow { low = min(low, 0) }
        var least = Double.infinity
        for i in 0..<24 {
            for j in 0..<24 {
                let m = low + (high - low) * (-0.04 + 0.01 * Float(i))
                let top = high - (high - low) * (-0.04 + 0.01 * Float(j))
                let s = (top - m) / Float(levels)
                if minimumIsBelow && m > 0 { continue }
                let rounded = block.map { s * min(max((($0 - m) / s).rounded(), 0), Float(levels)) + m }
                least = min(least, squaredError(block, rounded))
            }
        }
        return least
    }

    @Test("the search leaves little more error than the best of 576 ranges for each block, which have no limits")
    func nearlyOptimal() {
        var random = SeededRandom(seed: 21)
        let (rows, columns) = (4, 512)
        let source = random.gaussians(rows * columns, scale: 0.02)
        // What integers in place of free scales and minimums may cost: K-quants choose among 64.
        for (type, levels, allowed) in [(TensorType.q4_1, 15, 1.01), (.q4_k, 15, 1.03), (.q5_k, 31, 1.08)] {
            let values = dequantize(
                type, quantize(type, source, rows: rows, columns: columns), rows: rows, columns: columns)
            var least = 0.0
            for start in stride(from: 0, to: source.count, by: 32) {
                least += leastError(source[start..<start + 32], levels: levels, minimumIsBelow: type != .q4_1)
            }
            let found = squaredError(source, values)
            #expect(found <= allowed * least && found >= 0.9 * least, "\(type): \(found / least)")
        }
        // q6_k: 16 weights with 64 levels around 0, against steps of the largest weight by 31.5.
        let six = dequantize(
            .q6_k, quantize(.q6_k, source, rows: rows, columns: columns), rows: rows, columns: columns)
        var plain = 0.0
        for start in stride(from: 0, to: source.count, by: 16) {
            let block = source[start..<start + 16]
            let s = (block.map { abs($0) }.max() ?? 0) / 31
            plain += squaredError(block, block.map { s * ($0 / s).rounded() })
        }
        #expect(squaredError(source, six) < 0.9 * plain, "\(squaredError(source, six) / plain)")
    }

    @Test("weights of a grid come back: a conversion of a conversion loses next to nothing", arguments: affine)
    func again(type: TensorType) {
        var random = SeededRandom(seed: 22)
        let (rows, columns) = (20, 512)
        let source = random.gaussians(rows * columns, scale: 0.02)
        let once = dequantize(type, quantize(type, source, rows: rows, columns: columns), rows: rows, columns: columns)
        let twice = dequantize(type, quantize(type, once, rows: rows, columns: columns), rows: rows, columns: columns)
        #expect(squaredError(once, twice) < 0.3 * squaredError(source, once))
    }

    @Test("slices of 16 rows give the bytes of the whole; rows that are missing are zero", arguments: affine)
    func slices(type: TensorType) throws {
        var random = SeededRandom(seed: 23)
        let (rows, columns) = (37, 512)
        let source = random.gaussians(rows * columns, scale: 0.05)
        let bytes = quantize(type, source, rows: rows, columns: columns)
        let group = try #require(type.byteCount(rows: 16, columns: columns))
        #expect(
            quantize(type, Array(source[(16 * columns)...]), rows: rows - 16, columns: columns)
                == Array(bytes[group...]))
        let last = dequantize(type, Array(bytes[(2 * group)...]), rows: 16, columns: columns)
        #expect(last[(5 * columns)...].allSatisfy { $0 == 0 } && last[..<(5 * columns)].contains { $0 != 0 })
    }

    @Test("zero, constant, one-sided, tiny and huge weights", arguments: affine)
    func extremes(type: TensorType) {
        let columns = 256
        func back(_ row: [Float]) -> [Float] {
            dequantize(type, quantize(type, row, rows: 1, columns: columns), rows: 1, columns: columns)
        }
        #expect(back([Float](repeating: 0, count: columns)).allSatisfy { $0 == 0 })
        for constant in [Float(0.5), -0.5, 3] {
            let values = back([Float](repeating: constant, count: columns))
            #expect(values.allSatisfy { abs($0 - constant) <= 0.005 * abs(constant) }, "\(type) \(constant)")
        }
        for sign in [Float(1), -1] {
            let row = (0..<columns).map { sign * (1 + Float($0 % 37) / 37) }
            #expect(relativeL2(back(row), row) < 0.05, "\(type): weights of one sign")
        }
        for magnitude in [Float(1e-45), 1e-38, 1e-20, 1e-9, 1e-5, 1, 1e4] {
            let values = back((0..<columns).map { Float($0 % 31 - 15) / 16 * magnitude })
            #expect(values.allSatisfy { $0.isFinite && abs($0) <= 2 * magnitude + 2e-5 }, "\(type) \(magnitude)")
        }
        // The caller finds an infinite scale or minimum and refuses it.
        for magnitude in [Float(1e12), 3.4e38] {
            let bytes = quantize(
                type, (0..<columns).map { Float($0 % 31 - 15) / 16 * magnitude }, rows: 1, columns: columns)
            let halves = (0..<type.tileHalfCount).map { UInt16(bytes[2 * $0]) | UInt16(bytes[2 * $0 + 1]) << 8 }
            #expect(halves.contains { $0 & 0x7FFF == 0x7C00 }, "\(type) \(magnitude)")
        }
    }

    @Test("any bytes dequantize without a crash", arguments: affine)
    func hostile(type: TensorType) throws {
        var random = SeededRandom(seed: 24)
        let count = try #require(type.byteCount(rows: 32, columns: 512))
        let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let values = dequantize(type, bytes, rows: 32, columns: 512)
        #expect(values.contains { $0.isFinite })
    }
}
