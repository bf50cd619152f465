import CKernels
import Quant

/// Model Stock (Jang et al., ECCV 2024) on one tensor: t · average + (1 − t) · base with t = N cos θ / (1 + (N − 1) cos θ),
/// where cos θ is the mean cosine between two of the N differences from the base.
///
/// Source: mergekit 0.1.5, `model_stock.py`, rounding by rounding; sums are those of torch on one thread.
struct ModelStockMerge: Sendable {
    private let merger: TensorMerger
    private let step: MergeStep
    /// Of the whole tensor; nil: each row has its own.
    private var factor: Float?

    /// Finds the factor, unless each row (filter) has its own. Errors: `badInput` for weights that are not finite,
    /// `interrupted`.
    init(merger: TensorMerger, step: MergeStep, filterWise: Bool) throws {
        (self.merger, self.step) = (merger, step)
        if !filterWise { factor = try wholeFactor() }
    }

    private var count: Int { step.inputs.count - 1 }
    private var base: Int { count }
    private var scratch: Int { count + 1 }
    private var pairs: [(Int, Int)] { (0..<count).flatMap { i in (i + 1..<count).map { (i, $0) } } }

    /// Computes those elements of the result, whole rows, into `target`. Errors: as `init`.
    func combine(_ range: Range<Int>, _ memory: InputMemory, into target: UnsafeMutablePointer<Float>) throws {
        for i in 0...count { try merger.read(step, i, range, memory) }
        mk_merge_average(
            step.ckType, memory.pointers(Array(0..<count)), Int64(count), Int64(range.count), target)
        let start = memory.inputs[base].baseAddress
        if let factor { return mk_merge_toward(step.ckType, factor, start, Int64(range.count), target) }
        subtractBase(range.count, memory)
        let columns = step.columns
        for row in 0..<range.count / columns {
            let factor = rowFactor(row, number: range.lowerBound / columns + row, memory)
            mk_merge_toward(
                step.ckType, factor, start.map { $0 + row * columns }, Int64(columns), target + row * columns)
        }
    }

    private func subtractBase(_ elements: Int, _ memory: InputMemory) {
        for i in 0..<count {
            mk_merge_subtract(
                step.ckType, memory.inputs[base].baseAddress, memory.inputs[i].baseAddress, Int64(elements))
        }
    }

    /// Leaves the products of two differences in the scratch buffer.
    private func multiply(_ a: Int, _ b: Int, _ range: Range<Int>, _ memory: InputMemory)
        -> UnsafeMutableBufferPointer<Float>
    {
        let product = memory.first(range.count, of: scratch)
        _ = product.update(fromContentsOf: memory.inputs[a][range])
        mk_merge_multiply(
            step.ckType, product.baseAddress, memory.inputs[b].baseAddress.map { $0 + range.lowerBound },
            Int64(range.count))
        return product
    }

    private func wholeFactor() throws -> Float {
        var norms = [TorchNorm](repeating: TorchNorm(), count: count)
        var sums = [TorchSum](repeating: TorchSum(count: step.elementCount, type: step.type), count: pairs.count)
        try merger.forEachPieceInOrder(step) { range, memory in
            for i in 0...count { try merger.read(step, i, range, memory) }
            subtractBase(range.count, memory)
            for i in 0..<count { norms[i].add(memory.first(range.count, of: i)) }
            for (k, pair) in pairs.enumerated() { sums[k].add(multiply(pair.0, pair.1, 0..<range.count, memory)) }
        }
        let cosines = cosines(norms: norms.map(\.value), products: sums.map(\.value))
        return factor(cosineSum: mk_cascade_sum(cosines, Int64(cosines.count), step.type != .f32))
    }

    /// The factor of row `row` of the memory, which is that `number` of the tensor.
    private func rowFactor(_ row: Int, number: Int, _ memory: InputMemory) -> Float {
        let columns = step.columns
        let range = row * columns..<(row + 1) * columns
        let norms = (0..<count).map { i in
            mk_merge_norm(memory.inputs[i].baseAddress.map { $0 + range.lowerBound }, Int64(columns))
        }
        let products = pairs.map { pair in
            mk_cascade_sum(
                multiply(pair.0, pair.1, range, memory).baseAddress, Int64(columns), step.type != .f32)
        }
        let cosines = cosines(norms: norms, products: products)
        // torch adds the cosines of all rows at once, in vectors of rows, and those left over in four chains.
        let width = Int(MK_CASCADE_WIDTH) * (step.type == .f32 ? 1 : 2)
        let rows = step.elementCount / columns
        if number >= rows - rows % width { return factor(cosineSum: sumInChains(cosines)) }
        var (sum, group) = (Float(0), Float(0))
        for (i, cosine) in cosines.enumerated() {
            group += cosine
            if i % 16 == 15 { (sum, group) = (sum + group, 0) }
        }
        return factor(cosineSum: sum + group)
    }

    private func sumInChains(_ values: [Float]) -> Float {
        var levels = [Float](repeating: 0, count: 16)
        var result: Float = 0
        levels.withUnsafeMutableBufferPointer { levels in
            var sums = mk_column_sums(
                levels: levels.baseAddress, cols: 1, total_rows: Int64(values.count), rows: 0, pairs: false)
            mk_column_sums_add(&sums, values, Int64(values.count))
            mk_column_sums_finish(&sums, &result)
        }
        return result
    }

    private func cosines(norms: [Float], products: [Float]) -> [Float] {
        let type = step.type
        let norms = norms.map { $0.rounded(to: type) }
        return zip(pairs, products).map { pair, product in
            let lengths = max((norms[pair.0] * norms[pair.1]).rounded(to: type), Float(1e-6).rounded(to: type))
            return min(max((product.rounded(to: type) / lengths).rounded(to: type), -1), 1)
        }
    }

    private func factor(cosineSum: Float) -> Float {
        let type = step.type
        let cosine = (cosineSum.rounded(to: type) / Float(pairs.count)).rounded(to: type)
        let divisor = (1 + (Float(count - 1) * cosine).rounded(to: type)).rounded(to: type)
        guard abs(divisor) >= 1e-6 else { return 0 }
        return ((Float(count) * cosine).rounded(to: type) / divisor).rounded(to: type)
    }
}
