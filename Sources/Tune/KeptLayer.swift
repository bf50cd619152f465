import Kernels
import Model

/// What the backward of a layer computes again instead of finding it kept. It changes memory and time, never a result.
public enum Recompute: String, Sendable, CaseIterable {
    /// Nothing: everything that the backward reads is kept.
    case nothing
    /// Gate and up, from the residual stream behind the attention.
    case mlp
    /// All but the down projection, from the layer's input.
    case layer
}

/// Which adapted layers recompute what: counted from the lowest, first those that recompute everything, then those that
/// recompute their MLP; the others keep all.
public struct RecomputePlan: Sendable, Equatable {
    /// Layers that keep only their input.
    public var layers = 0
    /// Layers above those that do not keep gate and up.
    public var mlps = 0

    /// Everything is kept.
    public static let keepAll = RecomputePlan()

    /// A plan.
    public init(layers: Int = 0, mlps: Int = 0) {
        self.layers = layers
        self.mlps = mlps
    }

    /// What the adapted layer of that index, the lowest being 0, recomputes.
    public subscript(index: Int) -> Recompute { index < layers ? .layer : index < layers + mlps ? .mlp : .nothing }
}

/// What one layer keeps from its forward to its backward.
///
/// The backward reads the forward's values rounded to `precision` (norms' roots and log-sum-exps: as they are), whether
/// they were kept or recomputed: what a recomputation starts from is kept as it is, so it gives the forward's values
/// again, and these are rounded then. So no choice of `Recompute` changes a bit.
struct KeptLayer {
    private struct Attention {
        let rstd, query, key, value, output, logSumExp, residualMid: KeptMatrix
    }
    private struct MLP {
        let rstd, gate, up: KeptMatrix
    }

    let recompute: Recompute
    private let precision: KeptPrecision
    private let residual: KeptMatrix
    private let attention: Attention?
    private let mlp: MLP?

    init(config c: ModelConfig, tokens: Int, recompute: Recompute, precision: KeptPrecision, arena: Arena) {
        self.recompute = recompute
        self.precision = precision
        func matrix(_ columns: Int, _ precision: KeptPrecision) -> KeptMatrix {
            KeptMatrix(rows: tokens, columns: columns, precision: precision, arena: arena)
        }
        residual = matrix(c.hiddenSize, recompute == .layer ? .f32 : precision)
        attention =
            recompute == .layer
            ? nil
            : Attention(
                rstd: matrix(1, .f32), query: matrix(c.queryWidth, precision), key: matrix(c.keyValueWidth, precision),
                value: matrix(c.keyValueWidth, precision), output: matrix(c.queryWidth, precision),
                logSumExp: matrix(c.numAttentionHeads, .f32),
                residualMid: matrix(c.hiddenSize, recompute == .mlp ? .f32 : precision))
        mlp =
            recompute == .nothing
            ? MLP(
                rstd: matrix(1, .f32), gate: matrix(c.intermediateSize, precision),
                up: matrix(c.intermediateSize, precision)) : nil
    }

    /// Writes down what is kept of a forward.
    func keep(_ acts: LayerActivations, _ kernels: KernelContext) {
        kernels.keep(acts.residual, in: residual)
        if let attention {
            kernels.keep(acts.attentionRstd, in: attention.rstd)
            kernels.keep(acts.query, in: attention.query)
            kernels.keep(acts.key, in: attention.key)
            kernels.keep(acts.value, in: attention.value)
            kernels.keep(acts.attention, in: attention.output)
            kernels.keep(acts.logSumExp, in: attention.logSumExp)
            kernels.keep(acts.residualMid, in: attention.residualMid)
        }
        if let mlp {
            kernels.keep(acts.mlpRstd, in: mlp.rstd)
            kernels.keep(acts.gate, in: mlp.gate)
            kernels.keep(acts.up, in: mlp.up)
        }
    }

    /// Makes `acts` what the backward of that layer reads: what was kept, and what has to be computed again.
    func restore(
        _ acts: LayerActivations, layer: Int, model: Transformer, attention context: AttentionContext,
        adapters: AdapterStack, scratch: LayerScratch
    ) {
        let kernels = model.kernels
        kernels.restore(residual, into: acts.residual)
        if let attention {
            kernels.restore(attention.rstd, into: acts.attentionRstd)
            kernels.restore(attention.query, into: acts.query)
            kernels.restore(attention.key, into: acts.key)
            kernels.restore(attention.value, into: acts.value)
            kernels.restore(attention.output, into: acts.attention)
            kernels.restore(attention.logSumExp, into: acts.logSumExp)
            kernels.restore(attention.residualMid, into: acts.residualMid)
        } else {
            model.forwardAttention(layer, acts, attention: context, adapters: adapters, scratch: scratch)
        }
        if let mlp {
            kernels.restore(mlp.rstd, into: acts.mlpRstd)
            kernels.restore(mlp.gate, into: acts.gate)
            kernels.restore(mlp.up, into: acts.up)
        } else {
            model.forwardGate(layer, acts, adapters: adapters, scratch: scratch)
            kernels.round(acts.residualMid, to: precision)
            kernels.round(acts.gate, to: precision)
            kernels.round(acts.up, to: precision)
        }
        if attention == nil {
            kernels.round(acts.residual, to: precision)
            kernels.round(acts.query, to: precision)
            kernels.round(acts.key, to: precision)
            kernels.round(acts.value, to: precision)
            kernels.round(acts.attention, to: precision)
        }
    }
}
