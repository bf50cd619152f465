import Base
import Kernels
import Model
import Quant

/// What a run takes of memory, in bytes.
public struct MemoryUse: Sendable, Equatable {
    /// The frozen weights, mapped from their file.
    public let weights: Int
    /// What the forward of the largest micro-batch keeps for its backward.
    public let kept: Int
    /// What every layer and the head work in.
    public let working: Int
    /// Adapters, gradients, optimiser, and what saving them takes.
    public let optimizer: Int
    /// The program itself with tokenizer and data.
    public let program: Int
    /// What the layers below the lowest adapter gave for texts that come again.
    public var frozen = 0

    /// All together.
    public var total: Int { weights + kept + working + optimizer + program + frozen }
}

/// How a run stays within its memory. It changes memory and time, never a result.
public struct MemoryPlan: Sendable, Equatable {
    /// What the backward computes again.
    public var recompute = RecomputePlan.keepAll
    /// True if weights are in memory only while their layer is at work.
    public var streamsWeights = false

    /// A model that keeps to it.
    func model(_ model: Transformer) throws -> Transformer { streamsWeights ? try model.streamingWeights() : model }
}

/// Estimates the memory of a run, chooses what is recomputed, and finds what would make a run fit that does not.
struct MemoryPlanner {
    /// Code and what it sets up, as it is resident in a training. Code that is not optimised is larger.
    private static var codeBytes: Int {
        #if DEBUG
            52 << 20
        #else
            37 << 20
        #endif
    }
    /// What a thread has beside its work, an entry of the vocabulary in the tokenizer, and MPI.
    private static let (threadBytes, entryBytes, messageBytes) = (256 << 10, 48, 24 << 20)

    private let model: Transformer
    private let frozen: [LoRAAdapter]
    private let trained: LoRAAdapter
    private let hasReference: Bool
    private let hasConsistency: Bool
    private let programBytes: Int
    private let weightBytes: Int
    private let streamedBytes: Int  // of the weights, where they are streamed
    /// Layers that keep something for the backward.
    let keptLayers: Int

    /// A planner for a run on `data`, all that stays in memory of what it reads.
    init(
        model: Transformer, frozen: [LoRAAdapter], trained: LoRAAdapter, data: [EncodedDataset] = [],
        hasReference: Bool = false, hasConsistency: Bool = false
    ) {
        self.model = model
        self.frozen = frozen
        self.trained = trained
        self.hasReference = hasReference
        self.hasConsistency = hasConsistency
        programBytes =
            Self.codeBytes + model.kernels.threads * Self.threadBytes + model.spec.vocabSize * Self.entryBytes
            + (model.kernels.crew == nil ? 0 : Self.messageBytes) + data.reduce(0) { $0 + $1.byteCount }
        let store = model.store
        weightBytes = store.tensorNames.reduce(0) { $0 + ((try? store.tensor($1))?.info.byteCount ?? 0) }
        let layers = (try? LayerPages(store: store, spec: model.spec))?.byteCounts
        streamedBytes = weightBytes - (layers.map { $0.all - $0.largest } ?? 0)
        keptLayers = model.spec.numHiddenLayers - (hasConsistency ? 0 : trained.lowestLayer)
    }

    /// The plan that keeps least.
    var smallest: RecomputePlan { RecomputePlan(layers: keptLayers) }
    /// Keep all, recompute every MLP, recompute every layer, and that with streamed weights.
    var pure: [(name: String, plan: MemoryPlan)] {
        [
            ("keep all", MemoryPlan()), ("recompute MLPs", MemoryPlan(recompute: RecomputePlan(mlps: keptLayers))),
            ("recompute layers", MemoryPlan(recompute: smallest)),
            ("stream weights", MemoryPlan(recompute: smallest, streamsWeights: true)),
        ]
    }

    /// What a run with micro-batches of up to `tokens` tokens takes.
    func use(tokens: Int, _ plan: MemoryPlan) -> MemoryUse {
        sizes(tokens: tokens, streamed: plan.streamsWeights).use(plan.recompute)
    }

    /// The same with weights that stay.
    func use(tokens: Int, recompute: RecomputePlan) -> MemoryUse {
        use(tokens: tokens, MemoryPlan(recompute: recompute))
    }

    /// The plan that costs least time: weights are streamed only if nothing fits otherwise. `context` is the longest sample.
    func plan(tokens: Int, context: Int, limit: Int) -> MemoryPlan {
        for streamed in [false, true] {
            let plan = MemoryPlan(
                recompute: best(tokens: tokens, context: context, limit: limit, streamed: streamed),
                streamsWeights: streamed)
            if use(tokens: tokens, plan).total <= limit { return plan }
        }
        return MemoryPlan(recompute: smallest, streamsWeights: true)
    }

    /// The plan that costs least time among those that fit; the smallest if none does. `context` is the longest sample.
    func best(tokens: Int, context: Int, limit: Int, streamed: Bool = false) -> RecomputePlan {
        let sizes = sizes(tokens: tokens, streamed: streamed)
        let costs = RecomputeCosts(model.spec, context: context)
        var best: (plan: RecomputePlan, cost: Double)?
        for layers in 0...keptLayers {
            for mlps in 0...keptLayers - layers {
                let plan = RecomputePlan(layers: layers, mlps: mlps)
                guard sizes.use(plan).total <= limit else { continue }
                let cost = Double(layers) * costs.layer + Double(mlps) * costs.mlp
                if best.map({ cost < $0.cost }) ?? true { best = (plan, cost) }
                break  // more of them only cost more
            }
        }
        return best?.plan ?? smallest
    }

    /// - Throws: an out-of-memory error with what would make the run fit, if the plan does not.
    func check(_ plan: TrainingPlan, data: [EncodedDataset], options: TrainingOptions) throws {
        let (use, limit) = (plan.memory, plan.limitBytes)
        guard use.total > limit else { return }
        let smallest = MemoryPlan(recompute: smallest, streamsWeights: true)
        func least(_ tokens: Int) -> Int { self.use(tokens: tokens, smallest).total }
        let lengths = data.map { $0.samples.map(\.widest).sorted(by: >) }
        let advice: String
        if let batch = (1..<max(1, options.batchSize)).reversed().first(where: {
            batch in least(lengths.map { $0.prefix(batch).reduce(0, +) }.max() ?? 0) <= limit
        }) {
            let accumulation = (options.effectiveBatchSize - 1) / batch + 1
            advice =
                "`per_device_train_batch_size` \(batch) and `gradient_accumulation_steps` \(accumulation) would fit"
        } else if least(16) <= limit {
            var low = 16
            var high = plan.maximumTokens
            while high - low > 1 {
                let middle = (low + high) / 2
                if least(middle) <= limit { low = middle } else { high = middle }
            }
            advice = "`per_device_train_batch_size` 1 and `max_length` \(low) would fit"
        } else {
            advice =
                "the model needs \(byteText(least(16))) at least; convert it to fewer bits, train fewer modules or a "
                + "lower rank"
        }
        throw MeraserError(
            .outOfMemory,
            "the run needs \(byteText(use.total)) even if the backward recomputes every layer and weights are streamed "
                + "(weights \(byteText(use.weights)), activations \(byteText(use.kept + use.working)), optimiser "
                + "\(byteText(use.optimizer))) and may take \(byteText(limit)): \(advice)")
    }

    // MARK: Sizes

    /// Sizes of the parts for one number of tokens.
    private struct Sizes {
        let keptLayers: Int
        let weights, optimizer, working, program: Int
        let nothing, mlp, layer: Int  // kept of one layer, by what is recomputed

        func use(_ plan: RecomputePlan) -> MemoryUse {
            MemoryUse(
                weights: weights,
                kept: plan.layers * layer + plan.mlps * mlp + (keptLayers - plan.layers - plan.mlps) * nothing,
                working: working, optimizer: optimizer, program: program)
        }
    }

    private func sizes(tokens: Int, streamed: Bool) -> Sizes {
        let shape = GraphShape(
            model: model, frozen: frozen, trained: trained, tokens: tokens, hasReference: hasReference,
            hasConsistency: hasConsistency)
        func layer(_ recompute: Recompute) -> Int {
            let arena = Arena.measuring()
            _ = KeptLayer(
                model.spec.layers[0], tokens: tokens, recompute: recompute, precision: shape.precision, arena: arena)
            return arena.peak * MemoryLayout<Float>.size
        }
        let all = TrainingBuffers.floatCount(shape, recompute: .keepAll, model: model) * MemoryLayout<Float>.size
        let nothing = layer(.nothing)
        let vocabulary = model.spec.vocabSize
        let headWorkspace = model.kernels.backwardWorkspaceBytes(
            model.backward, tokens: LossHead.chunkRows(vocabulary: vocabulary, tokens: tokens), columns: vocabulary)
        // The attention's own copy of a layer's keys and values.
        let pages = 2 * (model.keyValueType == .f32 ? 4 : 2) * tokens * model.spec.layers[0].attention.keyValueWidth
        let frozenParameters = frozen.reduce(0) { $0 + $1.parameters.count }
        return Sizes(
            keptLayers: keptLayers, weights: streamed ? streamedBytes : weightBytes,
            optimizer: OptimizerState.byteCount(parameters: trained.parameters.count)
                + frozenParameters * MemoryLayout<Float>.size
                + (model.kernels.crew == nil ? 0 : ShardChain.byteCount(parameters: trained.parameters.count)),
            working: all - keptLayers * nothing + pages + max(model.workspaceBytes(tokens: tokens), headWorkspace),
            program: programBytes, nothing: nothing, mlp: layer(.mlp), layer: layer(.layer))
    }
}

/// Multiplications per token that recomputing takes, in one layer.
struct RecomputeCosts {
    /// What of the MLP is computed again.
    let mlp: Double
    /// What of the layer.
    let layer: Double
    /// The whole forward.
    let forward: Double

    init(_ spec: DecoderSpec, context: Int) {
        let layer = spec.layers[0]
        let (queries, keys) = (layer.attention.queryWidth, layer.attention.keyValueWidth)
        let attention = 2 * spec.hiddenSize * (queries + keys) + context * queries
        let matrix = spec.hiddenSize * layer.mlp.width
        let front = layer.mlp.isGated ? 2 * matrix : matrix
        // The norm behind an MLP needs what the down projection gives.
        mlp = Double(layer.wiring.mlpOutputNorm == nil ? front : front + matrix)
        self.layer = Double(attention) + mlp
        forward = Double(attention + front + matrix)
    }
}
