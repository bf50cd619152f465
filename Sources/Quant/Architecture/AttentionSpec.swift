/// Causal attention with grouped heads.
public struct AttentionSpec: Sendable, Equatable {
    /// Its linear layers in front of the heads.
    public enum Input: Sendable, Equatable {
        /// Queries [H·D, hidden], keys and values [G·D, hidden].
        case separate(q: LinearSpec, k: LinearSpec, v: LinearSpec)
        /// One module for all three, [(H + 2·G)·D, hidden].
        case fused(LinearSpec, FusedOrder)
    }

    /// How the rows of a fused module belong to queries, keys and values.
    public enum FusedOrder: Sendable, Equatable {
        /// All queries, all keys, all values: Phi-3's `qkv_proj`.
        case blocks
        /// Head by head its query, key and value: GPT-NeoX's `query_key_value`; as many keys as queries.
        case heads
    }

    /// `num_attention_heads`.
    public let heads: Int
    /// `num_key_value_heads`, a divisor of `heads`.
    public let keyValueHeads: Int
    /// `head_dim`.
    public let headDim: Int
    /// Tokens that a query sees at most, itself included; 0: all before it.
    public let window: Int
    /// Factor on the scores, 1/√head_dim where nobody says otherwise.
    public let scale: Float
    /// c of c·tanh(score / c); nil: none.
    public let softCap: Float?
    /// Rotary positions; nil: a layer without positions.
    public let rotary: RotarySpec?
    /// What makes queries, keys and values.
    public let input: Input
    /// [hidden, H·D].
    public let output: LinearSpec
    /// Norms of queries and keys in front of the rotation, over each head or over all of them; nil where the model has none.
    public let qNorm, kNorm: NormSpec?

    /// Width of a token's queries.
    public var queryWidth: Int { heads * headDim }
    /// Width of a token's keys, and of its values.
    public var keyValueWidth: Int { keyValueHeads * headDim }
    /// Query heads that share a key and value head.
    public var groupSize: Int { heads / keyValueHeads }

    /// The factor 1/√D, as the kernels have always rounded it.
    static func defaultScale(headDim: Int) -> Float { Float(1 / Double(headDim).squareRoot()) }
}

/// Some columns of a fused module's outputs: `count` runs of `width`, the first at `first`, each `step` behind the one before.
public struct FusedColumns: Sendable, Equatable {
    /// Where the first run begins.
    public let first: Int
    /// From the beginning of a run to the next.
    public let step: Int
    /// Runs.
    public let count: Int
    /// Columns of a run.
    public let width: Int
}

extension AttentionSpec {
    /// Where queries, keys and values are in the outputs of a fused module of that order.
    public func columns(
        _ order: FusedOrder
    ) -> (query: FusedColumns, key: FusedColumns, value: FusedColumns) {
        func block(_ first: Int, _ width: Int) -> FusedColumns {
            FusedColumns(first: first, step: width, count: 1, width: width)
        }
        func head(_ index: Int) -> FusedColumns {
            FusedColumns(first: index * headDim, step: 3 * headDim, count: heads, width: headDim)
        }
        return switch order {
        case .blocks:
            (
                block(0, queryWidth), block(queryWidth, keyValueWidth),
                block(queryWidth + keyValueWidth, keyValueWidth)
            )
        case .heads: (head(0), head(1), head(2))
        }
    }
}

extension MLPSpec {
    /// Where gate and up are in the outputs of a fused module.
    public var fusedColumns: (gate: FusedColumns, up: FusedColumns) {
        (
            FusedColumns(first: 0, step: width, count: 1, width: width),
            FusedColumns(first: width, step: width, count: 1, width: width)
        )
    }
}
