import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

/// Twenty steps of PyTorch and PEFT on two small random models (tools/make_training_fixture.py): the first gradient, every
/// step's loss, norm and rate, and the adapter at the end. Their own noise, fp32 against fp64: 2e-6 relative.
@Suite("trajectories of PyTorch and PEFT")
struct TrajectoryFixtureTests {
    private let fixture: TrajectoryFixture

    init() throws { fixture = try TrajectoryFixture("trajectories") }

    @Test("q and v, constant rate, every token a label")
    func erase() throws {
        var options = TrainingOptions()
        options.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0)
        (options.learningRate, options.schedule, options.maxGradNorm, options.batchSize) = (5e-4, .constant, 2, 8)
        try fixture.check("erase", model: "llama3", options: options)
    }

    @Test("all seven projections with rsLoRA on a frozen adapter: completions, accumulation, clip, decay, cosine")
    func stacked() throws {
        var options = TrainingOptions()
        options.lora = LoRAConfig(
            r: 4, loraAlpha: 6, loraDropout: 0, targetModules: Set(Projection.allCases), useRSLoRA: true)
        (options.learningRate, options.schedule, options.warmupRatio) = (1e-3, .cosine, 0.2)
        (options.maxGradNorm, options.weightDecay) = (6, 0.01)
        (options.batchSize, options.accumulation) = (2, 2)
        let spec = try GradientTests.transformer(GradientTests.archFolder.appendingPathComponent("llama_ragged"))
            .spec
        let frozen = try GradientTests.adapter(
            fixture.golden, prefix: "stacked.frozen.", config: LoRAConfig(r: 4, loraAlpha: 8), for: spec)
        try fixture.check("stacked", model: "llama_ragged", options: options, frozen: [frozen])
    }
}

/// A fixture of trainings, and how one is repeated and compared.
struct TrajectoryFixture {
    let golden: GoldenFile

    init(_ name: String) throws {
        golden = try GoldenFile(
            packageRoot().appendingPathComponent("Tests/TuneTests/Fixtures/\(name).safetensors"))
    }

    func samples(_ prefix: String) throws -> [TrainingSample] {
        var rest = try golden.ints("\(prefix).ids")[...]
        let firsts = try golden.ints("\(prefix).first_label")
        return try zip(try golden.ints("\(prefix).lengths"), firsts).map { length, first in
            let tokens = Array(rest.prefix(Int(length)))
            rest = rest.dropFirst(Int(length))
            return try #require(TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= Int(first) }))
        }
    }

    /// Repeats a training and compares gradient, steps and the adapter that it leaves, which is `end` in the fixture; gives its
    /// result and what was said of `evalData`.
    @discardableResult
    func check(
        _ prefix: String, model name: String, options: TrainingOptions, frozen: [LoRAAdapter] = [],
        evalData: [TrainingSample]? = nil, end: String = "end"
    ) throws -> (result: TrainingResult, evaluations: [EvaluationProgress]) {
        var options = options
        (options.shuffle, options.saveSteps, options.compute, options.maxSteps) = (false, 0, .f32, 20)
        let model = try GradientTests.transformer(GradientTests.archFolder.appendingPathComponent(name))
        let start = try GradientTests.adapter(
            golden, prefix: "\(prefix).start.", config: options.lora, for: model.spec)

        // The gradient of the first step, over all its samples at once.
        let all = try samples(prefix)
        let chosen = all.prefix(options.effectiveBatchSize)
        let sequences = chosen.map { $0.inputs + [$0.labels[$0.labels.count - 1]] }
        let batch = GradientTests.meanBatch(
            sequences, firstLabel: chosen.map { ($0.labels.firstIndex { $0 >= 0 } ?? 0) + 1 })
        let graph = TrainingGraph(
            model: model, frozen: frozen, trained: start, maximumTokens: batch.batch.tokenCount)
        let gradients = LoRAAdapter(layoutOf: start)
        _ = try graph.accumulate(batch, into: gradients)
        try GradientTests.expectGradients(gradients, golden, prefix: "\(prefix).grad.", prefix)

        let data = EncodedDataset(samples: all, sha256: sha256Hex(prefix.utf8))
        let trainer = try Trainer(
            model: model, frozen: frozen, data: data, options: options,
            evalData: evalData.map { EncodedDataset(samples: $0, sha256: "eval") }, initial: start)
        var seen: [TrainingProgress] = []
        var evaluations: [EvaluationProgress] = []
        trainer.onStep = { seen.append($0) }
        trainer.onEvaluation = { evaluations.append($0) }
        let result = try withTemporaryFolder { folder in
            try trainer.run(output: folder.appendingPathComponent("run").path)
        }
        try #require(seen.count == result.steps && seen.count == 20)
        try expectSteps(prefix, seen, learningRate: options.learningRate)
        try expectEnd(prefix, start, trainer.adapter, end: end)
        return (result, evaluations)
    }

    /// Compares what was said of each step.
    func expectSteps(_ prefix: String, _ seen: [TrainingProgress], learningRate: Double) throws {
        let (losses, norms, rates) = (
            try golden.floats("\(prefix).loss"), try golden.floats("\(prefix).norm"), try golden.floats("\(prefix).lr")
        )
        try #require(seen.count == losses.count)
        for (i, got) in seen.enumerated() {
            let step = "of step \(got.step), \(prefix)"
            #expect(abs(got.loss - Double(losses[i])) <= 5e-6 * Double(losses[i]), "loss \(step)")
            #expect(abs(got.gradNorm - Double(norms[i])) <= 2e-5 * Double(norms[i]), "norm \(step)")
            #expect(abs(got.learningRate - Double(rates[i])) <= 1e-6 * learningRate, "lr \(step)")
        }
    }

    /// Compares the adapter at the end of a training with the fixture's, by what became of the one that it began with.
    func expectEnd(_ prefix: String, _ start: LoRAAdapter, _ got: LoRAAdapter, end: String = "end") throws {
        for module in start.modules {
            let want = try ["A", "B"].map {
                try golden.floats("\(prefix).\(end).base_model.model.\(module.path).lora_\($0).weight")
            }
            let (after, begin) = (try #require(got[module]), try #require(start[module]))
            for (g, w, b) in [(after.a, want[0], begin.a), (after.b, want[1], begin.b)] {
                let (g, b) = (g.toArray(), b.toArray())
                let update = zip(w, b).map { $0 - $1 }
                #expect(update.contains { abs($0) > 1e-3 }, "\(module.path) was not trained")
                #expect(
                    relativeL2(zip(g, b).map { $0 - $1 }, update) <= 2e-3, "\(prefix): update of \(module.path)")
            }
        }
    }
}
