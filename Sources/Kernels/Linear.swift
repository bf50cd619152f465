import CKernels
import Quant

/// A weight matrix as the kernels use it: where it lies, its type and shape.
///
/// Keeps the mapped file alive. Sendable (unchecked) because the pointer inside is into a read-only map that `owner`
/// keeps alive.
public struct Weight: @unchecked Sendable {
    let matrix: mk_matrix
    private let owner: (any Sendable)?

    /// Output features N.
    public var rows: Int { Int(matrix.rows) }
    /// Input features K.
    public var columns: Int { Int(matrix.cols) }

    /// A two-dimensional tensor of a model file, used in place.
    public init(_ view: TensorView) {
        matrix = mk_matrix(
            type: Int32(view.info.type.rawValue), rows: Int64(view.info.rows), cols: Int64(view.info.columns),
            data: view.baseAddress)
        owner = view.file
    }

    /// A matrix in memory that `owner` keeps alive.
    init(_ matrix: mk_matrix, owner: any Sendable) {
        (self.matrix, self.owner) = (matrix, owner)
    }
}

/// Growing scratch memory for activations as the linear kernels read them (quantized, rounded, packed); belongs to one
/// run, not thread-safe.
public final class LinearWorkspace {
    private var memory: UnsafeMutableRawPointer?
    private var size = 0

    /// An empty workspace.
    public init() {}

    deinit { memory?.deallocate() }

    func reserve(_ bytes: Int) -> UnsafeMutableRawPointer? {
        if bytes > size {
            memory?.deallocate()
            memory = .allocate(byteCount: bytes, alignment: 64)
            size = bytes
        }
        return memory
    }
}

/// One product of a group that shares its input: y (+)= x · wᵀ.
public struct LinearOutput {
    let weight: Weight
    let y: FloatMatrix
    let accumulate: Bool

    /// y [T, N] = x · wᵀ, or y += … with `accumulate`.
    public init(_ weight: Weight, into y: FloatMatrix, accumulate: Bool = false) {
        self.weight = weight
        self.y = y
        self.accumulate = accumulate
    }
}

/// One term of a sum of transposed products: dy · w.
public struct LinearInput {
    let weight: Weight
    let dy: FloatMatrix

    /// dy [T, N] · w [N, K].
    public init(_ weight: Weight, _ dy: FloatMatrix) {
        self.weight = weight
        self.dy = dy
    }
}

extension KernelContext {
    /// y [T, N] = x [T, K] · wᵀ, or y += … with `accumulate`.
    ///
    /// Each output is one fp32 chain in column order, whatever T is. `compute` applies to tiled weights, bf16 to bf16
    /// weights too. Without a `workspace` one is allocated for the call.
    public func linear(
        _ w: Weight, _ x: FloatMatrix, into y: FloatMatrix, accumulate: Bool = false, compute: Compute = .f32,
        workspace: LinearWorkspace? = nil
    ) {
        linear(x, LinearOutput(w, into: y, accumulate: accumulate), compute: compute, workspace: workspace)
    }

    /// Up to three products of the same x [T, K], which is prepared (quantized) once for all of them: the same bits as
    /// one call for each. The outputs may not overlap. Nothing is allocated.
    public func linear(
        _ x: FloatMatrix, _ first: LinearOutput, _ second: LinearOutput? = nil, _ third: LinearOutput? = nil,
        compute: Compute = .f32, workspace: LinearWorkspace? = nil
    ) {
        withUnsafeTemporaryAllocation(of: mk_matrix.self, capacity: 3) { weights in
            withUnsafeTemporaryAllocation(of: mk_linear_output.self, capacity: 3) { outputs in
                // `count` is not captured, which would put it on the heap.
                func put(_ output: LinearOutput, at index: Int) {
                    weights.initializeElement(at: index, to: output.weight.matrix)
                    let w = UnsafePointer(weights.baseAddress.map { $0 + index })
                    outputs.initializeElement(
                        at: index, to: linearOutput(w, x, into: output.y, accumulate: output.accumulate))
                }
                put(first, at: 0)
                var count = 1
                if let second {
                    put(second, at: count)
                    count += 1
                }
                if let third {
                    put(third, at: count)
                    count += 1
                }
                forward(outputs.baseAddress, count, x, compute: compute, workspace: workspace)
            }
        }
    }

    private func linearOutput(
        _ w: UnsafePointer<mk_matrix>?, _ x: FloatMatrix, into y: FloatMatrix, accumulate: Bool
    ) -> mk_linear_output {
        let (rows, columns) = (Int(w?.pointee.rows ?? 0), Int(w?.pointee.cols ?? 0))
        precondition(
            x.columns == columns && y.columns == rows && x.rows == y.rows,
            "linear: x \(x.rows)x\(x.columns), w \(rows)x\(columns), y \(y.rows)x\(y.columns)")
        return mk_linear_output(w: w, y: y.base, ldy: Int64(y.stride), accumulate: accumulate)
    }

    private func forward(
        _ outputs: UnsafePointer<mk_linear_output>?, _ count: Int, _ x: FloatMatrix, compute: Compute,
        workspace: LinearWorkspace?
    ) {
        let bytes = mk_linear_workspace(compute.code, Int64(x.rows), Int64(x.columns))
        let workspace = workspace ?? LinearWorkspace()
        withExtendedLifetime(workspace) {
            let scratch = workspace.reserve(bytes)
            run {
                mk_linear_forward(
                    $0, compute.code, outputs, Int32(count), x.base, Int64(x.stride), Int64(x.rows), scratch)
            }
        }
    }

    /// Bytes of a workspace that `linear` needs for x [T, K].
    public func workspaceBytes(_ compute: Compute, tokens: Int, columns: Int) -> Int {
        mk_linear_workspace(compute.code, Int64(tokens), Int64(columns))
    }

    /// Bytes of a workspace that `linearBackward` needs at most, for inputs dy of `columns` columns in all.
    public func backwardWorkspaceBytes(_ compute: Compute, tokens: Int, columns: Int) -> Int {
        mk_linear_backward_workspace_bound(compute.code, 3, Int64(columns), Int64(tokens))
    }

    /// dx [T, K] (+)= dy [T, N] · w: the backward of `linear` through a frozen weight.
    public func linearBackward(
        _ w: Weight, _ dy: FloatMatrix, into dx: FloatMatrix, accumulate: Bool = false, compute: Compute = .f32,
        workspace: LinearWorkspace? = nil
    ) {
        linearBackward(
            LinearInput(w, dy), into: dx, accumulate: accumulate, compute: compute, workspace: workspace)
    }

    /// dx [T, K] (+)= Σ dyᵢ [T, Nᵢ] · wᵢ over up to three weights that share their input: one fp32 chain for each
    /// output. int8 is for tiled weights of types without a minimum; these come first, in a
    /// chain of their own, and other weights are computed in f32. Nothing is allocated but a workspace where none is given.
    public func linearBackward(
        _ first: LinearInput, _ second: LinearInput? = nil, _ third: LinearInput? = nil, into dx: FloatMatrix,
        accumulate: Bool = false, compute: Compute = .f32, workspace: LinearWorkspace? = nil
    ) {
        withUnsafeTemporaryAllocation(of: mk_matrix.self, capacity: 3) { weights in
            withUnsafeTemporaryAllocation(of: mk_linear_input.self, capacity: 3) { inputs in
                // `count` is not captured, as above.
                func put(_ input: LinearInput, at index: Int) {
                    weights.initializeElement(at: index, to: input.weight.matrix)
                    let w = UnsafePointer(weights.baseAddress.map { $0 + index })
                    inputs.initializeElement(at: index, to: linearInput(w, input.dy, into: dx))
                }
                put(first, at: 0)
                var count = 1
                if let second {
                    put(second, at: count)
                    count += 1
                }
                if let third {
                    put(third, at: count)
                    count += 1
                }
                backward(
                    inputs.baseAddress, count, into: dx, accumulate: accumulate, compute: compute,
                    workspace: workspace)
            }
        }
    }

    private func linearInput(
        _ w: UnsafePointer<mk_matrix>?, _ dy: FloatMatrix, into dx: FloatMatrix
    ) -> mk_linear_input {
        let (rows, columns) = (Int(w?.pointee.rows ?? 0), Int(w?.pointee.cols ?? 0))
        precondition(
            dx.columns == columns && dy.columns == rows && dx.rows == dy.rows,
            "linearBackward: dy \(dy.rows)x\(dy.columns), w \(rows)x\(columns), dx \(dx.rows)x\(dx.columns)")
        return mk_linear_input(w: w, dy: dy.base, lddy: Int64(dy.stride))
    }

    private func backward(
        _ inputs: UnsafePointer<mk_linear_input>?, _ count: Int, into dx: FloatMatrix, accumulate: Bool,
        compute: Compute, workspace: LinearWorkspace?
    ) {
        let bytes = mk_linear_backward_workspace(compute.code, inputs, Int32(count), Int64(dx.rows))
        let workspace = workspace ?? LinearWorkspace()
        withExtendedLifetime(workspace) {
            let scratch = workspace.reserve(bytes)
            run {
                mk_linear_backward(
                    $0, compute.code, inputs, Int32(count), Int64(dx.rows), dx.base, Int64(dx.stride), accumulate,
                    scratch)
            }
        }
    }

    /// out [T, K] = the rows `ids` of `table` [V, K], as fp32.
    ///
    /// - Precondition: every id is in 0..<V.
    public func gatherRows(_ table: Weight, _ ids: [Int32], into out: FloatMatrix) {
        precondition(ids.count == out.rows && table.columns == out.columns)
        precondition(all(ids, atLeast: 0, below: table.rows), "token id outside 0..<\(table.rows)")
        withUnsafePointer(to: table.matrix) { table in
            run { mk_gather_rows($0, table, ids, Int64(ids.count), out.base, Int64(out.stride)) }
        }
    }
}
