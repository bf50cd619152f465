import Kernels
import Quant

/// What a forward or backward works in and does not keep: it belongs to one session or one trainer, so that one model
/// serves several of them, each on its own thread.
public final class LayerScratch {
    /// A normed residual stream, [T, hidden].
    public let hidden: FloatMatrix
    /// What goes into the down projection, [T, I].
    public let intermediate: FloatMatrix
    /// Reciprocal roots that nobody reads again, [T].
    public let rstd: FloatMatrix
    /// An adapter's input after dropout, [T, K]; empty without dropout.
    public let dropped: FloatMatrix
    /// Scratch of the linear kernels.
    public let workspace = LinearWorkspace()
    /// Scratch of attention.
    let attentionCall = AttentionCall()
    /// Cosines and sines of the positions at work.
    let rotary: RotaryTables
    /// Called with the input [T, K] of each product with weights of a layer, and the projections that share it.
    public var onInput: (([Projection], FloatMatrix) -> Void)?
    private let fused: FloatMatrix
    private let lowRankU: FloatMatrix
    private let lowRankScaled: FloatMatrix

    /// Scratch for batches of up to `tokens` tokens, adapters of up to that rank, and dropout on inputs of up to
    /// `droppedWidth` features (0: none).
    public init(spec: DecoderSpec, tokens: Int, maximumRank: Int, droppedWidth: Int = 0, arena: Arena) {
        hidden = arena.matrix(rows: tokens, columns: spec.hiddenSize)
        intermediate = arena.matrix(rows: tokens, columns: spec.layers[0].mlp.width)
        rstd = arena.matrix(rows: tokens, columns: 1)
        fused = arena.matrix(rows: tokens, columns: Self.fusedWidth(spec))
        dropped = arena.matrix(rows: tokens, columns: droppedWidth)
        lowRankU = arena.matrix(rows: tokens, columns: max(maximumRank, 1))
        lowRankScaled = arena.matrix(rows: tokens, columns: max(maximumRank, 1))
        rotary = RotaryTables(spec)
    }

    /// Floats of an arena that it takes.
    public static func footprint(spec: DecoderSpec, tokens: Int, maximumRank: Int, droppedWidth: Int = 0) -> Int {
        [
            spec.hiddenSize, spec.layers[0].mlp.width, 1, fusedWidth(spec), droppedWidth, max(maximumRank, 1),
            max(maximumRank, 1),
        ].reduce(0) { $0 + Arena.footprint(rows: tokens, columns: $1) }
    }

    /// Outputs of the widest fused module; 0 without one.
    private static func fusedWidth(_ spec: DecoderSpec) -> Int {
        [Projection.qkv_proj, .gate_up_proj].compactMap { spec.layers[0][$0]?.rows }.max() ?? 0
    }

    /// The outputs of a fused module, or their gradient, [T, columns].
    public func fused(rows: Int, columns: Int) -> FloatMatrix { fused.reshaped(rows: rows, columns: columns) }

    /// Two matrices [T, r].
    public func lowRank(rows: Int, rank: Int) -> (FloatMatrix, FloatMatrix) {
        (lowRankU.reshaped(rows: rows, columns: rank), lowRankScaled.reshaped(rows: rows, columns: rank))
    }

    /// Makes the rotary tables hold what that batch needs.
    public func prepare(for batch: PackedBatch) { rotary.prepare(for: batch) }
}
