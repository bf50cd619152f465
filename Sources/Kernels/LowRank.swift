import CKernels

/// Which factor of a LoRA adapter a matrix is: y += scale · B · A · x.
public enum LowRankFactor: Sendable {
    /// A, [r, K].
    case a
    /// B, [N, r].
    case b
}

// Legend: T tokens, r rank, F features: K of an A, N of a B.

extension KernelContext {
    /// u [T, r] = scale · x · factor over the features of x [T, F]: x·Aᵀ in the forward, dy·B in the backward.
    public func lowRankReduce(
        _ x: FloatMatrix, _ factor: FloatMatrix, _ kind: LowRankFactor, scale: Float, into u: FloatMatrix,
        workspace: LinearWorkspace
    ) {
        withUnsafePointer(to: factor.asFactor(kind)) { f in
            requireShapes("lowRankReduce", u, x, f.pointee)
            let scratch = workspace.reserve(mk_lowrank_workspace(f.pointee.rank, f.pointee.width))
            run { mk_lowrank_reduce($0, f, x.base, Int64(x.stride), Int64(x.rows), scale, u.base, scratch) }
        }
    }

    /// y [T, F] (+)= u [T, r] · factor: u·Bᵀ in the forward, du·A in the backward.
    public func lowRankExpand(
        _ u: FloatMatrix, _ factor: FloatMatrix, _ kind: LowRankFactor, into y: FloatMatrix, accumulate: Bool,
        workspace: LinearWorkspace
    ) {
        withUnsafePointer(to: factor.asFactor(kind)) { f in
            requireShapes("lowRankExpand", u, y, f.pointee)
            let scratch = workspace.reserve(mk_lowrank_workspace(f.pointee.rank, f.pointee.width))
            run { mk_lowrank_expand($0, f, u.base, Int64(u.rows), y.base, Int64(y.stride), accumulate, scratch) }
        }
    }

    /// gradient += Σ over the tokens of u [T, r] ⊗ x [T, F], laid out as the factor: dA = duᵀ·x, dB = dyᵀ·u.
    public func accumulateLowRankGradient(
        _ u: FloatMatrix, _ x: FloatMatrix, _ kind: LowRankFactor, into gradient: FloatMatrix
    ) {
        withUnsafePointer(to: gradient.asFactor(kind)) { f in
            requireShapes("low-rank gradient", u, x, f.pointee)
            run { mk_lowrank_gradient($0, f, u.base, x.base, Int64(x.stride), Int64(x.rows), gradient.base) }
        }
    }
}

/// Checks u [T, r] and a matrix [T, F] against a factor.
private func requireShapes(_ call: String, _ u: FloatMatrix, _ x: FloatMatrix, _ factor: mk_factor) {
    precondition(
        x.columns == Int(factor.width) && u.columns == Int(factor.rank) && x.rows == u.rows && u.isContiguous,
        "\(call): \(x.rows)x\(x.columns) and u \(u.rows)x\(u.columns) with a factor of rank \(factor.rank), "
            + "\(factor.width) features")
}

extension FloatMatrix {
    fileprivate func asFactor(_ kind: LowRankFactor) -> mk_factor {
        precondition(isContiguous)
        return switch kind {
        case .a: mk_factor(values: base, rank: Int64(rows), width: Int64(columns), by_feature: false)
        case .b: mk_factor(values: base, rank: Int64(columns), width: Int64(rows), by_feature: true)
        }
    }
}
