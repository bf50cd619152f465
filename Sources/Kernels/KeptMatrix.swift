import CKernels

/// How numbers are kept from a forward to its backward.
public enum KeptPrecision: Sendable, Equatable {
    /// As they are.
    case f32
    /// Rounded to the nearest bf16.
    case bf16
}

/// A matrix that is written as a whole and read back as a whole; what is read is what was written, rounded to the
/// precision.
///
/// Its memory is an arena's, which it keeps alive; not safe to write from several threads at once.
public struct KeptMatrix {
    private let memory: FloatMatrix
    private let capacity: Int
    fileprivate let precision: KeptPrecision

    /// Room for `rows` × `columns` numbers.
    public init(rows: Int, columns: Int, precision: KeptPrecision, arena: Arena) {
        capacity = rows * columns
        self.precision = precision
        memory = arena.matrix(rows: 1, columns: precision == .f32 ? capacity : (capacity + 1) / 2)
    }

    /// The first `count` numbers as fp32.
    fileprivate func plain(_ x: FloatMatrix) -> FloatMatrix {
        check(x)
        return memory.reshaped(rows: x.rows, columns: x.columns)
    }

    /// The numbers as bf16.
    fileprivate func rounded(_ x: FloatMatrix) -> UnsafeMutablePointer<UInt16> {
        check(x)
        return UnsafeMutableRawPointer(memory.base).assumingMemoryBound(to: UInt16.self)
    }

    private func check(_ x: FloatMatrix) {
        precondition(x.isContiguous && x.count <= capacity, "\(x.rows)x\(x.columns) kept in \(capacity) numbers")
    }
}

extension KernelContext {
    /// Writes `x`, which may have fewer rows than there is room for.
    public func keep(_ x: FloatMatrix, in kept: KeptMatrix) {
        switch kept.precision {
        case .f32: kept.plain(x).copy(from: x)
        case .bf16: run { mk_float_to_bf16($0, Int64(x.count), x.base, kept.rounded(x)) }
        }
    }

    /// Reads back into a matrix of the shape that was written.
    public func restore(_ kept: KeptMatrix, into x: FloatMatrix) {
        switch kept.precision {
        case .f32: x.copy(from: kept.plain(x))
        case .bf16: run { mk_bf16_to_float($0, Int64(x.count), kept.rounded(x), x.base) }
        }
    }

    /// Makes `x` what keeping and restoring it would make of it.
    public func round(_ x: FloatMatrix, to precision: KeptPrecision) {
        precondition(x.isContiguous)
        if precision == .bf16 { run { mk_round_to_bf16($0, Int64(x.count), x.base) } }
    }
}
