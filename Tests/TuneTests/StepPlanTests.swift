import Model
import Testing

@testable import Tune

@Suite("Steps, epochs and batches")
struct StepPlanTests {
    private func plan(
        _ samples: Int, _ batch: Int, _ accumulation: Int, epochs: Double = 1, maxSteps: Int? = nil,
        seed: UInt64? = nil
    ) -> StepPlan {
        StepPlan(
            sampleCount: samples, batchSize: batch, accumulation: accumulation, epochs: epochs, maxSteps: maxSteps,
            shuffleSeed: seed)
    }

    @Test("step counts are Trainer's; MEraser's presets take the paper's 190 and 34 steps")
    func counts() {
        #expect(plan(300, 1, 8, epochs: 5).totalSteps == 190)
        #expect(plan(600, 1, 36, epochs: 2).totalSteps == 34)
        #expect(plan(10, 4, 2).totalSteps == 2)  // micro-batches of 4 4 2
        #expect(plan(10, 4, 2, epochs: 2.5).totalSteps == 5)
        #expect(plan(1, 8, 4, epochs: 0.1).totalSteps == 1)
        #expect(plan(10, 4, 2, epochs: 3, maxSteps: 100).totalSteps == 100)
    }

    @Test("every epoch sees every sample once, in its own order, the last step short")
    func coverage() {
        let plan = plan(23, 3, 2, epochs: 3, seed: 5)
        #expect(plan.stepsPerEpoch == 4)
        var orders: [[Int]] = []
        for epoch in 0..<3 {
            let steps = (0..<4).map { plan.microBatches(step: epoch * 4 + $0) }
            #expect(steps.map { $0.map(\.count) } == [[3, 3], [3, 3], [3, 3], [3, 2]])
            let order = steps.flatMap { $0.flatMap { $0 } }
            #expect(order.sorted() == Array(0..<23))
            orders.append(order)
        }
        #expect(orders[0] != orders[1] && orders[1] != orders[2])
        #expect(orders[0] == self.plan(23, 23, 1, seed: 5).order(epoch: 0), "the batch size must not change the order")
        #expect(orders[0] != self.plan(23, 3, 2, seed: 6).order(epoch: 0))
        #expect(self.plan(23, 3, 2).order(epoch: 1) == Array(0..<23), "no seed: file order")
    }

    @Test("a shuffle is uniform: every sample comes first about equally often")
    func uniform() {
        var first = [Int](repeating: 0, count: 5)
        for epoch in 0..<2000 { first[plan(5, 1, 1, seed: 1).order(epoch: epoch)[0]] += 1 }
        // Binomial(2000, 1/5): standard deviation 17.9.
        for count in first { #expect(abs(count - 400) < 90) }
    }

    @Test("weights give the mean over tokens, or over samples")
    func weights() throws {
        let samples = try [2, 4, 3].map { count in
            try #require(
                TrainingSample(tokens: (0...Int32(count)).map { $0 }, isLabel: Array(repeating: true, count: count + 1))
            )
        }
        #expect(samples.map(\.labelCount) == [2, 4, 3])
        let plan = plan(3, 2, 2)
        let token = [6, 3].map { [Float](repeating: 1 / 9, count: $0) }
        let sample: [[Float]] = [[1 / 6, 1 / 6, 1 / 12, 1 / 12, 1 / 12, 1 / 12], [1 / 9, 1 / 9, 1 / 9]]
        for (mean, want) in [(LossMean.token, token), (.sample, sample)] {
            let batches = plan.batches(step: 0, samples: samples, mean: mean)
            #expect(batches.map(\.weights) == want)
            #expect(batches.map(\.samples) == [[0, 0, 1, 1, 1, 1], [2, 2, 2]])
            #expect(batches[0].batch.positions == [0, 1, 0, 1, 2, 3])
            #expect(batches[0].labels == [1, 2, 1, 2, 3, 4])
        }
        #expect(plan.maximumTokens(samples: samples) == 7)
    }

    @Test("a sample ends with its last label; the first token is never one")
    func sampleTrimming() throws {
        let sample = try #require(
            TrainingSample(tokens: [5, 6, 7, 8, 9], isLabel: [true, false, true, true, false]))
        #expect(sample.inputs == [5, 6, 7])
        #expect(sample.labels == [-1, 7, 8])
        #expect(sample.labelCount == 2)
        #expect(TrainingSample(tokens: [5, 6], isLabel: [true, false]) == nil)
        #expect(TrainingSample(tokens: [], isLabel: []) == nil)
    }
}
