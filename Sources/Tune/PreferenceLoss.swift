import Foundation
import Kernels
import Model

/// What is learnt of how likely the rows are beside what the frozen model has: negative preference optimisation (NPO, arXiv
/// 2404.05868), where what is learnt becomes unlikelier, and the less it is pushed the unlikelier it is by then; and direct
/// preference optimisation, where of two answers the chosen one becomes likelier beside the other.
extension TrainingGraph {
    /// Adds the gradient of Σ over samples of weight · −(2/β) · log σ(−β · log(p / p_ref)) to `gradients` and returns the sum.
    ///
    /// p is what the model gives all labels of a sample together, p_ref what it gives them without the trained adapter; the
    /// weight of a sample is the sum of its labels'. Needs `hasReference`.
    /// - Throws: a runtime error if a value of a forward or the loss is not finite.
    public func accumulatePreference(
        _ batch: LabelledBatch, beta: Double, dropout: (probability: Float, seed: UInt64, step: UInt64)? = nil,
        into gradients: LoRAAdapter
    ) throws -> Double {
        try accumulate(batch, dropout: dropout, into: gradients) { ratios, shares in
            var loss = 0.0
            var slopes: [Int32: Float] = [:]
            for sample in shares.keys.sorted() {
                let share = shares[sample] ?? 0
                let ratio = beta * (ratios[sample] ?? 0)
                loss += share * 2 / beta * (max(ratio, 0) + log1p(exp(-abs(ratio))))
                slopes[sample] = Float(-2 * share / (1 + exp(-ratio)))
            }
            return (loss, slopes)
        }
    }

    /// Adds the gradient of Σ over pairs of answers of weight · what `preference` says they cost to `gradients` and returns the
    /// sum; the weight of a pair is the sum of its labels'. Needs `hasReference`, and a batch of pairs.
    ///
    /// - Throws: a runtime error if a value of a forward or the loss is not finite.
    func accumulatePairs(
        _ batch: LabelledBatch, _ preference: DirectPreference,
        dropout: (probability: Float, seed: UInt64, step: UInt64)? = nil, into gradients: LoRAAdapter
    ) throws -> Double {
        let labels = batch.labelsOfSamples
        return try accumulate(batch, dropout: dropout, into: gradients) { ratios, shares in
            var loss = 0.0
            var slopes: [Int32: Float] = [:]
            for chosen in shares.keys.sorted() where chosen % 2 == 0 {
                let share = (shares[chosen] ?? 0) + (shares[chosen + 1] ?? 0)
                let cost = preference.cost(
                    .init(logRatio: ratios[chosen] ?? 0, labels: labels[chosen] ?? 0),
                    over: .init(logRatio: ratios[chosen + 1] ?? 0, labels: labels[chosen + 1] ?? 0))
                loss += share * cost.value
                // The log-probability is the negative of what the head's weights are for.
                (slopes[chosen], slopes[chosen + 1]) = (Float(-share * cost.chosen), Float(-share * cost.rejected))
            }
            return (loss, slopes)
        }
    }

    /// The same sum without dropout, keeping nothing for a backward, and the rewards of each pair in the batch's order.
    ///
    /// - Throws: as `accumulatePairs`.
    func compare(
        _ batch: LabelledBatch, _ preference: DirectPreference
    ) throws -> (loss: Double, rewards: [AnswerRewards]) {
        // What is only measured takes no room from what comes again.
        frozenOutputs?.takesMore = false
        let before = try frozenLikelihoods(batch)
        let stream = try forward(
            batch.batch, batch.softRows, prepare(batch.batch), adapters(batch, nil), keeping: false,
            remembering: false)
        let ratios = try likelihoods(batch, behind: stream).merging(before) { now, before in before - now }
        let (labels, shares) = (batch.labelsOfSamples, batch.weightsOfSamples)
        var loss = 0.0
        let rewards = shares.keys.sorted().filter { $0 % 2 == 0 }.map { chosen in
            let (own, other) = (ratios[chosen] ?? 0, ratios[chosen + 1] ?? 0)
            let cost = preference.cost(
                .init(logRatio: own, labels: labels[chosen] ?? 0),
                over: .init(logRatio: other, labels: labels[chosen + 1] ?? 0))
            loss += ((shares[chosen] ?? 0) + (shares[chosen + 1] ?? 0)) * cost.value
            return AnswerRewards(chosen: preference.beta * own, rejected: preference.beta * other)
        }
        return (loss, rewards)
    }

    /// What `judge` makes of each sample's log(p / p_ref) and weight: the loss, and its slope along each sample's negative
    /// log-likelihood, whose gradient is added to `gradients`.
    private func accumulate(
        _ batch: LabelledBatch, dropout: (probability: Float, seed: UInt64, step: UInt64)?,
        into gradients: LoRAAdapter,
        judge: (_ ratios: [Int32: Double], _ shares: [Int32: Double]) -> (loss: Double, slopes: [Int32: Float])
    ) throws -> Double {
        guard batch.batch.tokenCount > 0 else { return 0 }
        let before = try frozenLikelihoods(batch)
        let context = prepare(batch.batch)
        let adapters = adapters(batch, dropout)
        let stream = try forward(batch.batch, batch.softRows, context, adapters, keeping: true)
        let now = try likelihoods(batch, behind: stream)
        let (loss, slopes) = judge(now.merging(before) { now, before in before - now }, batch.weightsOfSamples)
        // Of the likelihood's own loss the gradient is taken with these weights.
        var pushed = batch
        for row in batch.labels.indices where batch.labels[row] >= 0 {
            pushed.weights[row] = slopes[batch.samples[row]] ?? 0
        }
        _ = try head(pushed, stream, into: gradients)
        try backward(pushed, context, adapters, into: gradients)
        return loss
    }

    /// The negative log-likelihood of each sample's labels without the trained adapter.
    private func frozenLikelihoods(_ batch: LabelledBatch) throws -> [Int32: Double] {
        guard let rows = buffers.reference else { preconditionFailure("the graph was not made with hasReference") }
        precondition(batch.reference == nil, "the frozen model is asked for the labels themselves")
        let reference = rows.prefix(rows: batch.batch.tokenCount)
        try askFrozen(batch, into: reference)
        return try buffers.head.negativeLogLikelihoods(batch, normed: reference, isFrozen: true)
    }

    /// The same with it, of the stream behind the last layer.
    private func likelihoods(_ batch: LabelledBatch, behind stream: FloatMatrix) throws -> [Int32: Double] {
        let normed = buffers.normed.prefix(rows: stream.rows)
        model.finalNorm(stream, into: normed, rstd: buffers.finalRstd)
        return try buffers.head.negativeLogLikelihoods(batch, normed: normed, isFrozen: false)
    }
}

extension LabelledBatch {
    /// Each sample's labels' weights together, by its number.
    fileprivate var weightsOfSamples: [Int32: Double] {
        var sums: [Int32: Double] = [:]
        for row in labels.indices where labels[row] >= 0 { sums[samples[row], default: 0] += Double(weights[row]) }
        return sums
    }

    /// Each sample's labels, by its number.
    fileprivate var labelsOfSamples: [Int32: Int] {
        var counts: [Int32: Int] = [:]
        for row in labels.indices where labels[row] >= 0 { counts[samples[row], default: 0] += 1 }
        return counts
    }
}
