import Base
import CKernels
import Quant
import Synchronization

/// Task arithmetic, TIES, DARE and DELLA on one tensor: differences from the base are thinned, weighted, added and put onto it.
struct TaskMerge: Sendable {
    private let merger: TensorMerger
    private let step: MergeStep
    private let tasks: TaskArithmetic
    /// How each difference is thinned.
    private var masks: [Mask] = []
    /// What each is multiplied with after that; nil: nothing.
    private var factors: [Float?] = []

    /// How one difference is thinned.
    private enum Mask {
        case none
        /// Magnitudes whose bits are above the threshold stay, and of those equal to it the elements before `end`.
        case magnitude(threshold: UInt32, end: Int)
        /// Magnitudes between two, and of those equal to one of them the elements from `from` on, or before `end`.
        case band(low: UInt32, from: Int, high: UInt32, end: Int)
        /// A hash below `keep` stays.
        case random(key: UInt64, keep: UInt64)
        /// A hash decides, with a share that depends on the magnitude's rank in its row: pieces must be whole rows.
        case ranked(mk_ranked_drop)

        var needsRows: Bool {
            if case .ranked = self { true } else { false }
        }
    }

    /// Finds masks and factors, which depend on all of the tensor. Errors: `badInput` for weights that are not finite,
    /// `interrupted`.
    init(merger: TensorMerger, step: MergeStep, tasks: TaskArithmetic) throws {
        (self.merger, self.step, self.tasks) = (merger, step, tasks)
        masks = try (0..<count).map(mask)
        factors = try (0..<count).map { try tasks.rescales ? rescaling($0, masks[$0]) : nil }
    }

    private var count: Int { tasks.weights.count }
    private var base: Int { count }

    /// DARE and DELLA work in f32 on f16 weights, as torch has no random numbers of that type.
    private var maskType: TensorType { tasks.method.isRandom && step.type == .f16 ? .f32 : step.type }
    /// Sums over 16-bit types take two numbers at a time.
    private var sumsPairs: Bool { maskType != .f32 }
    private var sumPower: Int32 { mk_cascade_power(Int64(step.elementCount), sumsPairs) }
    /// Numbers in a row of a sum.
    private var rowElements: Int { Int(MK_CASCADE_WIDTH) * (sumsPairs ? 2 : 1) }

    /// Elements of a piece where sums are taken: what a sum's highest level adds.
    private var sumElements: Int { rowElements << (3 * Int(sumPower)) }

    /// Computes those elements of the result into `target`. Errors: `badInput` for weights that are not finite.
    func combine(_ range: Range<Int>, _ memory: InputMemory, into target: UnsafeMutablePointer<Float>) throws {
        let n = Int64(range.count)
        try merger.read(step, base, range, memory)
        for i in 0..<count {
            try readDifference(i, range, memory)
            apply(masks[i], range, memory.inputs[i].baseAddress)
            if let factor = factors[i] {
                mk_merge_scale(Int32(maskType.rawValue), factor, memory.inputs[i].baseAddress, n)
                if maskType != step.type { mk_merge_round(step.ckType, memory.inputs[i].baseAddress, n) }
            }
        }
        var weights = tasks.weights.map { Float($0) }
        mk_merge_round(step.ckType, &weights, Int64(count))
        var divisor = sumLikeTorch(weights)
        mk_merge_round(step.ckType, &divisor, 1)
        if abs(divisor) < 1e-8 { divisor = 1 }
        weights.withUnsafeBufferPointer { weights in
            var numbers = mk_merge_tasks(
                count: Int64(count), weights: weights.baseAddress, lambda: Float(tasks.lambda),
                elects_sign: tasks.method.electsSign, normalizes: tasks.normalizes, divisor: divisor)
            let pointers = memory.inputs[..<count].map { $0.baseAddress }
            mk_merge_combine(step.ckType, &numbers, memory.inputs[base].baseAddress, pointers, n, target)
        }
    }

    /// Reads a piece of input `i` and subtracts the base, which lies in its slot.
    private func readDifference(_ i: Int, _ range: Range<Int>, _ memory: InputMemory) throws {
        try merger.read(step, i, range, memory)
        mk_merge_subtract(
            step.ckType, memory.inputs[base].baseAddress, memory.inputs[i].baseAddress, Int64(range.count))
    }

    /// Runs `body` on every piece of difference `i`, thinned by `mask`.
    private func forEachDifference(
        _ i: Int, elements: Int = TensorMerger.pieceElements, mask: Mask = .none,
        _ body: @Sendable (Int, Range<Int>, UnsafeMutablePointer<Float>?) -> Void
    ) throws {
        try merger.forEachPiece(step, elements: elements, wholeRows: mask.needsRows) { piece, range, memory in
            let read = mask.needsRows ? step.rows(around: range) : range
            try merger.read(step, base, read, memory)
            try readDifference(i, read, memory)
            apply(mask, read, memory.inputs[i].baseAddress)
            body(piece, range, memory.inputs[i].baseAddress.map { $0 + (range.lowerBound - read.lowerBound) })
        }
    }

    /// Elements of a piece with that magnitude, before a place in the whole tensor.
    private func equal(
        _ bits: UInt32, before end: Int, _ range: Range<Int>, _ x: UnsafeMutablePointer<Float>?
    ) -> Int64 {
        mk_merge_count_equal(x, Int64(max(0, min(end - range.lowerBound, range.count))), bits)
    }

    private func apply(_ mask: Mask, _ range: Range<Int>, _ x: UnsafeMutablePointer<Float>?) {
        switch mask {
        case .none: break
        case .magnitude(let threshold, let end):
            mk_merge_trim(x, Int64(range.count), threshold, equal(threshold, before: end, range, x))
        case .band(let low, let from, let high, let end):
            mk_merge_band(
                x, Int64(range.count), low, equal(low, before: from, range, x), high, equal(high, before: end, range, x)
            )
        case .random(let key, let keep): mk_merge_drop(key, keep, Int64(range.lowerBound), Int64(range.count), x)
        case .ranked(var drop):
            var scratch = [UInt32](repeating: 0, count: 4 * step.columns)
            mk_merge_drop_ranked(
                Int32(maskType.rawValue), &drop, Int64(range.lowerBound), Int64(range.count / step.columns),
                Int64(step.columns), &scratch, x)
        }
    }
}

// MARK: - Masks

extension TaskMerge {
    private func mask(_ i: Int) throws -> Mask {
        let density = tasks.densities[i]
        switch tasks.method {
        case _ where density >= 1: return .none
        case .dareLinear, .dareTies: return .random(key: tasks.maskKeys[i], keep: UInt64(density * 0x1p53))
        case .ties: return try magnitudeMask(i, density: density)
        case .breadcrumbs, .breadcrumbsTies: return try bandMask(i, density: density, gamma: tasks.gammas[i])
        case .della, .dellaLinear: return try rankedMask(i, density: density, epsilon: tasks.epsilons[i])
        case .taskArithmetic, .linear, .slerp, .passthrough, .modelStock, .nuslerp, .karcher: return .none
        }
    }

    /// Source: mergekit, `sparsify.py`, `della_magprune`.
    private func rankedMask(_ i: Int, density: Double, epsilon: Double) throws -> Mask {
        guard density > 0 else { return .magnitude(threshold: .max, end: 0) }
        guard step.columns > 1 else {
            throw MeraserError.badInput(
                "tensor '\(step.name)' has rows of one weight, and \(tasks.method.rawValue) ranks the weights of a row")
        }
        return .ranked(
            mk_ranked_drop(
                key: tasks.maskKeys[i], epsilon: Float(epsilon), lowest: Float(density - epsilon)))
    }

    /// Finds the magnitude of the last difference that stays, by counting bit patterns.
    private func magnitudeMask(_ i: Int, density: Double) throws -> Mask {
        guard density > 0 else { return .magnitude(threshold: .max, end: 0) }
        let kept = max(1, Int(density * Double(step.elementCount)))
        let cut = try cut(i, largest: kept)
        return .magnitude(threshold: cut.bits, end: try end(i, of: Int64(cut.among), equalTo: cut.bits))
    }

    /// Drops the share `gamma` of largest magnitudes, and then of the smallest what is more than `density`; less of the
    /// largest where more would be left out than that. Source: mergekit, `sparsify.py`, `magnitude_outliers`.
    private func bandMask(_ i: Int, density: Double, gamma: Double) throws -> Mask {
        let count = step.elementCount
        let kept = Int(density * Double(count))
        let smallest = max(0, count - kept - Int(gamma * Double(count)))
        let largest = count - kept - smallest
        guard kept > 0 else { return .magnitude(threshold: .max, end: 0) }
        var (low, from, high, behind) = (UInt32(0), 0, UInt32.max, 0)
        // In ascending order, of equal magnitudes the first one first.
        if smallest > 0 {
            let cut = try cut(i, largest: count - smallest)
            low = cut.bits
            from = try end(i, of: Int64(cut.equal - cut.among), equalTo: low)
        }
        if largest > 0 {
            let cut = try cut(i, largest: largest)
            high = cut.bits
            behind = try end(i, of: Int64(cut.equal - cut.among), equalTo: high)
        }
        return .band(low: low, from: from, high: high, end: behind)
    }

    /// The bits of the smallest of the `count` largest magnitudes of difference `i`, how many elements have them, and how many
    /// of these are among the `count`.
    private func cut(_ i: Int, largest count: Int) throws -> (bits: UInt32, equal: UInt64, among: UInt64) {
        var left = UInt64(count)
        var counts = try histogram(i, upper: -1)
        let upper = try last(of: &left, counts)
        if step.type == .bf16 { return (UInt32(upper) << 16, counts[upper], left) }
        counts = try histogram(i, upper: Int32(upper))
        let lower = try last(of: &left, counts)
        return (UInt32(upper) << 16 | UInt32(lower), counts[lower], left)
    }

    /// The place behind the `wanted`-th element of difference `i` whose magnitude has those bits.
    private func end(_ i: Int, of wanted: Int64, equalTo bits: UInt32) throws -> Int {
        guard wanted > 0 else { return 0 }
        let pieces = (step.elementCount + TensorMerger.pieceElements - 1) / TensorMerger.pieceElements
        let found = Mutex([Int64](repeating: 0, count: pieces))
        try forEachDifference(i) { piece, range, x in
            let equal = mk_merge_count_equal(x, Int64(range.count), bits)
            found.withLock { $0[piece] = equal }
        }
        var rest = wanted
        for (piece, equal) in found.withLock({ $0 }).enumerated() {
            guard equal >= rest else {
                rest -= equal
                continue
            }
            let first = piece * TensorMerger.pieceElements
            let range = first..<min(first + TensorMerger.pieceElements, step.elementCount)
            var length = range.count
            try merger.withMemory(step, range) { memory in
                try merger.read(step, base, range, memory)
                try readDifference(i, range, memory)
                // The shortest beginning of the piece that has all of the rest.
                var short = 0
                while length - short > 1 {
                    let middle = (short + length) / 2
                    if mk_merge_count_equal(memory.inputs[i].baseAddress, Int64(middle), bits) >= rest {
                        length = middle
                    } else {
                        short = middle
                    }
                }
            }
            return first + length
        }
        return step.elementCount
    }

    private func histogram(_ i: Int, upper: Int32) throws -> [UInt64] {
        let total = Mutex([UInt64](repeating: 0, count: 1 << 16))
        try forEachDifference(i) { _, range, x in
            var counts = [UInt64](repeating: 0, count: 1 << 16)
            mk_merge_count(x, Int64(range.count), upper, &counts)
            let found = counts
            total.withLock { total in for j in found.indices where found[j] > 0 { total[j] += found[j] } }
        }
        return total.withLock { $0 }
    }

    /// The bin of the number `left`, counted from the highest bin; what remains for that bin is left in `left`.
    private func last(of left: inout UInt64, _ counts: [UInt64]) throws -> Int {
        for bin in counts.indices.reversed() {
            if counts[bin] >= left { return bin }
            left -= counts[bin]
        }
        preconditionFailure("fewer than \(left) numbers in tensor \(step.name)")
    }
}

// MARK: - Rescaling

extension TaskMerge {
    /// The factor that gives a thinned difference its L1 norm back; nil where nothing was thinned or nothing is left.
    private func rescaling(_ i: Int, _ mask: Mask) throws -> Float? {
        if case .none = mask { return nil }
        let before = try sum(i, .none)
        let after = try sum(i, mask)
        guard before >= 1e-7, after >= 1e-7 else { return nil }
        var factor = before / after
        mk_merge_round(Int32(maskType.rawValue), &factor, 1)
        return factor
    }

    /// Σ |difference| in torch's order.
    private func sum(_ i: Int, _ mask: Mask) throws -> Float {
        let pieces = (step.elementCount + sumElements - 1) / sumElements
        let found = Mutex((sums: [mk_cascade](repeating: mk_cascade(), count: pieces), rest: [Float]()))
        let (power, pairs, row) = (sumPower, sumsPairs, rowElements)
        try forEachDifference(i, elements: sumElements, mask: mask) { piece, range, x in
            var sum = mk_cascade()
            sum.power = power
            mk_cascade_absolute(&sum, x, Int64(range.count / row), pairs)
            let rest = UnsafeBufferPointer(start: x, count: range.count).suffix(range.count % row).map(abs)
            let finished = sum
            found.withLock {
                $0.sums[piece] = finished
                if !rest.isEmpty { $0.rest = rest }
            }
        }
        var total = mk_cascade()
        total.power = power
        let (sums, rest) = found.withLock { $0 }
        for sum in sums {
            var next = sum
            mk_cascade_append(&total, &next)
        }
        var result = mk_cascade_finish(&total, rest, Int64(rest.count), pairs)
        mk_merge_round(Int32(maskType.rawValue), &result, 1)
        return result
    }
}
