import Base
import Kernels
import Model

/// A part of a step's gradient that a rank can compute by itself. How a step is cut depends on its data alone; its gradient is
/// the sum over its shards in their order, whoever computes which.
struct StepShard {
    /// What is computed of the rows.
    enum Work: Equatable {
        /// Cross-entropy; the embeddings may have noise on them.
        case likelihood(noise: EmbeddingNoise?)
        /// Divergence from the frozen model.
        case divergence
        /// Negative preference with that β.
        case preference(beta: Double)
        /// The layers' consistency, of that weight, at embeddings that are moved by `step`.
        case consistency(step: Float, weight: Float)
        /// Pairs of answers.
        case pairs(DirectPreference)
    }

    let work: Work
    let batch: LabelledBatch
    /// True for clean rows, whose loss is told apart.
    let isClean: Bool

    init(_ work: Work, _ batch: LabelledBatch, isClean: Bool = false) {
        (self.work, self.batch, self.isClean) = (work, batch, isClean)
    }

    /// Input tokens that it brings into the step: the consistency is that of rows that another shard has.
    var tokenCount: Int {
        if case .consistency = work { return 0 }
        return batch.batch.tokenCount
    }
}

/// The dropout of a step, as graphs take it.
typealias StepDropout = (probability: Float, seed: UInt64, step: UInt64)

extension TrainingGraph {
    /// Adds a shard's gradient to `gradients` and returns its loss.
    ///
    /// - Throws: as the work itself does; `interrupted`.
    func accumulate(_ shard: StepShard, dropout: StepDropout?, into gradients: LoRAAdapter) throws -> Double {
        try checkInterrupt()
        frozenOutputs?.attend(clean: shard.isClean)
        switch shard.work {
        case .likelihood(let noise):
            return try accumulate(shard.batch, dropout: dropout, noise: noise, into: gradients)
        case .divergence: return try accumulateDivergence(shard.batch, dropout: dropout, into: gradients)
        case .preference(let beta):
            return try accumulatePreference(shard.batch, beta: beta, dropout: dropout, into: gradients)
        case .consistency(let step, let weight):
            return try accumulateConsistency(
                shard.batch, step: step, weight: weight, dropout: dropout, into: gradients)
        case .pairs(let preference):
            return try accumulatePairs(shard.batch, preference, dropout: dropout, into: gradients)
        }
    }
}

extension StepShard: Sent {
    init(from message: inout MessageReader) throws {
        let kind = try message.number(UInt8.self)
        switch kind {
        case 0: work = .likelihood(noise: try message.bool() ? try message.value() : nil)
        case 1: work = .divergence
        case 2: work = .preference(beta: try message.number())
        case 3: work = .consistency(step: try message.number(), weight: try message.number())
        case 4: work = .pairs(try message.value())
        default: throw MeraserError.runtime("rank 0 sent a shard of kind \(kind), which this rank does not know")
        }
        (batch, isClean) = (try message.value(), try message.bool())
    }

    func write(to message: inout Message) {
        switch work {
        case .likelihood(let noise):
            message.append(number: UInt8(0))
            message.append(noise != nil)
            if let noise { message.append(noise) }
        case .divergence: message.append(number: UInt8(1))
        case .preference(let beta):
            message.append(number: UInt8(2))
            message.append(number: beta)
        case .consistency(let step, let weight):
            message.append(number: UInt8(3))
            message.append(number: step)
            message.append(number: weight)
        case .pairs(let preference):
            message.append(number: UInt8(4))
            message.append(preference)
        }
        message.append(batch)
        message.append(isClean)
    }
}

extension LabelledBatch: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        let batch = try message.value(PackedBatch.self)
        let (labels, weights) = (try message.numbers(Int32.self), try message.numbers(Float.self))
        let samples = try message.numbers(Int32.self)
        guard [labels.count, weights.count, samples.count].allSatisfy({ $0 == batch.tokenCount }) else {
            throw MeraserError.runtime("rank 0 sent a batch whose labels are not those of its tokens")
        }
        self.init(batch: batch, labels: labels, weights: weights, samples: samples)
        softRows = try message.numbers()
        if try message.bool() {
            reference = Reference(
                batch: try message.value(), rows: try message.numbers(), limits: try message.numbers())
        }
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(batch)
        message.append(numbers: labels)
        message.append(numbers: weights)
        message.append(numbers: samples)
        message.append(numbers: softRows)
        message.append(reference != nil)
        guard let reference else { return }
        message.append(reference.batch)
        message.append(numbers: reference.rows)
        message.append(numbers: reference.limits)
    }
}
