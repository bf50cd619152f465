import CKernels
import Foundation
import TestSupport
import Testing

/// The tiled types with their codebooks, written here a second time (ggml's tables; NF4 from the QLoRA paper).
private enum Tiled: Int32, CaseIterable, Sendable {
    case q40 = 2
    case q80 = 8
    case iq4nl = 20
    case nf4 = 1001

    /// What each 4-bit code stands for, in units of the scale.
    var codebook: [Int]? {
        switch self {
        case .q80: nil
        case .q40: Array(-8..<8)
        case .iq4nl: [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
        case .nf4:
            [
                -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
                0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
                1,
            ].map { Int((127 * $0).rounded()) }
        }
    }

    var tileBytes: Int { self == .q80 ? 544 : 288 }

    /// The code at (row, column) of a tile, as docs/reference/format.md places it.
    func value(_ tile: ArraySlice<UInt8>, row: Int, column: Int) -> Int {
        let quants = tile.dropFirst(32)
        guard let codebook else {
            return Int(Int8(bitPattern: quants[quants.startIndex + 64 * (column / 4) + 4 * row + column % 4]))
        }
        let byte = quants[quants.startIndex + 64 * (column / 8) + 4 * row + column % 4]
        return codebook[Int(column % 8 < 4 ? byte & 15 : byte >> 4)]
    }

    func scale(_ tile: ArraySlice<UInt8>, row: Int) -> Float16 {
        let at = tile.startIndex + 2 * row
        return Float16(bitPattern: UInt16(tile[at]) | UInt16(tile[at + 1]) << 8)
    }
}

private func quantize(_ type: Int32, _ source: [Float], rows: Int, columns: Int) -> [UInt8] {
    let count = mk_matrix_bytes(type, Int64(rows), Int64(columns))
    // Junk in the destination must not survive, nor bytes behind it be touched.
    var bytes = [UInt8](repeating: 0xa5, count: count + 64)
    mk_quantize(type, source, Int64(rows), Int64(columns), &bytes)
    #expect(bytes[count...].allSatisfy { $0 == 0xa5 })
    return Array(bytes[..<count])
}

private func dequantize(_ type: Int32, _ bytes: [UInt8], rows: Int, columns: Int, from row0: Int = 0, count: Int? = nil)
    -> [Float]
{
    bytes.withUnsafeBytes { raw in
        var matrix = mk_matrix(type: type, rows: Int64(rows), cols: Int64(columns), data: raw.baseAddress)
        var out = [Float](repeating: .nan, count: (count ?? rows) * columns + 16)
        mk_dequantize(&matrix, Int64(row0), Int64(count ?? rows), &out)
        #expect(out.suffix(16).allSatisfy { $0.isNaN })
        return Array(out.dropLast(16))
    }
}

@Suite("Quantize and dequantize")
struct QuantizeTests {
    @Test("sizes: tiles of 288 and 544 bytes over rows rounded up to 16")
    func sizes() {
        #expect(mk_matrix_bytes(Int32(MK_IQ4_NL), 1, 32) == 288)
        #expect(mk_matrix_bytes(Int32(MK_Q4_0), 17, 64) == 4 * 288)
        #expect(mk_matrix_bytes(Int32(MK_NF4), 16, 32) == 288)
        #expect(mk_matrix_bytes(Int32(MK_Q8_0), 33, 96) == 9 * 544)
        #expect(mk_matrix_bytes(Int32(MK_F32), 3, 5) == 60)
        #expect(mk_matrix_bytes(Int32(MK_BF16), 3, 5) == 30)
        #expect(mk_matrix_bytes(Int32(MK_F16), 3, 5) == 30)
        #expect(mk_matrix_bytes(Int32(MK_Q8_0), 16, 33) == 0)
        #expect(mk_matrix_bytes(6, 16, 32) == 0)
        #expect(mk_matrix_bytes(Int32(MK_F32), -1, 32) == 0)
        for type in Tiled.allCases { #expect(mk_type_is_tiled(type.rawValue)) }
        for type in [MK_F32, MK_F16, MK_BF16] { #expect(!mk_type_is_tiled(Int32(type))) }
    }

    @Test("the codebooks are those of ggml and of NF4")
    func codebooks() {
        for type in Tiled.allCases {
            let book = mk_codebook(type.rawValue)
            #expect((book == nil) == (type.codebook == nil))
            if let book, let want = type.codebook { #expect((0..<16).map { Int(book[$0]) } == want) }
        }
        #expect(mk_codebook(0) == nil)
    }

    @Test(
        "the bytes of a tile, read by the letter of the format, are what dequantize returns", arguments: Tiled.allCases)
    fileprivate func layout(type: Tiled) {
        for (rows, columns) in [(1, 32), (16, 32), (17, 96), (40, 64)] {
            var random = SeededRandom(seed: UInt64(rows))
            let source = random.gaussians(rows * columns, scale: 0.05)
            let bytes = quantize(type.rawValue, source, rows: rows, columns: columns)
            let values = dequantize(type.rawValue, bytes, rows: rows, columns: columns)
            let tilesAcross = columns / 32
            for row in 0..<rows {
                for column in 0..<columns {
                    let index = row / 16 * tilesAcross + column / 32
                    let tile = bytes[(index * type.tileBytes)..<((index + 1) * type.tileBytes)]
                    let want =
                        Float(type.scale(tile, row: row % 16))
                        * Float(type.value(tile, row: row % 16, column: column % 32))
                    #expect(values[row * columns + column] == want, "row \(row), column \(column)")
                }
            }
            // Padding rows: zero scales, in every tile of the last group.
            for tile in ((rows - 1) / 16 * tilesAcross)..<((rows + 15) / 16 * tilesAcross) where rows % 16 != 0 {
                let scales = bytes[(tile * type.tileBytes)..<(tile * type.tileBytes + 32)]
                #expect(scales.dropFirst(2 * (rows % 16)).allSatisfy { $0 == 0 })
            }
            // Any range of rows, and slices that start at a multiple of 16.
            for (first, count) in [(0, 1), (rows - 1, 1), (rows / 2, rows - rows / 2)] {
                let part = dequantize(type.rawValue, bytes, rows: rows, columns: columns, from: first, count: count)
                #expect(part == Array(values[(first * columns)..<((first + count) * columns)]))
            }
            if rows > 16 {
                let slice = quantize(
                    type.rawValue, Array(source[(16 * columns)...]), rows: rows - 16, columns: columns)
                #expect(slice == Array(bytes[(tilesAcross * type.tileBytes)...]))
            }
        }
    }

    @Test("4-bit columns 8j + c and 8j + 4 + c share byte 64j + 4r + c; 8-bit column 4j + c has its own")
    func knownBytes() {
        // q4_0, weights equal to codes: row r, column c holds (r + c) mod 16 - 8, so d = 1 is exact.
        let source = (0..<16).flatMap { r in (0..<32).map { c in Float((r + c) % 16 - 8) } }
        let four = quantize(Int32(MK_Q4_0), source, rows: 16, columns: 32)
        let one = Float16(1).bitPattern
        #expect((0..<16).allSatisfy { UInt16(four[2 * $0]) | UInt16(four[2 * $0 + 1]) << 8 == one })
        for j in 0..<4 {
            for r in 0..<16 {
                for c in 0..<4 {
                    let (low, high) = ((r + 8 * j + c) % 16, (r + 8 * j + 4 + c) % 16)
                    #expect(four[32 + 64 * j + 4 * r + c] == UInt8(low | high << 4))
                }
            }
        }
        // q8_0: every row has a weight of 127, so d = 1.
        var wide: [Float] = []
        for r in 0..<16 {
            for c in 0..<32 { wide.append(c == r ? 127 : Float(r * 7 - c * 3)) }
        }
        let eight = quantize(Int32(MK_Q8_0), wide, rows: 16, columns: 32)
        for j in 0..<8 {
            for r in 0..<16 {
                for c in 0..<4 {
                    let want = wide[32 * r + 4 * j + c]
                    #expect(Int8(bitPattern: eight[32 + 64 * j + 4 * r + c]) == Int8(want))
                }
            }
        }
    }

    @Test(
        "the search leaves less error than fitting the largest weight exactly", arguments: Tiled.allCases
    )
    fileprivate func search(type: Tiled) {
        var random = SeededRandom(seed: 11)
        let (rows, columns) = (64, 128)
        var source = random.gaussians(rows * columns, scale: 0.03)
        for i in stride(from: 5, to: source.count, by: 97) { source[i] *= 6 }  // outliers
        let bytes = quantize(type.rawValue, source, rows: rows, columns: columns)
        let values = dequantize(type.rawValue, bytes, rows: rows, columns: columns)
        let levels = type.codebook ?? Array(-127...127)
        let widest = zip(levels.dropFirst(), levels).map { Double($0 - $1) }.max() ?? 0
        var (error, plainError, uniform) = (0.0, 0.0, 0.0)
        for start in stride(from: 0, to: source.count, by: 32) {
            let block = source[start..<(start + 32)].map(Double.init)
            let largest = block.max { abs($0) < abs($1) } ?? 0
            let row = source[(start / columns * columns)..<((start / columns + 1) * columns)]
            let meanSquare = row.reduce(0) { $0 + Double($1) * Double($1) } / Double(columns)
            let d = Double(Float16(Float(largest / Double(levels[0]))))
            for (i, x) in block.enumerated() {
                let plain = levels.map { abs(x - d * Double($0)) }.min() ?? 0
                let got = x - Double(values[start + i])
                // The weighting that the search minimises: all alike where the levels are evenly spaced, else large
                // weights count more and small ones do not vanish.
                let weight = type == .q40 || type == .q80 ? 1 : (meanSquare + x * x).squareRoot()
                error += weight * got * got
                plainError += weight * plain * plain
                uniform += weight * (widest * d) * (widest * d) / 12
            }
        }
        #expect(error < plainError)
        // What evenly distributed rounding errors at the widest step would leave.
        #expect(error < uniform)
    }

    @Test("codes are the nearest ones for the stored scale", arguments: Tiled.allCases)
    fileprivate func nearest(type: Tiled) {
        var random = SeededRandom(seed: 12)
        let source = random.gaussians(16 * 64)
        let bytes = quantize(type.rawValue, source, rows: 16, columns: 64)
        let levels = (type.codebook ?? Array(-127...127)).map(Double.init)
        for row in 0..<16 {
            for column in 0..<64 {
                let tile = bytes[(column / 32 * type.tileBytes)..<((column / 32 + 1) * type.tileBytes)]
                let d = Double(type.scale(tile, row: row))
                let x = Double(source[row * 64 + column])
                let got = abs(x - d * Double(type.value(tile, row: row, column: column % 32)))
                let best = levels.map { abs(x - d * $0) }.min() ?? 0
                #expect(got <= best + 1e-6 * abs(x), "row \(row), column \(column)")
            }
        }
    }

    @Test(
        "zero blocks have scale 0; tiny weights stay finite, too large ones show as infinite scales",
        arguments: Tiled.allCases)
    fileprivate func extremes(type: Tiled) {
        let zero = quantize(type.rawValue, [Float](repeating: 0, count: 32), rows: 1, columns: 32)
        #expect(zero[..<32].allSatisfy { $0 == 0 })
        #expect(dequantize(type.rawValue, zero, rows: 1, columns: 32).allSatisfy { $0 == 0 })
        let magnitudes: [Float] = [1e-45, 1e-38, 1e-20, 1e-9, 1e-5, 1, 1e4, 1e5, 1e20, 3.4e38]
        for magnitude in magnitudes {
            let source = (0..<32).map { Float($0 - 15) / 16 * magnitude }
            let bytes = quantize(type.rawValue, source, rows: 1, columns: 32)
            if magnitude > 1e10 {
                #expect(type.scale(bytes[...], row: 0).isInfinite, "\(magnitude)")
                continue
            }
            let values = dequantize(type.rawValue, bytes, rows: 1, columns: 32)
            #expect(values.allSatisfy { $0.isFinite }, "\(magnitude)")
            if magnitude >= 1e-2 { #expect(relativeL2(values, source) < 0.15, "\(magnitude)") }
        }
    }

    @Test("every half-precision number converts exactly, and rounding is to nearest even")
    func halves() {
        let all = (0...UInt16.max).map { $0 }
        let bytes = all.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] }
        let values = dequantize(Int32(MK_F16), bytes, rows: 1, columns: all.count)
        for (bits, value) in zip(all, values) {
            let want = Float(Float16(bitPattern: bits))
            guard want.isNaN == value.isNaN, want.isNaN || want.bitPattern == value.bitPattern else {
                Issue.record("half \(bits) became \(value), want \(want)")
                return
            }
        }
        // Every float between neighbours that matters: the half itself, the middle and a hair on both sides of it.
        var sources: [Float] = [65519.996, 65520, 1e30, -65520, 0x1p-25, 0x1.000002p-25, -0.0, 0x1p-24]
        for bits in stride(from: UInt16(0), to: 0x7bff, by: 37) {
            let middle = (Float(Float16(bitPattern: bits)) + Float(Float16(bitPattern: bits + 1))) / 2
            sources += [middle, middle.nextUp, middle.nextDown, -middle]
        }
        let stored = quantize(Int32(MK_F16), sources, rows: 1, columns: sources.count)
        for (i, source) in sources.enumerated() {
            let got = UInt16(stored[2 * i]) | UInt16(stored[2 * i + 1]) << 8
            #expect(got == Float16(source).bitPattern, "\(source)")
        }
    }

    @Test("bfloat16 rounds to nearest even and keeps infinities and NaNs")
    func bfloats() {
        let patterns: [(UInt32, UInt16)] = [
            (0x3f80_0000, 0x3f80), (0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81),
            (0x7f80_0000, 0x7f80), (0xff80_0000, 0xff80), (0x7f7f_ffff, 0x7f80), (0x0000_0001, 0),
            (0x8000_0000, 0x8000),
        ]
        let stored = quantize(
            Int32(MK_BF16), patterns.map { Float(bitPattern: $0.0) }, rows: 1, columns: patterns.count)
        for (i, pattern) in patterns.enumerated() {
            #expect(UInt16(stored[2 * i]) | UInt16(stored[2 * i + 1]) << 8 == pattern.1)
        }
        let back = dequantize(Int32(MK_BF16), stored, rows: 1, columns: patterns.count)
        #expect(back.map(\.bitPattern) == patterns.map { UInt32($0.1) << 16 })
        let nan = quantize(Int32(MK_BF16), [Float(bitPattern: 0x7f80_0001)], rows: 1, columns: 1)
        #expect(dequantize(Int32(MK_BF16), nan, rows: 1, columns: 1)[0].isNaN)
    }

    @Test("fp32 is stored as it is, at any address")
    func singles() {
        let source: [Float] = [1, -2.5, .pi, 1e-42, .infinity]
        let bytes = quantize(Int32(MK_F32), source, rows: 1, columns: 5)
        let shifted: [UInt8] = [0xff] + bytes
        let values = shifted.withUnsafeBytes { raw -> [Float] in
            var matrix = mk_matrix(
                type: Int32(MK_F32), rows: 1, cols: 5, data: raw.baseAddress.map { $0 + 1 })
            var out = [Float](repeating: 0, count: 5)
            mk_dequantize(&matrix, 0, 1, &out)
            return out
        }
        #expect(values == source)
    }

    @Test("any bytes dequantize without a crash: scales may be infinite or NaN", arguments: Tiled.allCases)
    fileprivate func hostile(type: Tiled) {
        var random = SeededRandom(seed: 13)
        let bytes = (0..<(4 * type.tileBytes)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let values = dequantize(type.rawValue, bytes, rows: 32, columns: 64)
        for row in 0..<32 {
            let tile = bytes[(row / 16 * 2 * type.tileBytes)..<((row / 16 * 2 + 1) * type.tileBytes)]
            if type.scale(tile, row: row % 16).isFinite {
                let finite = values[(row * 64)..<(row * 64 + 32)].allSatisfy { $0.isFinite }
                #expect(finite)
            }
        }
    }
}
