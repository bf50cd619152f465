import Base
import CKernels
import TestSupport
import Testing

/// 32 activations as integers, as int8_pack.h specifies it, in scalars.
private struct Int8Block {
    /// x = unit * code.
    private(set) var unit: Float = 0
    private(set) var codes = [Int32](repeating: 0, count: 32)
    /// Quads whose codes have two digits.
    private(set) var wide: Set<Int> = []

    /// What a wide quad costs beside weights of that type, in squares of the block's mean magnitude.
    static func wideCost(of type: WeightType) -> Float { type == .q80 || type == .q6k ? 12 : 32 }

    init(_ x: ArraySlice<Float>, wideCost: Float) {
        let values = Array(x)
        let magnitudes = values.map(abs)
        let largest = magnitudes.max() ?? 0
        // Sums of halves: 16 lanes, then 8, 4, 2, 1.
        var lanes = (0..<16).map { magnitudes[$0] + magnitudes[16 + $0] }
        while lanes.count > 1 {
            let half = lanes.count / 2
            lanes = (0..<half).map { lanes[$0] + lanes[half + $0] }
        }
        let mean = lanes[0] / 32
        let price = wideCost * (mean * mean)
        // The quads from the largest to the smallest; one more wide is one step along.
        let tops = (0..<8).map { magnitudes[(4 * $0)..<(4 * $0 + 4)].max() ?? 0 }
        let order = (0..<8).sorted { tops[$0] != tops[$1] ? tops[$0] > tops[$1] : $0 < $1 }
        var kept = largest
        if largest * largest > price {
            // Costs are compared without their last three bits; the fewest wide quads of the cheapest.
            let costs = order.indices.map { (tops[order[$0]] * tops[order[$0]] + Float($0) * price).bitPattern >> 3 }
            let count = costs.indices.min { costs[$0] < costs[$1] } ?? 0
            wide = Set(order[..<count])
            kept = tops[order[count]]
        }
        let step = wide.isEmpty ? largest / 127 : max(kept / 127, largest / 16256)
        guard step > 0, (1 / step).isFinite else {
            wide = []
            return
        }
        unit = step
        codes = values.map { Int32(($0 * (1 / step)).rounded(.toNearestOrEven)) }
    }
}

/// The int8 product as it is specified, in scalars: exact integers, both scales multiplied first, one chain of fp32
/// additions over the blocks of 32 columns, each followed by the minimum's where the type has one.
private struct Int8Reference {
    /// What a stretch of a row has in common.
    struct Part {
        var scale: Float
        var minimum: Float?
        var codes: [Int32]
    }
    /// Of each row the parts in order: 32 columns each, of q6_k 16.
    var parts: [[Part]] = []
    let rows: Int
    let columns: Int
    private let wideCost: Float

    /// Reads the tiles as docs/reference/format.md has them.
    init(_ weight: Weight) {
        (rows, columns) = (weight.rows, weight.columns)
        wideCost = Int8Block.wideCost(of: weight.type)
        let (type, bytes) = (weight.type, weight.storage)
        let width = Int(mk_tile_columns(type.rawValue))
        let tileBytes = Int(mk_tile_bytes(type.rawValue))
        for row in 0..<rows {
            let r = row % 16
            parts.append([])
            for column in stride(from: 0, to: columns, by: 32) {
                let tile = (row / 16 * (columns / width) + column / width) * tileBytes
                let block = column % width / 32
                let d = Self.half(bytes, tile + 2 * r)
                let pair = tile + 64 + 32 * block + r
                switch type {
                case .q41:
                    let codes = Self.nibbles(bytes, tile + 64, r)
                    parts[row].append(Part(scale: d, minimum: Self.half(bytes, tile + 32 + 2 * r), codes: codes))
                case .q4k, .q5k:
                    let dmin = Self.half(bytes, tile + 32 + 2 * r)
                    let start = tile + 320 + (type == .q4k ? 256 : 320) * block
                    var codes = Self.nibbles(bytes, start, r)
                    for c in 0..<32 where type == .q5k {
                        codes[c] += Int32(bytes[start + 256 + 4 * r + c % 4] >> UInt8(c / 4) & 1) << 4
                    }
                    parts[row].append(
                        Part(scale: d * Float(bytes[pair]), minimum: -(dmin * Float(bytes[pair + 16])), codes: codes))
                case .q6k:
                    let start = tile + 320 + 384 * block
                    var codes = Self.nibbles(bytes, start, r)
                    for c in 0..<32 {
                        let high = bytes[start + 256 + 64 * (c / 16) + 4 * r + c % 4] >> UInt8(c / 4 % 4 * 2) & 3
                        codes[c] += Int32(high) << 4 - 32
                    }
                    for half in 0..<2 {
                        let scale = d * Float(Int8(bitPattern: bytes[pair + 16 * half]))
                        parts[row].append(Part(scale: scale, codes: Array(codes[(16 * half)..<(16 * half + 16)])))
                    }
                case .q80:
                    let codes = (0..<32).map { c in
                        Int32(Int8(bitPattern: bytes[tile + 32 + 64 * (c / 4) + 4 * r + c % 4]))
                    }
                    parts[row].append(Part(scale: d, codes: codes))
                default:
                    let codes = Self.nibbles(bytes, tile + 32, r).map { code in
                        Int32(mk_codebook(type.rawValue)?[Int(code)] ?? 0)
                    }
                    parts[row].append(Part(scale: d, codes: codes))
                }
            }
        }
    }

    /// The four bits of a row's 32 columns.
    private static func nibbles(_ bytes: UnsafeMutableRawBufferPointer, _ start: Int, _ row: Int) -> [Int32] {
        (0..<32).map { c in
            let byte = bytes[start + 64 * (c / 8) + 4 * row + c % 4]
            return Int32(c % 8 < 4 ? byte & 15 : byte >> 4)
        }
    }

    /// A finite binary16.
    private static func half(_ bytes: UnsafeMutableRawBufferPointer, _ place: Int) -> Float {
        let bits = UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8
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
                let quantized = Int8Block(x[(start + 32 * block)..<(start + 32 * block + 32)], wideCost: wideCost)
                units.append(quantized.unit)
                rounded += quantized.codes
            }
            for row in 0..<rows {
                var sum: Float = 0
                var column = 0
                func add(_ factor: Float, _ term: Float) {
                    sum = fused ? sum.addingProduct(factor, term) : sum + factor * term
                }
                for part in parts[row] {
                    var (dot, total): (Int32, Int32) = (0, 0)
                    for (i, code) in part.codes.enumerated() {
                        dot += code * rounded[column + i]
                        total += rounded[column + i]
                    }
                    let unit = units[column / 32]
                    add(part.scale * unit, Float(dot))
                    if let minimum = part.minimum { add(minimum, unit * Float(total)) }
                    column += part.codes.count
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
        let tileBytes = Int(mk_tile_bytes(type.rawValue))
        for i in weight.storage.indices {
            let byte = UInt8(truncatingIfNeeded: random.next())
            // The high byte of a scale keeps its exponent at 8 ... 11.
            weight.storage[i] = i % tileBytes < type.halfBytes && i % 2 == 1 ? byte & 0x8f | 0x20 : byte
        }
        return weight
    }

    /// Makes every fifth block have columns that are many times larger than the others: one to eight quads, a little
    /// and very far; now and then a second, equal value, and nothing beside them.
    private func addOutliers(to x: inout [Float], _ random: inout SeededRandom) {
        for block in stride(from: 32, to: x.count, by: 160) {
            let factor = [3, 9, 40, 1000, 1e6][Int(random.next() % 5)] as Float
            let isAlone = random.next() % 4 == 0
            if isAlone { for i in 0..<32 { x[block + i] = 0 } }
            let last = Int(random.next() % 32)
            for i in 0..<(1 + Int(random.next() % 12)) {
                let column = i == 0 ? last : Int(random.next() % 32)
                x[block + column] = i % 3 == 2 ? x[block + last] : factor * (x[block + column] + 1)
            }
        }
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
            (20, 320, 13), (65, 32, 25), (49, 608, 31), (18, 32, 70), (40, 64, 150),
        ] {
            let columns = type.wholeTiles(columns)
            let weight = weight(type, rows: rows, columns: columns, &random)
            let reference = Int8Reference(weight)
            var x = random.gaussians(tokens * columns)
            for i in 0..<32 { x[i] = 0 }  // a block without a scale
            addOutliers(to: &x, &random)
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
        let (rows, columns, tokens) = (16, type.wholeTiles(64), 7)
        let weight = weight(type, rows: rows, columns: columns, &random)
        let tileBytes = Int(mk_tile_bytes(type.rawValue))
        // Every row at one end of its range: the lowest (q8_0: -128; the others: all bits 0) or the highest.
        for i in weight.storage.indices where i % tileBytes >= type.headBytes {
            let low = (i % tileBytes - type.headBytes) / 4 % 2 == 0
            weight.storage[i] = type == .q80 ? (low ? 0x80 : 0x7f) : (low ? 0 : 0xff)
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
        for type in [WeightType.iq4nl, .q80, .q41, .q6k] {
            let columns = type.wholeTiles(64)
            let weight = weight(type, rows: 35, columns: columns, &random)
            var x = random.gaussians(70 * columns)
            addOutliers(to: &x, &random)
            let all = forward(isa, weight, x, tokens: 70)
            for tokens in 1..<70 {
                let part = forward(isa, weight, Array(x[..<(tokens * columns)]), tokens: tokens)
                expectIdentical(part, Array(all[..<(tokens * 35)]), "\(type), \(tokens) tokens")
            }
        }
    }

    @Test("wide quads take most of the error that outliers bring, and cost nothing where there are none")
    func wideQuads() throws {
        var random = SeededRandom(seed: 16)
        let (rows, columns, tokens) = (32, 256, 12)
        let weight = weight(.q80, rows: rows, columns: columns, &random)
        var w = [Float](repeating: 0, count: rows * columns)
        withUnsafePointer(to: weight.matrix) { mk_dequantize($0, 0, Int64(rows), &w) }
        let plain = random.gaussians(tokens * columns)
        var outliers = plain
        // In every other block one column is 30 times larger, as behind a norm of a real model.
        for i in stride(from: 7, to: outliers.count, by: 64) { outliers[i] *= 30 }
        for isa in InstructionSet.available {
            // Mean squares of the error and of what rounding to steps of the largest / 127 gives.
            func errors(_ x: [Float]) -> (got: Double, oneScale: Double) {
                let y = forward(isa, weight, x, tokens: tokens)
                var (got, oneScale) = (0.0, 0.0)
                for t in 0..<tokens {
                    for n in 0..<rows {
                        var (want, expected) = (0.0, 0.0)
                        for b in stride(from: 0, to: columns, by: 32) {
                            let step = Double(x[(t * columns + b)..<(t * columns + b + 32)].map(abs).max() ?? 0) / 127
                            for k in b..<(b + 32) {
                                let factor = Double(w[n * columns + k])
                                want += Double(x[t * columns + k]) * factor
                                expected += step * step / 12 * factor * factor
                            }
                        }
                        got += (Double(y[t * rows + n]) - want) * (Double(y[t * rows + n]) - want)
                        oneScale += expected
                    }
                }
                return (got, oneScale)
            }
            let (even, uneven) = (errors(plain), errors(outliers))
            #expect(even.got > 0.5 * even.oneScale && even.got < 1.5 * even.oneScale, "\(isa.name) \(even)")
            // What is left is the error of the other columns: (2.5 / 127)^2 against (30 * 0.8 / 127)^2 in half the blocks.
            #expect(uneven.got < 0.06 * uneven.oneScale, "\(isa.name) \(uneven)")
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
