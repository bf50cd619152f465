import CKernels
import Foundation
import Quant
import Synchronization

/// The mean of tensors on the sphere (Karcher's): of their directions the point whose tangents to all of them add up to
/// nothing, times the mean of their lengths. Found by moving along the sum of the tangents until that is short.
///
/// The point is never stored: each step is a few numbers, and a piece of the point is computed from the inputs again.
/// Source: mergekit 0.1.5, `karcher.py`, rounding by rounding; norms are those of torch on one thread. Dot products, sines
/// and cosines are rounded from fp64.
struct KarcherMean: Sendable {
    private let merger: TensorMerger
    private let step: MergeStep
    private var lengths: [Float] = []
    /// The inputs that have a direction.
    private var directed: [Int] = []
    /// The part of each of them in the mean.
    private var share: Float = 0
    /// What the mean of the directions is divided by at first; nil: the first direction is begun with.
    private var firstLength: Float? = 1
    private var moves: [Move] = []
    /// The mean of the lengths.
    private var scale: Float = 0

    /// A step of the point.
    private struct Move {
        /// Of the point with each direction.
        let dots: [Float]
        /// Of each tangent; 0 where the point lies on that direction.
        let factors: [Float]
        /// Of the tangents' sum.
        var norm: Float = 1
        /// Of the point behind the step; 0: it is not divided.
        var length: Float = 0
    }

    /// Finds the steps. Errors: `badInput` for weights that are not finite, `interrupted`.
    init(merger: TensorMerger, step: MergeStep, maxIterations: Int, tolerance: Double) throws {
        (self.merger, self.step) = (merger, step)
        lengths = try inputLengths()
        directed = lengths.indices.filter { Double(lengths[$0]) > tolerance }
        guard !directed.isEmpty else { return }
        let equal = 1 / Double(lengths.count)
        share = Float(equal / directed.reduce(0.0) { sum, _ in sum + equal })
        scale = lengths.reduce(0) { $0 + Float(equal) * $1 }.rounded(to: step.type)
        let first = try norm(of: point)
        firstLength = Double(first) < tolerance ? nil : first
        for _ in 0..<maxIterations {
            var move = Self.move(try dots(), share: share, type: step.type, tolerance: tolerance)
            let measured = move
            move.norm = try norm { count, memory in
                _ = try point(count, memory)
                return tangent(measured, count, memory)
            }
            guard Double(move.norm) >= tolerance else { break }
            moves.append(move)
            let length = try norm(of: point)
            if Double(length) > tolerance { moves[moves.count - 1].length = length }
        }
    }

    /// Computes those elements of the result into `target`. Errors: as `init`.
    func combine(_ range: Range<Int>, _ memory: InputMemory, into target: UnsafeMutablePointer<Float>) throws {
        guard !directed.isEmpty else { return target.update(repeating: 0, count: range.count) }
        try readDirections(range, memory)
        let mean = try point(range.count, memory)
        mk_merge_scale(step.ckType, scale, mean.baseAddress, Int64(range.count))
        _ = UnsafeMutableBufferPointer(start: target, count: range.count).update(fromContentsOf: mean)
    }

    // MARK: Numbers of the whole tensor

    private func inputLengths() throws -> [Float] {
        var sums = [TorchNorm](repeating: TorchNorm(), count: step.inputs.count)
        try merger.forEachPieceInOrder(step) { range, memory in
            for i in sums.indices {
                try merger.read(step, i, range, memory)
                sums[i].add(memory.first(range.count, of: i))
            }
        }
        return sums.map(\.value)
    }

    /// The norm of what `values` makes of the directions of a piece.
    private func norm(
        of values: (Int, InputMemory) throws -> UnsafeMutableBufferPointer<Float>
    ) throws -> Float {
        var sum = TorchNorm()
        try merger.forEachPieceInOrder(step) { range, memory in
            try readDirections(range, memory)
            sum.add(try values(range.count, memory))
        }
        return sum.value
    }

    /// The products of the point with all directions.
    private func dots() throws -> [Double] {
        let pieces = (step.elementCount + TensorMerger.pieceElements - 1) / TensorMerger.pieceElements
        let parts = Mutex([[Double]](repeating: [], count: pieces))
        try merger.forEachPiece(step, elements: TensorMerger.pieceElements) { piece, range, memory in
            try readDirections(range, memory)
            let point = try point(range.count, memory)
            let found = directed.map {
                mk_merge_dot(point.baseAddress, memory.inputs[$0].baseAddress, Int64(range.count))
            }
            parts.withLock { $0[piece] = found }
        }
        return parts.withLock { parts in directed.indices.map { k in parts.reduce(0) { $0 + $1[k] } } }
    }

    private static func move(_ dots: [Double], share: Float, type: TensorType, tolerance: Double) -> Move {
        let cosines = dots.map { min(max(Float($0).rounded(to: type), -1), 1) }
        let factors = cosines.map { cosine -> Float in
            let angle = Float(acos(Double(cosine))).rounded(to: type)
            guard Double(angle) >= tolerance, angle > 0 else { return 0 }
            let ratio = (angle / Float(sin(Double(angle))).rounded(to: type)).rounded(to: type)
            return (share * ratio).rounded(to: type)
        }
        return Move(dots: cosines, factors: factors)
    }

    // MARK: Pieces

    private func readDirections(_ range: Range<Int>, _ memory: InputMemory) throws {
        for i in directed {
            try merger.read(step, i, range, memory)
            mk_merge_divide(step.ckType, memory.inputs[i].baseAddress, [lengths[i]], 0, Int64(range.count))
        }
    }

    /// The point behind all steps, of directions that have been read.
    private func point(_ count: Int, _ memory: InputMemory) throws -> UnsafeMutableBufferPointer<Float> {
        let point = memory.first(count, of: step.inputs.count)
        if let firstLength {
            mk_sphere_begin(
                step.ckType, share, memory.pointers(directed), Int64(directed.count), Int64(count), point.baseAddress)
            mk_merge_divide(step.ckType, point.baseAddress, [firstLength], 0, Int64(count))
        } else {
            _ = point.update(fromContentsOf: memory.first(count, of: directed[0]))
        }
        for move in moves {
            let tangent = tangent(move, count, memory)
            var step = mk_sphere_step()
            step.norm = move.norm
            // A number to the left of a tensor is rounded to its type.
            step.cosine = Float(cos(Double(move.norm))).rounded(to: self.step.type)
            step.sine = Float(sin(Double(move.norm))).rounded(to: self.step.type)
            step.length = move.length
            mk_sphere_move(self.step.ckType, &step, tangent.baseAddress, Int64(count), point.baseAddress)
        }
        return point
    }

    /// The sum of the tangents at the point, which lies in its buffer.
    private func tangent(_ move: Move, _ count: Int, _ memory: InputMemory) -> UnsafeMutableBufferPointer<Float> {
        let result = memory.first(count, of: step.inputs.count + 1)
        move.dots.withUnsafeBufferPointer { dots in
            move.factors.withUnsafeBufferPointer { factors in
                var numbers = mk_sphere_step()
                (numbers.dots, numbers.factors) = (dots.baseAddress, factors.baseAddress)
                mk_sphere_tangent(
                    step.ckType, &numbers, memory.pointers(directed), memory.inputs[step.inputs.count].baseAddress,
                    Int64(directed.count), Int64(count), result.baseAddress)
            }
        }
        return result
    }
}
