import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// Objectives beside the likelihood: NPO's loss and CROW's regularisation, against PyTorch (tools/make_objective_fixture.py).
@Suite("Objectives of training")
struct ObjectiveTests {
    private static let fixture = packageRoot().appendingPathComponent("Tests/TuneTests/Fixtures/objectives.safetensors")

    /// The case of the divergence's tests as a graph that can do both.
    private struct Case {
        let golden: GoldenFile
        let test: DivergenceTests.Case
        let graph: TrainingGraph
        var tokens: Int { test.batch.batch.tokenCount }

        init(isa: String? = nil, plan: RecomputePlan = .keepAll) throws {
            golden = try GoldenFile(ObjectiveTests.fixture)
            test = try DivergenceTests.Case(isa: isa)
            graph = TrainingGraph(
                model: test.model, frozen: [test.frozen], trained: test.trained,
                maximumTokens: test.batch.batch.tokenCount, recompute: plan, hasReference: true, hasConsistency: true)
        }

        /// The batch with the mean over its two samples.
        var sampleMean: LabelledBatch {
            var batch = test.batch
            for row in batch.labels.indices where batch.labels[row] >= 0 {
                let own = batch.labels.indices.count {
                    batch.labels[$0] >= 0 && batch.samples[$0] == batch.samples[row]
                }
                batch.weights[row] = 1 / Float(2 * own)
            }
            return batch
        }
    }

    @Test("NPO: value and gradient are PyTorch's, on every instruction set")
    func preference() throws {
        for isa in KernelContext.availableISANames {
            let test = try Case(isa: isa)
            let gradients = LoRAAdapter(layoutOf: test.test.trained)
            let loss = try test.graph.accumulatePreference(test.sampleMean, beta: 0.5, into: gradients)
            let expected = Double(try test.golden.floats("npo")[0])
            #expect(abs(loss - expected) <= 2e-5 * expected, "\(isa): \(loss) and \(expected)")
            try GradientTests.expectGradients(gradients, test.golden, prefix: "grad.npo.", tolerance: 5e-5, isa)
        }
    }

    @Test("NPO of an adapter that does nothing is (2/β)·log 2, and pushes as ascent does")
    func preferenceAtTheStart() throws {
        let test = try Case()
        test.test.trained.initialize(seed: 3)
        let (pushed, learnt) = (LoRAAdapter(layoutOf: test.test.trained), LoRAAdapter(layoutOf: test.test.trained))
        let loss = try test.graph.accumulatePreference(test.sampleMean, beta: 0.1, into: pushed)
        #expect(abs(loss - 20 * log(2.0)) < 1e-4)
        // At p = p_ref the slope of a sample is −2σ(0) = −1 times that of its summed negative log-likelihood.
        var summed = test.sampleMean
        for row in summed.labels.indices where summed.labels[row] >= 0 { summed.weights[row] = 0.5 }
        _ = try test.graph.accumulate(summed, into: learnt)
        #expect(relativeL2(pushed.parameters.toArray(), learnt.parameters.toArray().map { -$0 }) < 1e-5)
    }

    @Test("CROW: distances, their slope at the embeddings, and the gradient where those were moved are PyTorch's")
    func consistency() throws {
        for isa in KernelContext.availableISANames {
            let test = try Case(isa: isa)
            let buffers = try #require(test.graph.buffers.consistency)
            let still = AdapterStack(frozen: [test.test.frozen, test.test.trained])
            let nothing = LoRAAdapter(config: LoRAConfig(), modules: [], for: test.test.model.spec)
            let plain = try test.graph.consistencyPass(
                test.test.batch, buffers, still, weight: 1 / Float(test.tokens), into: nothing, toEmbeddings: true)
            let value = Double(try test.golden.floats("crow")[0])
            #expect(abs(plain.value - value) <= 1e-5 * value, "\(isa): \(plain.value) and \(value)")
            let slope = try test.golden.floats("crow.slope")
            #expect(relativeL2(plain.dStream.toArray(), slope) <= 5e-5, "\(isa)")

            // PyTorch's own move: a sign is not continuous, and a slope near 0 may have either.
            let shift = FloatStorage(rows: test.tokens, columns: test.test.model.spec.hiddenSize).matrix
            shift.copy(from: slope.map { $0 > 0 ? 0.1 : $0 < 0 ? -0.1 : 0 })
            let gradients = LoRAAdapter(layoutOf: test.test.trained)
            let moved = try test.graph.consistencyPass(
                test.test.batch, buffers, test.graph.adapters(test.test.batch, nil), shift: shift,
                weight: 1 / Float(test.tokens), into: gradients, toEmbeddings: false
            ).value
            let expected = Double(try test.golden.floats("crow.moved")[0])
            #expect(abs(expected - value) > 0.1 * value, "the move matters: \(expected) from \(value)")
            #expect(abs(moved - expected) <= 1e-5 * expected, "\(isa): \(moved) and \(expected)")
            try GradientTests.expectGradients(gradients, test.golden, prefix: "grad.crow.", tolerance: 5e-5, isa)

            let whole = LoRAAdapter(layoutOf: test.test.trained)
            let sum = try test.graph.accumulateConsistency(
                test.test.batch, step: 0.1, weight: 1 / Float(test.tokens), into: whole)
            #expect(abs(sum - expected) <= 1e-4 * expected, "\(isa): \(sum) and \(expected)")
            #expect(relativeL2(whole.parameters.toArray(), gradients.parameters.toArray()) <= 2e-3, "\(isa)")
        }
    }

    @Test("what is recomputed changes no bit of either")
    func recomputed() throws {
        func results(_ plan: RecomputePlan) throws -> [[Float]] {
            let test = try Case(plan: plan)
            let (a, b) = (LoRAAdapter(layoutOf: test.test.trained), LoRAAdapter(layoutOf: test.test.trained))
            let loss = try test.graph.accumulatePreference(test.sampleMean, beta: 0.5, into: a)
            let sum = try test.graph.accumulateConsistency(test.test.batch, step: 0.1, weight: 0.1, into: b)
            return [[Float(loss), Float(sum)], a.parameters.toArray(), b.parameters.toArray()]
        }
        let kept = try results(.keepAll)
        #expect(try results(RecomputePlan(layers: 6)) == kept)
        #expect(try results(RecomputePlan(layers: 2, mlps: 3)) == kept)
    }

    @Test("a setting of another objective is refused by name; the presets have the papers' settings")
    func refused() throws {
        for (name, value) in [("npo_beta", "0.2"), ("crow_alpha", "3"), ("crow_epsilon", "0.2")] {
            var flags = TrainingOverrides()
            try flags.set(name, text: value)
            let text = errorText(.usage) { _ = try TrainingOptions(preset: nil, flags: flags) }
            #expect(text.contains("`\(name)` has no effect with `objective` likelihood"), "\(text)")
        }
        let npo = try TrainingOptions(preset: .npo)
        #expect(npo.goal == .npo(beta: 0.1) && npo.lossMean == .sample)
        let crow = try TrainingOptions(preset: .crow)
        #expect(crow.goal == .crow(alpha: 5.5, epsilon: 0.1))
        #expect(crow.effectiveBatchSize == 8 && crow.epochs == 5)
    }

    @Test("the trainer follows the objective: NPO makes its rows unlikelier, CROW steadies the layers")
    func trainer() throws {
        func losses(_ objective: Objective, _ change: (inout TrainingOptions) -> Void = { _ in }) throws -> [Double] {
            var run = TinyRun()
            run.options.objective = objective
            change(&run.options)
            let trainer = try run.trainer()
            var losses: [Double] = []
            trainer.onStep = { losses.append($0.loss) }
            try withTemporaryFolder { _ = try trainer.run(output: $0.appendingPathComponent("out").path) }
            return losses
        }
        let likelihood = try losses(.likelihood)
        // The rate of the first step is 0.
        let forgetting = try losses(.npo)
        #expect(abs(forgetting[0] - 20 * log(2.0)) < 1e-3 && forgetting[5] < forgetting[0])
        let light = try losses(.crow) { $0.crowAlpha = 0 }
        #expect(light == likelihood, "a weight of 0 is the likelihood alone, bit for bit")
        #expect(try losses(.crow)[0] > likelihood[0])
    }
}
