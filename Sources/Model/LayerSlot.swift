import Kernels
import Quant

// Legend: T tokens of the batch, H query heads, G key/value heads, D head_dim, I intermediate size.

/// What one decoder layer computes in the forward and its backward reads again, a matrix [T, width] each. This is the one
/// table of them: working memory, what is kept from the forward to the backward, and the memory planner loop over it.
public enum LayerSlot: Int, Sendable, CaseIterable {
    /// The residual stream that enters the layer.
    case residual
    /// Reciprocal root of the norm in front of the attention.
    case attentionRstd
    /// Queries in front of their norm.
    case queryInput
    /// Reciprocal roots of that norm.
    case queryRstd
    /// Keys in front of their norm.
    case keyInput
    /// Reciprocal roots of that norm.
    case keyRstd
    /// Rotated queries.
    case query
    /// Rotated keys.
    case key
    /// Values.
    case value
    /// The heads' outputs.
    case attention
    /// Log-sum-exp of the scores.
    case logSumExp
    /// The output projection's result, in front of the norm behind the attention.
    case attentionOutput
    /// Reciprocal root of that norm.
    case attentionOutputRstd
    /// The residual stream behind the attention.
    case residualMid
    /// Reciprocal root of the norm in front of the MLP.
    case mlpRstd
    /// Gate before its activation.
    case gate
    /// Up; of an MLP without a gate, before its activation.
    case up
    /// The down projection's result, in front of the norm behind the MLP.
    case mlpOutput
    /// Reciprocal root of that norm.
    case mlpOutputRstd

    /// All slots in order: `allCases` as a constant, since a step of training allocates nothing.
    public static let all = Array(allCases)

    /// What computes it, and so what computes it again.
    public enum Group: Sendable, Equatable {
        /// The layer's input.
        case input
        /// The first half of the layer.
        case attention
        /// The second half, as far as its backward reads it.
        case mlp
    }

    /// What computes it.
    public var group: Group {
        switch self {
        case .residual: .input
        case .attentionRstd, .queryInput, .queryRstd, .keyInput, .keyRstd, .query, .key, .value, .attention,
            .logSumExp, .attentionOutput, .attentionOutputRstd, .residualMid:
            .attention
        case .mlpRstd, .gate, .up, .mlpOutput, .mlpOutputRstd: .mlp
        }
    }

    /// True where the backward reads it as it is, not rounded to the precision of what is kept.
    public var isExact: Bool {
        switch self {
        case .attentionRstd, .queryRstd, .keyRstd, .logSumExp, .attentionOutputRstd, .mlpRstd, .mlpOutputRstd: true
        case .residual, .queryInput, .keyInput, .query, .key, .value, .attention, .attentionOutput, .residualMid,
            .gate, .up, .mlpOutput:
            false
        }
    }

    /// Columns in a layer of that spec; 0 where such a layer has no such matrix.
    public func width(in layer: LayerSpec) -> Int {
        let (wiring, attention, hidden) = (layer.wiring, layer.attention, layer.attention.output.rows)
        return switch self {
        case .residual: hidden
        case .attentionRstd: wiring.attentionNorm == nil ? 0 : 1
        case .queryInput: attention.qNorm == nil ? 0 : attention.queryWidth
        case .queryRstd: attention.qNorm.map { attention.queryWidth / $0.width } ?? 0
        case .keyInput: attention.kNorm == nil ? 0 : attention.keyValueWidth
        case .keyRstd: attention.kNorm.map { attention.keyValueWidth / $0.width } ?? 0
        case .query, .attention: attention.queryWidth
        case .key, .value: attention.keyValueWidth
        case .logSumExp: attention.heads
        case .attentionOutput: wiring.attentionOutputNorm == nil ? 0 : hidden
        case .attentionOutputRstd: wiring.attentionOutputNorm == nil ? 0 : 1
        case .residualMid: wiring.isParallel ? 0 : hidden
        case .mlpRstd: wiring.isParallel || wiring.mlpNorm != nil ? 1 : 0
        case .gate: layer.mlp.isGated ? layer.mlp.width : 0
        case .up: layer.mlp.width
        case .mlpOutput: wiring.mlpOutputNorm == nil ? 0 : hidden
        case .mlpOutputRstd: wiring.mlpOutputNorm == nil ? 0 : 1
        }
    }
}

/// The matrices of the layer at work, one a slot, around a residual stream. All fp32. Every layer of a model has the same
/// widths, so all share one set.
///
/// A value is a view: copies alias the same numbers. Nothing is allocated but by the initialiser.
public struct LayerActivations {
    /// The residual stream that enters the layer, [T, hidden].
    public let residual: FloatMatrix
    private let matrices: [FloatMatrix]

    /// Activations around a given residual stream; `inPlace` makes it the stream after attention as well, which a
    /// backward could not use.
    public init(spec: DecoderSpec, residual: FloatMatrix, inPlace: Bool = false, arena: Arena) {
        self.residual = residual
        matrices = LayerSlot.all.map { slot in
            switch slot {
            case .residual: residual
            case .residualMid where inPlace: residual
            default: arena.matrix(rows: residual.rows, columns: slot.width(in: spec.layers[0]))
            }
        }
    }

    /// Floats of an arena that the slots other than the residual stream take.
    public static func footprint(spec: DecoderSpec, tokens: Int) -> Int {
        LayerSlot.all.filter { $0 != .residual }.reduce(0) {
            $0 + Arena.footprint(rows: tokens, columns: $1.width(in: spec.layers[0]))
        }
    }

    /// The activations of the first `count` tokens.
    public func prefix(rows count: Int) -> LayerActivations { around(residual.prefix(rows: count)) }

    /// The same matrices around another residual stream, of at most as many rows.
    public func around(_ residual: FloatMatrix) -> LayerActivations {
        LayerActivations(residual: residual, matrices: matrices)
    }

    private init(residual: FloatMatrix, matrices: [FloatMatrix]) {
        self.residual = residual
        self.matrices = matrices
    }

    /// The matrix of that slot, [T, width].
    public subscript(slot: LayerSlot) -> FloatMatrix {
        slot == .residual ? residual : matrices[slot.rawValue].prefix(rows: residual.rows)
    }

    /// Rotated queries, [T, H·D].
    public var query: FloatMatrix { self[.query] }
    /// Rotated keys, [T, G·D].
    public var key: FloatMatrix { self[.key] }
    /// Values, [T, G·D].
    public var value: FloatMatrix { self[.value] }
    /// The heads' outputs, [T, H·D].
    public var attention: FloatMatrix { self[.attention] }
    /// The residual stream after attention, [T, hidden].
    public var residualMid: FloatMatrix { self[.residualMid] }
    /// Gate before its activation, [T, I].
    public var gate: FloatMatrix { self[.gate] }
    /// Up, [T, I].
    public var up: FloatMatrix { self[.up] }
}
