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
}

/// Growing scratch memory for the int8 path's quantized activations; belongs to one run, not thread-safe.
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

extension FloatMatrix {
    /// This matrix as a plain fp32 weight (LoRA factors).
    var asWeight: mk_matrix {
        precondition(isContiguous)
        return mk_matrix(type: Int32(MK_F32), rows: Int64(rows), cols: Int64(columns), data: UnsafeRawPointer(base))
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

extension KernelContext {
    /// y [T, N] = x [T, K] · wᵀ, or y += … with `accumulate`.
    ///
    /// Each output is one fp32 chain in column order, whatever T is. `compute` applies to tiled weights.
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

    /// y [T, N] (+)= x [T, K] · wᵀ for an fp32 matrix w [N, K].
    public func linear(_ w: FloatMatrix, _ x: FloatMatrix, into y: FloatMatrix, accumulate: Bool = false) {
        withUnsafePointer(to: w.asWeight) { w in
            withUnsafePointer(to: linearOutput(w, x, into: y, accumulate: accumulate)) {
                forward($0, 1, x, compute: .f32, workspace: nil)
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
        precondition(bytes == 0 || workspace != nil, "linear: \(compute) needs a workspace")
        let scratch = workspace?.reserve(bytes)
        run {
            mk_linear_forward(
                $0, compute.code, outputs, Int32(count), x.base, Int64(x.stride), Int64(x.rows), scratch)
        }
    }

    /// Bytes of a workspace that `linear` needs for x [T, K].
    public func workspaceBytes(_ compute: Compute, tokens: Int, columns: Int) -> Int {
        mk_linear_workspace(compute.code, Int64(tokens), Int64(columns))
    }

    /// dx [T, K] (+)= dy [T, N] · w: the backward of `linear` through a frozen weight.
    public func linearBackward(_ w: Weight, _ dy: FloatMatrix, into dx: FloatMatrix, accumulate: Bool = false) {
        linearBackward(w.matrix, dy, into: dx, accumulate: accumulate)
    }

    /// dx [T, K] (+)= dy [T, N] · w for an fp32 matrix w [N, K].
    public func linearBackward(_ w: FloatMatrix, _ dy: FloatMatrix, into dx: FloatMatrix, accumulate: Bool = false) {
        linearBackward(w.asWeight, dy, into: dx, accumulate: accumulate)
    }

    private func linearBackward(_ w: mk_matrix, _ dy: FloatMatrix, into dx: FloatMatrix, accumulate: Bool) {
        precondition(
            dx.columns == Int(w.cols) && dy.columns == Int(w.rows) && dx.rows == dy.rows,
            "linearBackward: dy \(dy.rows)x\(dy.columns), w \(w.rows)x\(w.cols), dx \(dx.rows)x\(dx.columns)")
        withUnsafePointer(to: w) { w in
            run {
                mk_linear_backward(
                    $0, w, dy.base, Int64(dy.stride), Int64(dy.rows), dx.base, Int64(dx.stride), accumulate)
            }
        }
    }

    /// dw [N, K] += scale · dyᵀ · x over the tokens: the gradient of a LoRA factor.
    public func accumulateOuterProduct(_ dy: FloatMatrix, _ x: FloatMatrix, scale: Float, into dw: FloatMatrix) {
        precondition(
            dy.rows == x.rows && dw.rows == dy.columns && dw.columns == x.columns && dw.isContiguous,
            "outer product: dy \(dy.rows)x\(dy.columns), x \(x.rows)x\(x.columns), dw \(dw.rows)x\(dw.columns)")
        run {
            mk_outer_product(
                $0, dy.base, Int64(dy.stride), x.base, Int64(x.stride), Int64(dy.rows), Int64(dy.columns),
                Int64(x.columns), scale, dw.base, true)
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
