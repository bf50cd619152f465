import Base
import Kernels
import Model

/// What a micro-batch of a run is: the training itself does it, and the forecast rehearses it.
extension Trainer {
    /// A graph for the run's micro-batches.
    func makeGraph() -> TrainingGraph {
        TrainingGraph(
            model: model, frozen: frozen, trained: adapter, maximumTokens: plan.maximumTokens,
            recompute: plan.recompute, hasReference: asksFrozen, hasConsistency: learnsConsistency)
    }

    /// The dropout of that step; nil: the adapter has none.
    func dropout(step: Int) -> StepDropout? {
        let probability = Float(adapter.config.loraDropout)
        return probability > 0 ? (probability: probability, seed: options.seed, step: UInt64(step)) : nil
    }

    /// The micro-batches of a step's own rows.
    func batches(step: Int) -> [LabelledBatch] {
        steps.batches(step: step, samples: data.samples, mean: options.lossMean)
    }

    /// The micro-batches of its clean rows, on which the divergence from the frozen model is learnt.
    func cleanBatches(step: Int) -> [LabelledBatch] {
        guard let kl else { return [] }
        let count = steps.microBatches(step: step).reduce(0) { $0 + $1.count } * (data.hasRejected ? 2 : 1)
        return kl.plan.batches(
            step: step, samples: kl.data.samples, mean: options.lossMean, weight: options.klWeight, firstSample: count)
    }

    /// What is to be computed of a step, in the order in which it adds up.
    func shards(step: Int) -> [StepShard] {
        let batches = batches(step: step)
        let tokens = batches.reduce(0) { $0 + $1.batch.tokenCount }
        let noise = options.neftuneNoiseAlpha.map { EmbeddingNoise(alpha: $0, seed: options.seed, step: UInt64(step)) }
        let own = batches.flatMap { batch -> [StepShard] in
            switch options.goal {
            case .likelihood: [StepShard(batch.reference != nil ? .divergence : .likelihood(noise: noise), batch)]
            case .npo(let beta): [StepShard(.preference(beta: beta), batch)]
            case .dpo(let preference): [StepShard(.pairs(preference), batch)]
            case .crow(let alpha, let epsilon):
                [
                    StepShard(.likelihood(noise: nil), batch),
                    StepShard(
                        .consistency(step: Float(epsilon), weight: Float(alpha / Double(tokens))), batch),
                ]
            }
        }
        return own + cleanBatches(step: step).map { StepShard(.divergence, $0, isClean: true) }
    }

    /// What other ranks are told of this training.
    func task(_ model: ModelReference, frozen: [String]) -> ShardTask {
        ShardTask(
            model: model, frozen: frozen, trained: adapter, maximumTokens: plan.maximumTokens,
            context: max(data.longest, kl?.data.longest ?? 0), hasReference: asksFrozen,
            hasConsistency: learnsConsistency, frozenTexts: plan.frozen?.texts ?? .none,
            softPrompt: data.softPrompt?.values ?? [], memory: options.memory)
    }

    /// What each of the other ranks would need; nothing where this process is alone.
    ///
    /// - Throws: what opening the model throws there.
    public func rankPlans() throws -> [RankPlan] {
        try self.model.kernels.crew?.plans(self.model, frozen: frozen) { task($0, frozen: $1) } ?? []
    }
}
