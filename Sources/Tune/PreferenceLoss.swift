import Foundation
import Kernels
import Model

/// Negative preference optimisation (NPO, arXiv 2404.05868): what is learnt becomes unlikelier than the frozen model has it,
/// and the less it is pushed the unlikelier it is by then.
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
        guard let rows = buffers.reference else { preconditionFailure("the graph was not made with hasReference") }
        precondition(batch.reference == nil, "the frozen model is asked for the labels themselves")
        guard batch.batch.tokenCount > 0 else { return 0 }
        let reference = rows.prefix(rows: batch.batch.tokenCount)
        try askFrozen(batch, into: reference)
        let before = try buffers.head.negativeLogLikelihoods(batch, normed: reference, isFrozen: true)
        let context = prepare(batch.batch)
        let adapters = adapters(batch, dropout)
        let stream = try forward(batch.batch, batch.softRows, context, adapters, keeping: true)
        let normed = buffers.normed.prefix(rows: stream.rows)
        model.finalNorm(stream, into: normed, rstd: buffers.finalRstd)
        let now = try buffers.head.negativeLogLikelihoods(batch, normed: normed, isFrozen: false)

        var shares: [Int32: Double] = [:]
        for row in batch.labels.indices where batch.labels[row] >= 0 {
            shares[batch.samples[row], default: 0] += Double(batch.weights[row])
        }
        var loss = 0.0
        var slopes: [Int32: Float] = [:]
        for sample in shares.keys.sorted() {
            let share = shares[sample] ?? 0
            let ratio = beta * ((before[sample] ?? 0) - (now[sample] ?? 0))
            loss += share * 2 / beta * (max(ratio, 0) + log1p(exp(-abs(ratio))))
            slopes[sample] = Float(-2 * share / (1 + exp(-ratio)))
        }
        // Of the likelihood's own loss the gradient is taken with these weights.
        var pushed = batch
        for row in batch.labels.indices where batch.labels[row] >= 0 {
            pushed.weights[row] = slopes[batch.samples[row]] ?? 0
        }
        _ = try head(pushed, stream, into: gradients)
        try backward(pushed, context, adapters, into: gradients)
        return loss
    }
}
