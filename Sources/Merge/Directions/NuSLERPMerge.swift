import CKernels
import Foundation
import Quant

/// What a recipe says about an arc.
struct NuSLERP: Sendable, Equatable {
    /// Which numbers make a vector.
    enum Vectors: Sendable {
        case tensor, rows, columns
    }

    /// The way from the first model (0) to the second (1).
    let t: Double
    let vectors: Vectors
}

/// Spherical interpolation of two tensors, or of their differences from a base, which are added to it: as one vector each,
/// or row by row, or column by column.
///
/// Source: mergekit 0.1.5, `nuslerp.py`, rounding by rounding; sums are those of torch on one thread. Sine and arc cosine
/// are rounded from fp64: torch's may differ by one unit in the last place.
struct NuSLERPMerge: Sendable {
    private let merger: TensorMerger
    private let step: MergeStep
    private let t: Double
    private let hasBase: Bool
    /// One, or one a column; empty: each row has its own.
    private var arcs: [mk_arc] = []

    /// Finds the arcs, unless each row has its own. Errors: `badInput` for weights that are not finite, `interrupted`.
    init(merger: TensorMerger, step: MergeStep, arc: NuSLERP, hasBase: Bool) throws {
        (self.merger, self.step, t, self.hasBase) = (merger, step, arc.t, hasBase)
        switch arc.vectors {
        case .tensor: arcs = [try wholeArc()]
        case .columns where step.shape.count == 2: arcs = try columnArcs()
        case .rows, .columns: break
        }
    }

    private var scratch: Int { step.inputs.count }
    private var smallest: Float { Float(1e-7).rounded(to: step.type) }

    /// Computes those elements of the result, whole rows, into `target`. Errors: as `init`.
    func combine(_ range: Range<Int>, _ memory: InputMemory, into target: UnsafeMutablePointer<Float>) throws {
        let columns = step.columns
        try read(range, memory)
        for row in 0..<range.count / columns {
            let (x, y) = (start(0, row, memory), start(1, row, memory))
            let own = arcs.isEmpty ? [rowArc(row, memory)] : arcs
            mk_merge_arc(
                step.ckType, own, own.count == columns && columns > 1 ? 1 : 0, x, y, Int64(columns),
                target + row * columns)
        }
        guard hasBase else { return }
        mk_merge_blend(step.ckType, 1, memory.inputs[2].baseAddress, 1, target, Int64(range.count), target)
    }

    private func start(_ buffer: Int, _ row: Int, _ memory: InputMemory) -> UnsafeMutablePointer<Float>? {
        memory.inputs[buffer].baseAddress.map { $0 + row * step.columns }
    }

    /// Reads the two vectors: differences, if there is a base.
    private func read(_ range: Range<Int>, _ memory: InputMemory) throws {
        for i in step.inputs.indices { try merger.read(step, i, range, memory) }
        guard hasBase else { return }
        for i in 0..<2 {
            mk_merge_subtract(
                step.ckType, memory.inputs[2].baseAddress, memory.inputs[i].baseAddress, Int64(range.count))
        }
    }

    /// Leaves the products of the unit vectors in the scratch buffer; `stride` is 1 if each number has its norms.
    private func unitProduct(
        _ row: Int, count: Int, norms: (first: [Float], second: [Float]), stride: Int64, _ memory: InputMemory
    ) -> UnsafeMutableBufferPointer<Float> {
        let product = memory.first(count, of: scratch)
        guard let (x, y) = start(0, row, memory).flatMap({ x in start(1, row, memory).map { (x, $0) } }) else {
            return product
        }
        mk_merge_divide(step.ckType, y, norms.second, stride, Int64(count))
        product.baseAddress?.update(from: x, count: count)
        mk_merge_divide(step.ckType, product.baseAddress, norms.first, stride, Int64(count))
        mk_merge_multiply(step.ckType, product.baseAddress, y, Int64(count))
        return product
    }

    private func clamped(_ norm: Float) -> Float { max(norm.rounded(to: step.type), smallest) }

    private func wholeArc() throws -> mk_arc {
        var lengths = [TorchNorm(), TorchNorm()]
        try merger.forEachPieceInOrder(step) { range, memory in
            try read(range, memory)
            for i in 0..<2 { lengths[i].add(memory.first(range.count, of: i)) }
        }
        let norms = lengths.map { clamped($0.value) }
        var sum = TorchSum(count: step.elementCount, type: step.type)
        try merger.forEachPieceInOrder(step) { range, memory in
            try read(range, memory)
            sum.add(unitProduct(0, count: range.count, norms: ([norms[0]], [norms[1]]), stride: 0, memory))
        }
        return arc(cosine: sum.value)
    }

    private func columnArcs() throws -> [mk_arc] {
        let columns = step.columns
        var squares = [[Float]](repeating: [Float](repeating: 0, count: columns), count: 2)
        try merger.forEachPieceInOrder(step, wholeRows: true) { range, memory in
            try read(range, memory)
            for row in 0..<range.count / columns {
                for i in 0..<2 { mk_merge_add_squares(&squares[i], start(i, row, memory), Int64(columns)) }
            }
        }
        let norms = squares.map { $0.map { clamped($0.squareRoot()) } }
        var levels = [Float](repeating: 0, count: 16 * columns)
        var cosines = [Float](repeating: 0, count: columns)
        try levels.withUnsafeMutableBufferPointer { levels in
            var sums = mk_column_sums(
                levels: levels.baseAddress, cols: Int64(columns), total_rows: Int64(step.elementCount / columns),
                rows: 0, pairs: step.type != .f32)
            try merger.forEachPieceInOrder(step, wholeRows: true) { range, memory in
                try read(range, memory)
                for row in 0..<range.count / columns {
                    let product = unitProduct(
                        row, count: columns, norms: (norms[0], norms[1]), stride: 1, memory)
                    mk_column_sums_add(&sums, product.baseAddress, 1)
                }
            }
            mk_column_sums_finish(&sums, &cosines)
        }
        return cosines.map(arc)
    }

    /// The arc of a row, whose numbers stay as they are.
    private func rowArc(_ row: Int, _ memory: InputMemory) -> mk_arc {
        let columns = step.columns
        let norms = (0..<2).map { clamped(mk_merge_norm(start($0, row, memory), Int64(columns))) }
        let second = Array(UnsafeBufferPointer(start: start(1, row, memory), count: columns))
        let product = unitProduct(row, count: columns, norms: ([norms[0]], [norms[1]]), stride: 0, memory)
        let cosine = mk_cascade_sum(product.baseAddress, Int64(columns), step.type != .f32)
        start(1, row, memory)?.update(from: second, count: columns)
        return arc(cosine: cosine)
    }

    private func arc(cosine sum: Float) -> mk_arc {
        let type = step.type
        let cosine = min(max(sum.rounded(to: type), -1), 1)
        guard (1 - (cosine * cosine).rounded(to: type)).rounded(to: type) > 1e-16 else {
            return mk_arc(near: Float(1 - t), far: Float(t), sine: 0)
        }
        func sine(_ x: Float) -> Float { Float(sin(Double(x))).rounded(to: type) }
        let angle = Float(acos(Double(cosine))).rounded(to: type)
        return mk_arc(
            near: sine((Float(1 - t) * angle).rounded(to: type)), far: sine((Float(t) * angle).rounded(to: type)),
            sine: sine(angle))
    }
}
