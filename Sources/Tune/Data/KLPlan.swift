import Model

/// Which clean samples each optimiser step compares with the frozen model: so many a step, in an order keyed by (seed,
/// pass over them). A function of its few numbers alone, so resuming at any step needs no state.
struct KLPlan: Equatable {
    /// Clean samples.
    let sampleCount: Int
    /// Samples of a step.
    let perStep: Int
    /// Samples of a micro-batch.
    let batchSize: Int
    /// Seed of the order.
    let seed: UInt64

    /// Keeps the order apart from that of the training samples.
    private static let tag: UInt64 = 0x6B6C

    /// The samples of a step (from 0).
    func samples(step: Int) -> [Int] {
        let first = step * perStep
        var result: [Int] = []
        var pass = -1
        var order: [Int] = []
        for position in first..<first + perStep {
            if position / sampleCount != pass {
                pass = position / sampleCount
                order = Array(0..<sampleCount)
                var random = KeyedRandom(seed: seed ^ Self.tag, stream: UInt64(pass))
                random.shuffle(&order)
            }
            result.append(order[position % sampleCount])
        }
        return result
    }

    /// The packed micro-batches of a step, weighted so that the sum is `weight` times the mean over their label tokens, or
    /// over the samples' means. Samples are numbered from `firstSample`, so that dropout treats them as samples of their own.
    func batches(
        step: Int, samples all: [TrainingSample], mean: LossMean, weight: Double, firstSample: Int
    ) -> [LabelledBatch] {
        let indices = samples(step: step)
        let labels = indices.reduce(0) { $0 + all[$1].labelCount }
        return stride(from: 0, to: indices.count, by: batchSize).map { start in
            var result = LabelledBatch(batch: PackedBatch(), labels: [], weights: [], samples: [])
            for place in start..<min(start + batchSize, indices.count) {
                let sample = all[indices[place]]
                let share =
                    switch mean {
                    case .token: weight / Double(labels)
                    case .sample: weight / (Double(indices.count) * Double(sample.labelCount))
                    }
                result.append(sample, weight: Float(share), sample: Int32(firstSample + place))
            }
            return result
        }
    }

    /// Tokens of the largest micro-batch that any order could make.
    func maximumTokens(samples: [TrainingSample]) -> Int {
        let batch = min(batchSize, perStep)
        // A batch that goes on into the next pass may hold a sample twice.
        let repeats = batch == 1 ? 1 : (batch - 2) / sampleCount + 2
        let lengths = samples.flatMap { Array(repeating: $0.widest, count: repeats) }
        return lengths.sorted(by: >).prefix(batch).reduce(0, +)
    }
}
