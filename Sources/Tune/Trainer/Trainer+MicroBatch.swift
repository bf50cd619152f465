import Model

/// What a micro-batch of a run is: the training itself does it, and the forecast rehearses it.
extension Trainer {
    /// The dropout of a step, as graphs take it.
    typealias Dropout = (probability: Float, seed: UInt64, step: UInt64)

    /// A graph for the run's micro-batches.
    func makeGraph() -> TrainingGraph {
        TrainingGraph(
            model: model, frozen: frozen, trained: adapter, maximumTokens: plan.maximumTokens,
            recompute: plan.recompute, hasReference: asksFrozen, hasConsistency: learnsConsistency)
    }

    /// The dropout of that step; nil: the adapter has none.
    func dropout(step: Int) -> Dropout? {
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
        let count = steps.microBatches(step: step).reduce(0) { $0 + $1.count }
        return kl.plan.batches(
            step: step, samples: kl.data.samples, mean: options.lossMean, weight: options.klWeight, firstSample: count)
    }

    /// Adds the gradient of a micro-batch of the run's own rows to `gradients`, and what the goal counts to `loss`.
    ///
    /// - Parameter tokens: of the whole step.
    /// - Throws: as the graph does.
    func accumulate(
        _ batch: LabelledBatch, tokens: Int, on graph: TrainingGraph, dropout: Dropout?, into gradients: LoRAAdapter,
        loss: inout Double
    ) throws {
        switch options.goal {
        case .likelihood where batch.reference != nil:
            loss += try graph.accumulateDivergence(batch, dropout: dropout, into: gradients)
        case .likelihood:
            loss += try graph.accumulate(batch, dropout: dropout, into: gradients)
        case .npo(let beta):
            loss += try graph.accumulatePreference(batch, beta: beta, dropout: dropout, into: gradients)
        case .crow(let alpha, let epsilon):
            loss += try graph.accumulate(batch, dropout: dropout, into: gradients)
            loss += try graph.accumulateConsistency(
                batch, step: Float(epsilon), weight: Float(alpha / Double(tokens)), dropout: dropout, into: gradients)
        }
    }
}
