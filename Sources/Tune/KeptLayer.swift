import Kernels
import Model
import Quant

/// What the backward of a layer computes again instead of finding it kept. It changes memory and time, never a result.
public enum Recompute: String, Sendable, CaseIterable {
    /// Nothing: everything that the backward reads is kept.
    case nothing
    /// Gate and up, from the residual stream that the MLP reads.
    case mlp
    /// All that the backward reads (of most layers all but the down projection), from the layer's input.
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
    let recompute: Recompute
    /// What the computing starts from, which is therefore kept as it is; nil where nothing is computed again.
    private let start: LayerSlot?
    private let precision: KeptPrecision
    /// One a slot; nil for what is computed again, and for what such a layer does not have.
    private let kept: [KeptMatrix?]

    init(_ layer: LayerSpec, tokens: Int, recompute: Recompute, precision: KeptPrecision, arena: Arena) {
        self.recompute = recompute
        self.precision = precision
        let start = recompute.start(layer.wiring)
        self.start = start
        kept = LayerSlot.all.map { slot in
            let width = slot.width(in: layer)
            guard width > 0, recompute.keeps(slot) else { return nil }
            let isExact = slot.isExact || start == slot
            return KeptMatrix(rows: tokens, columns: width, precision: isExact ? .f32 : precision, arena: arena)
        }
    }

    /// Writes down what is kept of a forward.
    func keep(_ acts: LayerActivations, _ kernels: KernelContext) {
        // By index, here and below: so nothing is allocated, in debug builds neither.
        for i in LayerSlot.all.indices {
            if let matrix = kept[i] { kernels.keep(acts[LayerSlot.all[i]], in: matrix) }
        }
    }

    /// Makes `acts` what the backward of that layer reads: what was kept, and what has to be computed again.
    func restore(
        _ acts: LayerActivations, layer: Int, model: Transformer, attention context: AttentionContext,
        adapters: AdapterStack, scratch: LayerScratch
    ) {
        let kernels = model.kernels
        for i in LayerSlot.all.indices {
            if let matrix = kept[i] { kernels.restore(matrix, into: acts[LayerSlot.all[i]]) }
        }
        if recompute == .layer {
            model.recomputeAttention(layer, acts, attention: context, adapters: adapters, scratch: scratch)
        }
        if recompute != .nothing {
            model.recomputeMLP(layer, acts, attention: context, adapters: adapters, scratch: scratch)
        }
        for i in LayerSlot.all.indices {
            let slot = LayerSlot.all[i]
            let isRounded = kept[i] != nil && start != slot
            if !slot.isExact, !isRounded { kernels.round(acts[slot], to: precision) }
        }
    }
}

extension Recompute {
    /// What the computing starts from in a layer of that wiring; nil where nothing is computed again.
    fileprivate func start(_ wiring: Wiring) -> LayerSlot? {
        switch self {
        case .nothing: nil
        case .mlp: wiring.isParallel ? .residual : .residualMid
        case .layer: .residual
        }
    }

    /// True for what is kept.
    fileprivate func keeps(_ slot: LayerSlot) -> Bool {
        switch slot.group {
        case .input: true
        case .attention: self != .layer
        case .mlp: self == .nothing
        }
    }
}
