import Kernels

// Legend: T tokens of the batch, H query heads, G key/value heads, D head_dim, I intermediate_size.

/// What one decoder layer computes in the forward and its backward reads again. All fp32.
public struct LayerActivations {
    /// The residual stream that enters the layer, [T, hidden].
    public let residual: FloatMatrix
    /// Reciprocal root of the input norm, [T].
    public let attentionRstd: FloatMatrix
    /// Rotated queries, [T, H·D].
    public let query: FloatMatrix
    /// Rotated keys, [T, G·D].
    public let key: FloatMatrix
    /// Values, [T, G·D].
    public let value: FloatMatrix
    /// The heads' outputs, [T, H·D].
    public let attention: FloatMatrix
    /// Log-sum-exp of the scores, [T, H].
    public let logSumExp: FloatMatrix
    /// The residual stream after attention, [T, hidden].
    public let residualMid: FloatMatrix
    /// Reciprocal root of the second norm, [T].
    public let mlpRstd: FloatMatrix
    /// Gate before its SiLU, [T, I].
    public let gate: FloatMatrix
    /// Up, [T, I].
    public let up: FloatMatrix

    /// Activations around a given residual stream; `inPlace` makes it the stream after attention as well, which a
    /// backward could not use.
    public init(config: ModelConfig, residual: FloatMatrix, inPlace: Bool = false, arena: Arena) {
        let tokens = residual.rows
        func matrix(_ columns: Int) -> FloatMatrix { arena.matrix(rows: tokens, columns: columns) }
        self.residual = residual
        attentionRstd = matrix(1)
        query = matrix(config.queryWidth)
        key = matrix(config.keyValueWidth)
        value = matrix(config.keyValueWidth)
        attention = matrix(config.queryWidth)
        logSumExp = matrix(config.numAttentionHeads)
        residualMid = inPlace ? residual : matrix(config.hiddenSize)
        mlpRstd = matrix(1)
        gate = matrix(config.intermediateSize)
        up = matrix(config.intermediateSize)
    }

    /// The activations of the first `count` tokens.
    public func prefix(rows count: Int) -> LayerActivations {
        LayerActivations(of: self, residual: residual.prefix(rows: count))
    }

    /// The same matrices around another residual stream, of at most as many rows.
    public func around(_ residual: FloatMatrix) -> LayerActivations { LayerActivations(of: self, residual: residual) }

    private init(of all: LayerActivations, residual: FloatMatrix) {
        let rows = residual.rows
        self.residual = residual
        attentionRstd = all.attentionRstd.prefix(rows: rows)
        query = all.query.prefix(rows: rows)
        key = all.key.prefix(rows: rows)
        value = all.value.prefix(rows: rows)
        attention = all.attention.prefix(rows: rows)
        logSumExp = all.logSumExp.prefix(rows: rows)
        residualMid = all.residualMid.prefix(rows: rows)
        mlpRstd = all.mlpRstd.prefix(rows: rows)
        gate = all.gate.prefix(rows: rows)
        up = all.up.prefix(rows: rows)
    }

    /// Floats of an arena that the fields other than `residual` take.
    public static func footprint(config: ModelConfig, tokens: Int) -> Int {
        [
            1, config.queryWidth, config.keyValueWidth, config.keyValueWidth, config.queryWidth,
            config.numAttentionHeads, config.hiddenSize, 1, config.intermediateSize, config.intermediateSize,
        ].reduce(0) { $0 + Arena.footprint(rows: tokens, columns: $1) }
    }
}

/// Scratch that a layer's forward uses and does not keep.
public struct LayerScratch {
    /// A normed residual stream, [T, hidden].
    public let hidden: FloatMatrix
    /// SiLU(gate) · up, [T, I].
    public let intermediate: FloatMatrix
    /// An adapter's input after dropout, [T, K]; empty without dropout.
    public let dropped: FloatMatrix
    private let lowRankU: FloatMatrix
    private let lowRankScaled: FloatMatrix

    /// Scratch for batches of up to `tokens` tokens, adapters of up to that rank, and dropout on inputs of up to
    /// `droppedWidth` features (0: none).
    public init(config: ModelConfig, tokens: Int, maximumRank: Int, droppedWidth: Int = 0, arena: Arena) {
        hidden = arena.matrix(rows: tokens, columns: config.hiddenSize)
        intermediate = arena.matrix(rows: tokens, columns: config.intermediateSize)
        dropped = arena.matrix(rows: tokens, columns: droppedWidth)
        lowRankU = arena.matrix(rows: tokens, columns: max(maximumRank, 1))
        lowRankScaled = arena.matrix(rows: tokens, columns: max(maximumRank, 1))
    }

    /// Floats of an arena that it takes.
    public static func footprint(config: ModelConfig, tokens: Int, maximumRank: Int, droppedWidth: Int = 0) -> Int {
        [config.hiddenSize, config.intermediateSize, droppedWidth, max(maximumRank, 1), max(maximumRank, 1)]
            .reduce(0) { $0 + Arena.footprint(rows: tokens, columns: $1) }
    }

    /// Two matrices [T, r].
    public func lowRank(rows: Int, rank: Int) -> (FloatMatrix, FloatMatrix) {
        (lowRankU.reshaped(rows: rows, columns: rank), lowRankScaled.reshaped(rows: rows, columns: rank))
    }
}
