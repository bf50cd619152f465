import Base
import CKernels
import TestSupport
import Testing

/// The int8 product as it is specified, in scalars: exact integers, both scales multiplied first, one chain of fp32
/// additions over the blocks of 32 columns.
private struct Int8Reference {
    /// Weights [rows][columns] as integers.
    var codes: [Int32] = []
    /// Their scales [rows][blocks].
    var scales: [Float] = []
    let rows: Int
    let columns: Int

    /// Reads the tiles as docs/format.md has them.
    init(_ weight: Weight) {
        (rows, columns) = (weight.rows, weight.columns)
        let book = mk_codebook(weight.type.rawValue)
        let tileBytes = book == nil ? Int(MK_TILE_BYTES_8BIT) : Int(MK_TILE_BYTES_4BIT)
        for row in 0..<rows {
            for block in 0..<(columns / 32) {
                let tile = (row / 16 * (columns / 32) + block) * tileBytes
                let low = UInt16(weight.storage[tile + row % 16 * 2])
                scales.append(Self.half(low | UInt16(weight.storage[tile + row % 16 * 2 + 1]) << 8))
                for c in 0..<32 {
                    if let book {
                        let byte = weight.storage[tile + 32 + 64 * (c / 8) + 4 * (row % 16) + c % 4]
                        codes.append(Int32(book[Int(c % 8 < 4 ? byte & 15 : byte >> 4)]))
                    } else {
                        let byte = weight.storage[tile + 32 + 64 * (c / 4) + 4 * (row % 16) + c % 4]
                        codes.append(Int32(Int8(bitPattern: byte)))
                    }
                }
            }
        }
    }

    /// A finite binary16.
    private static func half(_ bits: UInt16) -> Float {
        let (exponent, mantissa) = (Int(bits >> 10 & 31), Float(bits & 1023))
        let magnitude =
            exponent == 0
            ? Float(sign: .plus, exponent: -24, significand: mantissa)
            : Float(sign: .plus, exponent: exponent - 25, significand: 1024 + mantissa)
        return bits >> 15 == 1 ? -magnitude : magnitude
    }

    /// y [tokens][rows]; `fused`: the last product and sum of a step are one operation.
    func products(_ x: [Float], fused: Bool) -> [Float] {
        let blocks = columns / 32
        var y: [Float] = []
        for start in stride(from: 0, to: x.count, by: columns) {
            var (units, rounded): ([Float], [Int32]) = ([], [])
            for block in 0..<blocks {
                let values = x[(start + 32 * block)..<(start + 32 * block + 32)]
                let unit = (values.map(abs).max() ?? 0) / 127
                let inverse = unit > 0 ? 1 / unit : 0
                units.append(unit)
                for value in values {
                    rounded.append(Int32(min(127, max(-127, (value * inverse).rounded(.toNearestOrEven)))))
                }
            }
            for row in 0..<rows {
                var sum: Float = 0
                for block in 0..<blocks {
                    var dot: Int32 = 0
                    for c in (32 * block)..<(32 * block + 32) { dot += codes[row * columns + c] * rounded[c] }
                    let scale = scales[row * blocks + block] * units[block]
                    sum = fused ? sum.addingProduct(scale, Float(dot)) : sum + scale * Float(dot)
                }
                y.append(sum)
            }
        }
        return y
    }
}

@Suite("C kernels: int8 products")
struct CKernelsInt8Tests {
    private static let tiled = WeightType.allCases.filter(\.isTiled)

    /// Any codes; finite scales of both signs.
    private func weight(_ type: WeightType, rows: Int, columns: Int, _ random: inout SeededRandom) -> Weight {
        let weight = Weight(type, rows: rows, columns: columns, source: [Float](repeating: 1, count: rows * columns))
        let tileBytes = mk_codebook(type.rawValue) == nil ? Int(MK_TILE_BYTES_8BIT) : Int(MK_TILE_BYTES_4BIT)
        for i in weight.storage.indices {
            let byte = UInt8(truncatingIfNeeded: random.next())
            // The high byte of a scale keeps its exponent at 8 ... 11.
            weight.storage[i] = i % tileBytes < 32 && i % 2 == 1 ? byte & 0x8f | 0x20 : byte
        }
        return weight
    }

    private func isFused(_ isa: InstructionSet) -> Bool {
        #if arch(x86_64)
            isa.name != "portable"  // plain x86-64 has no fused multiply-add
        #else
            true
        #endif
    }

    @Test("every path gives the bits of the scalar definition, whatever the shape", arguments: tiled)
    func exact(type: WeightType) {
        var random = SeededRandom(seed: 11)
        for (rows, columns, tokens) in [
            (1, 32, 1), (15, 64, 2), (33, 32, 3), (47, 96, 4), (16, 32, 5), (49, 288, 6), (17, 64, 7), (32, 96, 11),
            (20, 320, 13), (65, 32, 25), (18, 32, 70), (40, 64, 150),
        ] {
            let weight = weight(type, rows: rows, columns: columns, &random)
            let reference = Int8Reference(weight)
            var x = random.gaussians(tokens * columns)
            for i in 0..<32 { x[i] = 0 }  // a block without a scale
            let start = random.gaussians(tokens * rows)
            let want = (fused: reference.products(x, fused: true), plain: reference.products(x, fused: false))
            for isa in InstructionSet.available {
                let product = isFused(isa) ? want.fused : want.plain
                let what = "\(type) \(rows) x \(columns), \(tokens) tokens, \(isa.name)"
                for threads in [1, 2] as [Int32] {
                    let got = forward(isa, weight, x, tokens: tokens, threads: threads)
                    expectIdentical(got, product, "\(what), \(threads) threads")
                }
                let added = forward(isa, weight, x, tokens: tokens, onto: start)
                expectIdentical(added, zip(start, product).map { $0 + $1 }, "\(what) accumulated")
            }
        }
    }

    @Test("the largest codes do not saturate", arguments: tiled)
    func largest(type: WeightType) {
        var random = SeededRandom(seed: 12)
        let (rows, columns, tokens) = (16, 64, 7)
        let weight = weight(type, rows: rows, columns: columns, &random)
        let tileBytes = weight.storage.count / 2
        // Every row at one end of its range: the lowest (8 bits: -128; 4 bits: index 0) or the highest.
        for i in weight.storage.indices where i % tileBytes >= 32 {
            let low = (i % tileBytes - 32) / 4 % 2 == 0
            weight.storage[i] = mk_codebook(type.rawValue) == nil ? (low ? 0x80 : 0x7f) : (low ? 0 : 0xff)
        }
        // Every activation rounds to 127 or -127: whole tokens of one sign, then mixed.
        var x = [Float](repeating: 1, count: tokens * columns)
        for i in x.indices where i / columns == 1 || i / columns > 1 && random.next() % 2 == 0 { x[i] = -1 }
        let reference = Int8Reference(weight)
        for isa in InstructionSet.available {
            let got = forward(isa, weight, x, tokens: tokens)
            expectIdentical(got, reference.products(x, fused: isFused(isa)), "\(type) \(isa.name)")
        }
    }

    @Test("a token's bits are the same in every batch of 1 to 70", arguments: InstructionSet.available)
    func batches(isa: InstructionSet) {
        var random = SeededRandom(seed: 13)
        for type in [WeightType.iq4nl, .q80] {
            let weight = weight(type, rows: 35, columns: 64, &random)
            let x = random.gaussians(70 * 64)
            let all = forward(isa, weight, x, tokens: 70)
            for tokens in 1..<70 {
                let part = forward(isa, weight, Array(x[..<(tokens * 64)]), tokens: tokens)
                expectIdentical(part, Array(all[..<(tokens * 35)]), "\(type), \(tokens) tokens")
            }
        }
    }

    @Test("activations at the ends of fp32: too small for a scale is 0, the largest is finite or infinite, never NaN")
    func extremes() {
        var random = SeededRandom(seed: 14)
        let weight = weight(.q80, rows: 16, columns: 32, &random)
        for isa in InstructionSet.available {
            for tiny in [Float.leastNonzeroMagnitude, 0x1p-127, 0x1p-122] {
                let y = forward(isa, weight, [Float](repeating: tiny, count: 32), tokens: 1)
                #expect(y.allSatisfy { abs($0) <= tiny * 32 * 128 }, "\(isa.name) \(tiny)")
            }
            let top = forward(isa, weight, [Float](repeating: .greatestFiniteMagnitude, count: 32), tokens: 1)
            #expect(top.allSatisfy { !$0.isNaN }, "\(isa.name)")
        }
    }

    @Test("the shortest call: no tokens, nothing written", arguments: InstructionSet.available)
    func noTokens(isa: InstructionSet) {
        var random = SeededRandom(seed: 15)
        let weight = weight(.iq4nl, rows: 16, columns: 32, &random)
        #expect(forward(isa, weight, [], tokens: 0).isEmpty)
    }

    /// A call with guarded buffers and poisoned gaps between rows.
    private func forward(
        _ isa: InstructionSet, _ weight: Weight, _ x: [Float], tokens: Int, threads: Int32 = 1,
        onto start: [Float]? = nil
    ) -> [Float] {
        let (ldx, ldy) = (weight.columns + 3, weight.rows + 1)
        let input = Guarded(x, columns: weight.columns, stride: ldx)
        let output = start.map { Guarded($0, columns: weight.rows, stride: ldy) } ?? Guarded(poisoned: tokens * ldy)
        let bytes = mk_linear_workspace(Int32(MK_COMPUTE_INT8), Int64(tokens), Int64(weight.columns))
        let workspace = Guarded(poisoned: (bytes + 3) / 4)
        var context = isa.context(threads: threads)
        withUnsafePointer(to: weight.matrix) { w in
            var product = mk_linear_output(w: w, y: output.pointer, ldy: Int64(ldy), accumulate: start != nil)
            mk_linear_forward(
                &context, Int32(MK_COMPUTE_INT8), &product, 1, input.pointer, Int64(ldx), Int64(tokens),
                workspace.pointer)
        }
        #expect(output.isIntact && workspace.isIntact && input.isIntact)
        #expect(output.gapsAreIntact(columns: weight.rows, stride: ldy))
        return output.rows(columns: weight.rows, stride: ldy)
    }
}
