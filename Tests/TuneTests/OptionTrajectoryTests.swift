import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// What options of Trainer and PEFT do, step by step, against PyTorch (tools/make_option_fixture.py).
@Suite("trajectories of options of Trainer and PEFT")
struct OptionTrajectoryTests {
    private let fixture: TrajectoryFixture

    init() throws { fixture = try TrajectoryFixture("options") }

    private func options(_ change: (inout TrainingOptions) -> Void) -> TrainingOptions {
        var options = TrainingOptions()
        options.lora = LoRAConfig(r: 4, loraAlpha: 8, loraDropout: 0)
        options.batchSize = 4
        change(&options)
        return options
    }

    @Test("LoRA+ with other betas and epsilon, decay, a polynomial schedule and a warm-up in steps")
    func loraPlus() throws {
        let options = options {
            ($0.learningRate, $0.loraPlusRatio, $0.weightDecay, $0.maxGradNorm) = (1e-3, 8, 0.02, 1.5)
            ($0.adamBeta1, $0.adamBeta2, $0.adamEpsilon) = (0.8, 0.95, 1e-4)
            ($0.schedule, $0.warmupSteps) = (.polynomial, 5)
            $0.scheduleSettings = JSONObject([(key: "power", value: .real(2)), (key: "lr_end", value: .real(1e-5))])
        }
        try fixture.check("loraplus", model: "llama3", options: options)
    }

    @Test("the loss on other rows, and the adapter where it was lowest")
    func best() throws {
        let options = options {
            ($0.learningRate, $0.schedule, $0.evalData, $0.evalSteps) = (2e-2, .constant, "others", 4)
            $0.loadBest = true
        }
        let (result, evaluations) = try fixture.check(
            "best", model: "llama3", options: options, evalData: fixture.samples("best.eval"), end: "best")
        let want = try fixture.golden.floats("best.eval_loss")
        #expect(evaluations.map(\.step) == [4, 8, 12, 16, 20] && want.count == 5)
        for (got, want) in zip(evaluations, want) { #expect(abs(got.loss - Double(want)) <= 2e-5 * Double(want)) }
        let lowest = want.indices.min { want[$0] < want[$1] } ?? 0
        #expect(lowest < 4 && result.evaluation?.bestStep == 4 * (lowest + 1))
    }

    @Test("loss and gradient with noise on the embeddings, the same noise on both sides")
    func neftune() throws {
        let model = try GradientTests.transformer(GradientTests.archFolder.appendingPathComponent("llama3"))
        let config = options { _ in }.lora
        let golden = fixture.golden
        let start = try GradientTests.adapter(golden, prefix: "neftune.start.", config: config, for: model.spec)
        var rest = try golden.ints("neftune.ids")[...]
        let sequences = try golden.ints("neftune.lengths").map { length in
            defer { rest = rest.dropFirst(Int(length)) }
            return Array(rest.prefix(Int(length)))
        }
        let batch = GradientTests.meanBatch(sequences)
        let storage = FloatStorage(
            try golden.floats("neftune.noise.0") + golden.floats("neftune.noise.1"), rows: batch.batch.tokenCount,
            columns: model.spec.hiddenSize)
        let graph = TrainingGraph(model: model, frozen: [], trained: start, maximumTokens: batch.batch.tokenCount)
        let gradients = LoRAAdapter(layoutOf: start)
        // `accumulate(_:dropout:noise:into:)`, which draws its noise where this has the file's.
        let (context, adapters) = (graph.prepare(batch.batch), graph.adapters(batch, nil))
        let stream = try graph.forward(
            batch.batch, [], context, adapters, keeping: true, move: .shift(storage.matrix))
        let loss = try graph.head(batch, stream, into: gradients)
        try graph.backward(batch, context, adapters, into: gradients)
        let want = Double(try golden.floats("neftune.loss")[0])
        #expect(abs(loss - want) <= 5e-6 * want)
        try GradientTests.expectGradients(gradients, golden, prefix: "neftune.grad.", "NEFTune")

        // The noise that it draws does something, and is that of the step.
        func noisy(_ noise: EmbeddingNoise?) throws -> Double {
            try graph.accumulate(batch, noise: noise, into: LoRAAdapter(layoutOf: start))
        }
        let plain = try noisy(nil)
        #expect(try plain != noisy(EmbeddingNoise(alpha: 5, seed: 1, step: 0)))
        #expect(
            try noisy(EmbeddingNoise(alpha: 5, seed: 1, step: 0)) == noisy(EmbeddingNoise(alpha: 5, seed: 1, step: 0)))
        #expect(
            try noisy(EmbeddingNoise(alpha: 5, seed: 1, step: 0)) != noisy(EmbeddingNoise(alpha: 5, seed: 1, step: 1)))
        #expect(try abs(plain - noisy(EmbeddingNoise(alpha: 1e-5, seed: 1, step: 0))) < 1e-5)
    }
}

@Suite("Noise on embeddings")
struct EmbeddingNoiseTests {
    private func noise(_ sequences: [[Int32]], samples: [Int32], columns: Int, alpha: Double = 5) throws -> [Float] {
        let batch = PackedBatch(sequences)
        let numbers = zip(batch.sequences, samples).flatMap { Array(repeating: $1, count: $0.count) }
        let storage = FloatStorage(rows: batch.tokenCount, columns: columns)
        storage.matrix.fill(0)
        EmbeddingNoise(alpha: alpha, seed: 7, step: 3).add(
            to: storage.matrix, of: batch, samples: numbers, kernels: try KernelContext(threads: 2))
        return storage.matrix.toArray()
    }

    @Test("it is that of a scalar reference, within alpha / sqrt(tokens x width), spread evenly, and of mean 0")
    func reference() throws {
        func mix(_ value: UInt64) -> UInt64 {
            var z = value
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        let golden: UInt64 = 0x9E37_79B9_7F4A_7C15
        let (length, columns) = (40, 96)
        let got = try noise([[Int32](repeating: 5, count: length)], samples: [2], columns: columns)
        let magnitude = Float(5 / (Double(length + 1) * Double(columns)).squareRoot())
        let key = mix(mix(mix(7 &+ golden) &+ 3 &+ golden) &+ UInt64(UInt32.max) &+ golden)
        var histogram = [Int](repeating: 0, count: 8)
        for i in got.indices {
            let row = mix(key &+ (2 << 32) &+ UInt64(i / columns) &+ golden)
            let bits = mix(row &+ UInt64(i % columns) &* golden) >> 41
            let unit = (Double(bits) + 0.5) / 4_194_304 - 1
            #expect(abs(Double(got[i]) - Double(magnitude) * unit) <= 1e-8)
            histogram[min(7, Int((unit + 1) * 4))] += 1
        }
        #expect(got.allSatisfy { abs($0) < magnitude })
        // 3840 numbers: a bin has 480 of them, five standard deviations are 103.
        #expect(histogram.allSatisfy { abs($0 - 480) <= 103 }, "\(histogram)")
    }

    @Test("what a sample gets does not depend on what it is packed with")
    func packing() throws {
        let (a, b) = ([Int32](repeating: 1, count: 3), [Int32](repeating: 2, count: 5))
        let both = try noise([a, b], samples: [0, 1], columns: 8)
        #expect(try both == noise([a], samples: [0], columns: 8) + noise([b], samples: [1], columns: 8))
        #expect(try noise([a], samples: [0], columns: 8) != noise([a], samples: [1], columns: 8))
    }
}
