import Base
import CKernels
import Foundation
import Quant
import Synchronization

/// What remains of a step when everything that depends on the whole tensor is known: each element by itself.
enum MergeWork: Sendable {
    /// The one input, times a factor if there is one.
    case copy(scale: Float?)
    /// Σ weights[i] · input i / divisor.
    case linear(weights: [Float], divisor: Float)
    /// a · input 0 + b · input 1.
    case slerp(a: Float, b: Float)
    /// The base, which is the last input, and thinned differences from it.
    case tasks(TaskMerge)
    /// Between the base, which is the last input, and the average of the others.
    case modelStock(ModelStockMerge)
    /// On an arc between two inputs, or their differences from the base, which is the last.
    case nuslerp(NuSLERPMerge)
    /// The mean on the sphere.
    case karcher(KarcherMean)
}

/// Reads the inputs of a merge piece by piece on several threads: memory is a few megabytes a thread whatever the tensors'
/// size. Pieces have fixed sizes, so results do not depend on the threads.
///
/// The arithmetic is mergekit 0.1.5's on PyTorch, rounding by rounding; see docs/reference/merging.md.
final class TensorMerger: Sendable {
    private let threads: Int
    private let pool = Pool(InputMemory.init)
    private let isInterrupted: @Sendable () -> Bool

    /// Elements of a piece: what mergekit's slerp takes the norms of at once.
    static let pieceElements = 1 << 20

    init(threads: Int, isInterrupted: @escaping @Sendable () -> Bool) {
        self.threads = threads
        self.isInterrupted = isInterrupted
    }

    /// Computes what a step needs of the whole tensor. Errors: `badInput` for weights that are not finite, `interrupted`.
    func prepared(_ step: MergeStep) throws -> MergeWork {
        switch step.operation {
        case .copy(let scale): return .copy(scale: scale)
        case .linear(let weights, let divisor): return .linear(weights: weights, divisor: divisor)
        case .slerp(let t):
            let (a, b) = try slerpCoefficients(step, t: t)
            return .slerp(a: a, b: b)
        case .tasks(let tasks): return .tasks(try TaskMerge(merger: self, step: step, tasks: tasks))
        case .modelStock(let filterWise):
            return .modelStock(try ModelStockMerge(merger: self, step: step, filterWise: filterWise))
        case .nuslerp(let arc, let hasBase):
            return .nuslerp(try NuSLERPMerge(merger: self, step: step, arc: arc, hasBase: hasBase))
        case .karcher(let maxIterations, let tolerance):
            return .karcher(
                try KarcherMean(merger: self, step: step, maxIterations: maxIterations, tolerance: tolerance))
        }
    }

    /// Runs `body` for every piece of that many elements with its number and memory for all inputs; with `wholeRows`, for
    /// the whole rows that the piece lies in.
    func forEachPiece(
        _ step: MergeStep, elements: Int, wholeRows: Bool = false,
        _ body: @Sendable (Int, Range<Int>, InputMemory) throws -> Void
    ) throws {
        let count = step.elementCount
        try forEachInParallel(count: (count + elements - 1) / elements, threads: threads) { piece in
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted; nothing was written") }
            let range = piece * elements..<min((piece + 1) * elements, count)
            try withMemory(step, wholeRows ? step.rows(around: range) : range) { try body(piece, range, $0) }
        }
    }

    /// Runs `body` for every piece in turn, for sums that are one chain over the tensor; pieces are whole rows if asked.
    func forEachPieceInOrder(
        _ step: MergeStep, wholeRows: Bool = false, _ body: (Range<Int>, InputMemory) throws -> Void
    ) throws {
        var start = 0
        while start < step.elementCount {
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted; nothing was written") }
            var range = start..<min(start + Self.pieceElements, step.elementCount)
            if wholeRows { range = step.rows(around: range) }
            try withMemory(step, range) { try body(range, $0) }
            start = range.upperBound
        }
    }

    /// Runs `body` with memory for those elements of all inputs.
    func withMemory(_ step: MergeStep, _ range: Range<Int>, _ body: (InputMemory) throws -> Void) rethrows {
        try pool.lend { memory in
            memory.reserve(inputs: step.inputs.count + step.extraBuffers, elements: range.count)
            try body(memory)
        }
    }

    /// Reads those elements of input `i` into its buffer, in the type of the arithmetic.
    func read(_ step: MergeStep, _ i: Int, _ range: Range<Int>, _ memory: InputMemory) throws {
        let target = UnsafeMutableBufferPointer(rebasing: memory.inputs[i][..<range.count])
        try step.inputs[i].read(range, into: target, raw: &memory.raw)
        if step.inputs[i].type != step.type { mk_merge_round(step.ckType, target.baseAddress, Int64(range.count)) }
    }
}

extension MergeStep {
    /// The type of the arithmetic as the kernels name it.
    var ckType: Int32 { Int32(type.rawValue) }
    /// Buffers behind those of the inputs that the method works in.
    var extraBuffers: Int {
        switch operation {
        case .copy, .linear, .slerp, .tasks: 0
        case .modelStock, .nuslerp: 1
        case .karcher: 2
        }
    }
}

// MARK: - Slerp

extension TensorMerger {
    /// The factors of the two inputs. Norms and product are sums over pieces, as in mergekit's slerp.
    private func slerpCoefficients(_ step: MergeStep, t: Float) throws -> (Float, Float) {
        let pieces = (step.elementCount + Self.pieceElements - 1) / Self.pieceElements
        let parts = Mutex((a: [Float](repeating: 0, count: pieces), b: [Float](repeating: 0, count: pieces)))
        try forEachPiece(step, elements: Self.pieceElements) { piece, range, memory in
            for i in 0..<2 { try read(step, i, range, memory) }
            let a = mk_merge_norm(memory.inputs[0].baseAddress, Int64(range.count))
            let b = mk_merge_norm(memory.inputs[1].baseAddress, Int64(range.count))
            parts.withLock { ($0.a[piece], $0.b[piece]) = (a, b) }
        }
        let norms = parts.withLock { parts in
            [parts.a, parts.b].map { part in
                let norm = mk_merge_norm(part, Int64(pieces))
                return norm > 1e-8 ? norm : 1
            }
        }
        try forEachPiece(step, elements: Self.pieceElements) { piece, range, memory in
            for i in 0..<2 { try read(step, i, range, memory) }
            let dot = mk_merge_unit_dot(
                memory.inputs[0].baseAddress, norms[0], memory.inputs[1].baseAddress, norms[1], Int64(range.count))
            parts.withLock { $0.a[piece] = dot }
        }
        let dot = min(max(parts.withLock { sumLikeTorch($0.a) }, -1), 1)
        return Self.slerpCoefficients(dot: dot, t: t)
    }

    /// sin((1 − t)θ)/sin θ and sin(tθ)/sin θ with θ = arccos(dot); 1 − t and t for (nearly) parallel inputs.
    /// The functions of fp32 are rounded from fp64: torch's may differ by one unit in the last place.
    static func slerpCoefficients(dot: Float, t: Float) -> (Float, Float) {
        guard abs(dot) <= 0.9995 else { return (1 - t, t) }
        let theta = Float(acos(Double(dot)))
        func sine(_ x: Float) -> Float { Float(sin(Double(x))) }
        return (sine((1 - t) * theta) / sine(theta), sine(t * theta) / sine(theta))
    }
}
