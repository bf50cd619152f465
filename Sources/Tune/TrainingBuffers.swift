import Kernels
import Model
import Quant

/// What the memory of a training graph depends on, apart from the model and from what is recomputed.
struct GraphShape {
    /// Tokens of the largest batch.
    let tokens: Int
    /// The lowest layer that is propagated through.
    let lowestLayer: Int
    /// The largest rank of a module.
    let maximumRank: Int
    /// The widest input of a trained module that dropout applies to; 0 without dropout.
    let droppedWidth: Int
    /// Of what is kept from the forward to the backward.
    let precision: KeptPrecision
    /// True if the frozen model is asked too.
    let hasReference: Bool
    /// True if the layers' consistency is learnt too.
    let hasConsistency: Bool

    /// - Parameter precision: nil: f32 where the model computes in f32, else bf16.
    init(
        model: Transformer, frozen: [LoRAAdapter], trained: LoRAAdapter, tokens: Int, throughEmbeddings: Bool = false,
        precision: KeptPrecision? = nil, hasReference: Bool = false, hasConsistency: Bool = false
    ) {
        self.tokens = tokens
        self.hasConsistency = hasConsistency
        lowestLayer = throughEmbeddings || hasConsistency ? 0 : trained.lowestLayer
        maximumRank = AdapterStack(frozen: frozen, trained: trained).maximumRank
        let widths = trained.modules.map { model.spec[$0].columns }
        droppedWidth = trained.config.loraDropout > 0 ? widths.max() ?? 0 : 0
        self.precision = precision ?? (model.compute == .f32 ? .f32 : .bf16)
        self.hasReference = hasReference
    }
}

/// The memory of a training graph: what is kept of each adapted layer, and one set of working matrices that all layers
/// share. The head's working matrices lie in the same place as the layers': they are never needed at once.
struct TrainingBuffers {
    /// The residual stream before and after a layer, in turn; [T, hidden].
    let streams: (FloatMatrix, FloatMatrix)
    /// Gradient of the residual stream, [T, hidden].
    let dStream: FloatMatrix
    /// What the layers from the lowest adapted one up keep.
    let kept: [KeptLayer]
    /// Output of the final norm of the frozen model for the same tokens, [T, hidden]; nil without a reference.
    let reference: FloatMatrix?
    /// What the layers' consistency is computed of; nil where it is not learnt.
    let consistency: ConsistencyBuffers?
    /// The layer at work.
    let activations: LayerActivations
    /// Scratch of the layer at work.
    let scratch: LayerScratch
    /// Its backward.
    let backward: LayerBackward
    /// Output of the final norm, and its gradient, [T, hidden].
    let normed: FloatMatrix
    /// Gradient of `normed`.
    let dNormed: FloatMatrix
    /// Reciprocal root of the final norm, [T].
    let finalRstd: FloatMatrix
    /// Head and loss.
    let head: LossHead

    init(
        _ shape: GraphShape, recompute: RecomputePlan, model: Transformer, adapters: AdapterStack, arena: Arena
    ) {
        let spec = model.spec
        let tokens = shape.tokens
        func stream() -> FloatMatrix { arena.matrix(rows: tokens, columns: spec.hiddenSize) }
        streams = (stream(), stream())
        dStream = stream()
        kept = spec.layers[shape.lowestLayer...].enumerated().map { index, layer in
            KeptLayer(
                layer, tokens: tokens, recompute: recompute[index], precision: shape.precision, arena: arena)
        }
        reference = shape.hasReference ? stream() : nil
        consistency = shape.hasConsistency ? ConsistencyBuffers(spec, tokens: tokens, arena: arena) : nil
        let start = arena.used
        activations = LayerActivations(spec: spec, residual: streams.0, arena: arena)
        scratch = LayerScratch(
            spec: spec, tokens: tokens, maximumRank: shape.maximumRank, droppedWidth: shape.droppedWidth,
            arena: arena)
        backward = LayerBackward(model: model, tokens: tokens, droppedWidth: shape.droppedWidth, arena: arena)
        arena.reset(to: start)
        normed = stream()
        dNormed = stream()
        finalRstd = arena.matrix(rows: tokens, columns: 1)
        head = LossHead(
            model: model, adapters: adapters, tokens: tokens, hasReference: shape.hasReference, scratch: scratch,
            arena: arena)
    }

    /// Floats of the arena that it needs.
    static func floatCount(_ shape: GraphShape, recompute: RecomputePlan, model: Transformer) -> Int {
        let arena = Arena.measuring()
        _ = TrainingBuffers(shape, recompute: recompute, model: model, adapters: AdapterStack(), arena: arena)
        return arena.peak
    }
}
