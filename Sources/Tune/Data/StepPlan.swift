import Model

/// How the label weights of a step add up to its loss.
public enum LossMean: String, Sendable, CaseIterable {
    /// The mean over all label tokens of the step.
    case token
    /// The mean over the samples of the step of each sample's mean.
    case sample
}

/// Which samples each optimiser step sees, as Trainer counts them: an epoch's samples in their order are cut into
/// micro-batches, these into steps; the last micro-batch and the last step of an epoch may be short, none is dropped.
///
/// A function of its few numbers alone: resuming at any step needs no state.
public struct StepPlan: Sendable, Equatable {
    /// Samples of the dataset.
    public let sampleCount: Int
    /// Samples of a micro-batch (one forward and backward).
    public let batchSize: Int
    /// Micro-batches of a step.
    public let accumulation: Int
    /// Seed of the shuffle, nil for file order.
    public let shuffleSeed: UInt64?
    /// Optimiser steps of the run.
    public let totalSteps: Int

    /// A plan; `maxSteps` overrides `epochs` as in Trainer. All counts are at least 1, epochs more than 0.
    public init(
        sampleCount: Int, batchSize: Int, accumulation: Int, epochs: Double, maxSteps: Int?, shuffleSeed: UInt64?
    ) {
        precondition(sampleCount >= 1 && batchSize >= 1 && accumulation >= 1 && epochs > 0)
        self.sampleCount = sampleCount
        self.batchSize = batchSize
        self.accumulation = accumulation
        self.shuffleSeed = shuffleSeed
        let microBatches = (sampleCount - 1) / batchSize + 1
        let perEpoch = (microBatches - 1) / accumulation + 1
        totalSteps = maxSteps ?? max(1, Int((epochs * Double(perEpoch)).rounded(.up)))
    }

    /// The plan of a run with those options over so many samples.
    public init(sampleCount: Int, options: TrainingOptions) {
        self.init(
            sampleCount: sampleCount, batchSize: options.batchSize, accumulation: options.accumulation,
            epochs: options.epochs, maxSteps: options.maxSteps, shuffleSeed: options.shuffle ? options.seed : nil)
    }

    /// Steps of one epoch.
    public var stepsPerEpoch: Int { ((sampleCount - 1) / batchSize) / accumulation + 1 }

    /// The samples in the order of an epoch (from 0): a shuffle keyed by (seed, epoch).
    public func order(epoch: Int) -> [Int] {
        var order = Array(0..<sampleCount)
        if let shuffleSeed {
            var random = KeyedRandom(seed: shuffleSeed, stream: UInt64(epoch))
            random.shuffle(&order)
        }
        return order
    }

    /// The micro-batches of a step (from 0), each as sample indices.
    public func microBatches(step: Int) -> [[Int]] {
        let order = order(epoch: step / stepsPerEpoch)
        let perStep = batchSize * accumulation
        let start = (step % stepsPerEpoch) * perStep
        let end = min(start + perStep, sampleCount)
        return stride(from: start, to: end, by: batchSize).map { Array(order[$0..<min($0 + batchSize, end)]) }
    }

    /// How many epochs are done after that many steps, in fractions, as Trainer logs it.
    public func epochs(after steps: Int) -> Double { Double(steps) / Double(stepsPerEpoch) }
}

extension StepPlan {
    /// The packed micro-batches of a step with the weights that make the step's loss the mean asked for. `samples` of a
    /// batch number the samples within the step, so that dropout does not depend on how they are cut into micro-batches.
    public func batches(step: Int, samples: [TrainingSample], mean: LossMean) -> [LabelledBatch] {
        let indices = microBatches(step: step)
        let all = indices.joined()
        let labels = all.reduce(0) { $0 + samples[$1].labelCount }
        let count = all.count
        var number: Int32 = 0
        return indices.map { micro in
            var result = LabelledBatch(batch: PackedBatch(), labels: [], weights: [], samples: [])
            for index in micro {
                let sample = samples[index]
                let weight: Float =
                    switch mean {
                    case .token: Float(1 / Double(labels))
                    case .sample: Float(1 / (Double(count) * Double(sample.labelCount)))
                    }
                result.append(sample, weight: weight, sample: number)
                number += 1
            }
            return result
        }
    }

    /// Tokens of the largest micro-batch that any order could make.
    public func maximumTokens(samples: [TrainingSample]) -> Int {
        samples.map(\.widest).sorted(by: >).prefix(batchSize).reduce(0, +)
    }
}
