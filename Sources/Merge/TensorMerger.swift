import Base
import CKernels
import Foundation
import Quant
import Synchronization

/// Computes the tensors of a merge piece by piece on several threads: memory is a few megabytes a thread whatever the
/// tensors' size. Pieces have fixed sizes, so results do not depend on the threads.
///
/// The arithmetic is mergekit 0.1.5's on PyTorch, rounding by rounding; see docs/merging.md.
final class TensorMerger: Sendable {
    /// Takes a piece of the result: the element that it begins with, and its bytes.
    typealias Sink = @Sendable (Int, UnsafeRawBufferPointer) throws -> Void

    let threads: Int
    let pool = MemoryPool()
    private let isInterrupted: @Sendable () -> Bool

    /// Elements of a piece: what mergekit's slerp takes the norms of at once.
    static let pieceElements = 1 << 20

    init(threads: Int, isInterrupted: @escaping @Sendable () -> Bool) {
        self.threads = threads
        self.isInterrupted = isInterrupted
    }

    /// Computes one tensor. Errors: `badInput` for weights that are not finite, `interrupted`, and what `sink` throws.
    func run(_ step: MergeStep, sink: Sink) throws {
        switch step.operation {
        case .copy(let scale):
            try finish(step, sink) { memory, n in
                if let scale { mk_merge_scale(step.ckType, scale, memory.inputs[0].baseAddress, n) }
                mk_merge_blend(
                    step.ckType, 1, memory.inputs[0].baseAddress, 0, memory.inputs[0].baseAddress, n,
                    memory.output.baseAddress)
            }
        case .linear(let weights, let divisor):
            try finish(step, sink) { memory, n in
                let pointers = memory.inputs[..<weights.count].map { UnsafePointer($0.baseAddress) }
                mk_merge_linear(
                    step.ckType, pointers, weights, Int64(weights.count), divisor, n, memory.output.baseAddress)
            }
        case .slerp(let t):
            let (a, b) = try slerpCoefficients(step, t: t)
            try finish(step, sink) { memory, n in
                mk_merge_blend(
                    step.ckType, a, memory.inputs[0].baseAddress, b, memory.inputs[1].baseAddress, n,
                    memory.output.baseAddress)
            }
        case .tasks(let tasks):
            try TaskMerge(merger: self, step: step, tasks: tasks).run(sink)
        }
    }

    /// Reads every piece of all inputs, lets `body` fill the output from them, and hands it on.
    private func finish(_ step: MergeStep, _ sink: Sink, _ body: @Sendable (WorkingMemory, Int64) -> Void) throws {
        try forEachPiece(step, elements: Self.pieceElements) { _, range, memory in
            for (i, input) in step.inputs.enumerated() { try read(input, step, range, memory, slot: i) }
            body(memory, Int64(range.count))
            try write(step, range, memory, sink)
        }
    }

    /// Runs `body` for every piece with its number and memory for all inputs.
    func forEachPiece(
        _ step: MergeStep, elements: Int, _ body: @Sendable (Int, Range<Int>, WorkingMemory) throws -> Void
    ) throws {
        let count = step.elementCount
        try forEachInParallel(count: (count + elements - 1) / elements, threads: threads) { piece in
            if isInterrupted() { throw MeraserError(.interrupted, "interrupted; nothing was written") }
            let range = piece * elements..<min((piece + 1) * elements, count)
            try pool.with(inputs: step.inputs.count, elements: range.count) { try body(piece, range, $0) }
        }
    }

    /// Reads a piece of an input into that slot, in the type of the arithmetic.
    func read(_ input: ElementReader, _ step: MergeStep, _ range: Range<Int>, _ memory: WorkingMemory, slot: Int) throws
    {
        let target = UnsafeMutableBufferPointer(rebasing: memory.inputs[slot][..<range.count])
        try input.read(range, into: target, raw: &memory.raw)
        if input.type != step.type { mk_merge_round(step.ckType, target.baseAddress, Int64(range.count)) }
    }

    /// Hands the output on as bytes of the type that is written.
    func write(_ step: MergeStep, _ range: Range<Int>, _ memory: WorkingMemory, _ sink: Sink) throws {
        let output = UnsafeMutableBufferPointer(rebasing: memory.output[..<range.count])
        if step.outType != step.type {
            mk_merge_round(Int32(step.outType.rawValue), output.baseAddress, Int64(range.count))
        }
        let bad = Int(mk_find_nonfinite(output.baseAddress, Int64(range.count)))
        guard bad < 0 else {
            throw MeraserError.badInput(
                "tensor '\(step.name)': the merged weight number \(range.lowerBound + bad) is \(output[bad]); the weights are "
                    + "too large for \(step.type.name) or \(step.outType.name): set 'dtype: float32' or smaller weights"
            )
        }
        guard let size = step.outType.elementByteCount else { preconditionFailure("\(step.outType.name) is tiled") }
        let count = range.count * size
        if memory.bytes.count < count { memory.bytes = [UInt8](repeating: 0, count: count) }
        try memory.bytes.withUnsafeMutableBytes { bytes in
            mk_quantize(
                Int32(step.outType.rawValue), output.baseAddress, 1, Int64(range.count), bytes.baseAddress)
            try sink(range.lowerBound, UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        }
    }
}

extension MergeStep {
    /// The type of the arithmetic as the kernels name it.
    var ckType: Int32 { Int32(type.rawValue) }
}

// MARK: - Slerp

extension TensorMerger {
    /// The factors of the two inputs. Norms and product are sums over pieces, as in mergekit's slerp.
    private func slerpCoefficients(_ step: MergeStep, t: Float) throws -> (Float, Float) {
        let pieces = (step.elementCount + Self.pieceElements - 1) / Self.pieceElements
        let parts = Mutex((a: [Float](repeating: 0, count: pieces), b: [Float](repeating: 0, count: pieces)))
        try forEachPiece(step, elements: Self.pieceElements) { piece, range, memory in
            for i in 0..<2 { try read(step.inputs[i], step, range, memory, slot: i) }
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
            for i in 0..<2 { try read(step.inputs[i], step, range, memory, slot: i) }
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
