import CKernels
import Foundation
import Quant

/// A matrix of a tiled type in memory of its own. Immutable once it is made (unchecked: nobody writes to it then).
public final class TiledMatrix: @unchecked Sendable {
    /// Its type.
    public let type: TensorType
    /// Output features N.
    public let rows: Int
    /// Input features K.
    public let columns: Int
    fileprivate let base: UnsafeMutableRawPointer
    /// Bytes of its tiles.
    public let byteCount: Int

    /// A matrix of undefined contents. The type must be tiled and have such a matrix: a precondition.
    fileprivate init(type: TensorType, rows: Int, columns: Int) {
        guard type.isTiled, let byteCount = type.byteCount(rows: rows, columns: columns) else {
            preconditionFailure("\(rows)x\(columns) of \(type.name)")
        }
        (self.type, self.rows, self.columns, self.byteCount) = (type, rows, columns, byteCount)
        base = .allocate(byteCount: byteCount, alignment: 64)
    }

    deinit { base.deallocate() }

    /// Copies the tiles of those rows, which begin at a multiple of 16 and end at one or with the matrix.
    public func copyTiles(rows range: Range<Int>, into target: UnsafeMutableRawBufferPointer) {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows && range.lowerBound % TensorType.tileRows == 0)
        let groupBytes = byteCount / ((rows - 1) / TensorType.tileRows + 1)
        let first = range.lowerBound / TensorType.tileRows
        let count = (range.upperBound - 1) / TensorType.tileRows + 1 - first
        precondition(target.count == count * groupBytes, "\(target.count) bytes for \(count) groups")
        target.copyMemory(from: UnsafeRawBufferPointer(start: base + first * groupBytes, count: count * groupBytes))
    }
}

extension Weight {
    /// A matrix in memory.
    public init(_ tiles: TiledMatrix) {
        self.init(
            mk_matrix(
                type: Int32(tiles.type.rawValue), rows: Int64(tiles.rows), cols: Int64(tiles.columns),
                data: UnsafeRawPointer(tiles.base)), owner: tiles)
    }
}

extension Weight {
    /// A matrix of fp32 numbers without gaps between its rows, which nobody may change while this is used.
    public init(_ numbers: FloatMatrix) {
        precondition(numbers.isContiguous)
        self.init(
            mk_matrix(
                type: Int32(TensorType.f32.rawValue), rows: Int64(numbers.rows), cols: Int64(numbers.columns),
                data: UnsafeRawPointer(numbers.base)), owner: KeptNumbers(matrix: numbers))
    }
}

/// Keeps numbers alive that are only read.
private struct KeptNumbers: @unchecked Sendable {
    let matrix: FloatMatrix
}

/// H = Xᵀ·X of inputs X [T, K], in fp64. Not thread-safe.
public final class InputMoments {
    /// K.
    public let columns: Int
    /// T of all inputs that were added.
    public private(set) var tokens = 0
    fileprivate let sums: UnsafeMutableBufferPointer<Double>

    /// Bytes that one of that many columns takes.
    public static func byteCount(columns: Int) -> Int { 8 * columns * columns }

    /// Of no inputs yet.
    public init(columns: Int) {
        self.columns = columns
        sums = .allocate(capacity: columns * columns)
        sums.initialize(repeating: 0)
    }

    deinit { sums.deallocate() }

    /// The mean square of an input.
    public var meanSquare: Double {
        tokens == 0 ? 0 : (0..<columns).reduce(0) { $0 + sums[$1 * columns + $1] } / Double(columns) / Double(tokens)
    }

    /// Adds inputs [T, K].
    public func add(_ x: FloatMatrix, _ kernels: KernelContext) {
        precondition(x.columns == columns, "\(x.columns) columns, expected \(columns)")
        let workspace = LinearWorkspace()
        let memory = workspace.reserve(mk_gram_workspace(Int32(kernels.threads), Int64(columns)))
        withExtendedLifetime(workspace) {
            kernels.run {
                mk_gram($0, x.base, Int64(x.stride), Int64(x.rows), Int64(columns), sums.baseAddress, memory)
            }
        }
        tokens += x.rows
    }

    /// What quantizing needs of the inputs, in the memory of the sums: nothing may be added any more.
    ///
    /// - Parameter damping: added to the diagonal, in parts of its mean: what other inputs than these may be like.
    public consuming func factored(damping: Double, _ kernels: KernelContext) -> FeedbackFactor {
        FeedbackFactor(self, damping: damping, kernels)
    }
}

/// H + damping = S·D·Sᵀ of inputs: how the error of a column's weights is made up by the columns behind it, and what it
/// costs (CKernels/feedback.c). Immutable.
public final class FeedbackFactor {
    private let moments: InputMoments
    private let weight: [Float]

    fileprivate init(_ moments: InputMoments, damping: Double, _ kernels: KernelContext) {
        precondition(damping > 0)
        self.moments = moments
        let columns = moments.columns
        let workspace = LinearWorkspace()
        let memory = workspace.reserve(mk_feedback_factor_workspace(Int64(columns)))
        weight = [Float](unsafeUninitializedCapacity: columns) { weight, count in
            kernels.run {
                mk_feedback_factor($0, moments.sums.baseAddress, Int64(columns), damping, weight.baseAddress, memory)
            }
            count = columns
        }
        withExtendedLifetime(workspace) {}
    }

    /// Weights [N, K] in that type, rounded so that their outputs keep what they can, and what each row's output loses: the
    /// mean square of its error, in parts of `InputMoments.meanSquare` (without inputs the sum of the weights' squared
    /// errors); infinite where its weights are too large for the type.
    ///
    /// - Parameters:
    ///   - read: puts rows of the weights into memory, row by row; called for some at a time, in order.
    /// - Throws: what `read` throws.
    public func quantize(
        _ type: TensorType, rows: Int, _ kernels: KernelContext,
        read: (Range<Int>, UnsafeMutablePointer<Float>) throws -> Void
    ) rethrows -> (matrix: TiledMatrix, errors: [Float]) {
        let columns = moments.columns
        let matrix = TiledMatrix(type: type, rows: rows, columns: columns)
        let step = max(TensorType.tileRows, (1 << 22) / columns / TensorType.tileRows * TensorType.tileRows)
        let floats = UnsafeMutablePointer<Float>.allocate(capacity: min(step, rows) * columns)
        defer { floats.deallocate() }
        let workspace = LinearWorkspace()
        let memory = workspace.reserve(mk_feedback_workspace(Int32(kernels.threads), Int64(columns)))
        var errors = [Float](repeating: 0, count: rows)
        for first in stride(from: 0, to: rows, by: step) {
            let range = first..<min(first + step, rows)
            try read(range, floats)
            let offset = first / TensorType.tileRows * (matrix.byteCount / ((rows - 1) / TensorType.tileRows + 1))
            moments.sums.withMemoryRebound(to: Float.self) { unit in
                errors.withUnsafeMutableBufferPointer { errors in
                    kernels.run {
                        mk_quantize_feedback(
                            $0, Int32(type.rawValue), floats, Int64(range.count), Int64(columns), unit.baseAddress,
                            weight, matrix.base + offset, errors.baseAddress.map { $0 + first }, memory)
                    }
                }
            }
        }
        withExtendedLifetime(workspace) {}
        return (matrix, errors)
    }
}
