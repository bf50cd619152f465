import AllocationCounter
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// The divergence from the frozen model: its gradient, and what it must not change.
@Suite("The divergence from the frozen model")
struct DivergenceTests {
    private static let fixture = packageRoot().appendingPathComponent("Tests/TuneTests/Fixtures/divergence.safetensors")

    /// Two packed sequences, a frozen adapter below and a trained one, all of PyTorch's fixture.
    struct Case {
        let golden: GoldenFile
        let model: Transformer
        let frozen: LoRAAdapter
        let trained: LoRAAdapter
        let batch: LabelledBatch

        init(isa: String? = nil, threads: Int = 2, dropout: Double = 0) throws {
            let golden = try GoldenFile(DivergenceTests.fixture)
            self.golden = golden
            model = try GradientTests.transformer(tinychatFolder(), isa: isa, threads: threads)
            frozen = LoRAAdapter(
                config: LoRAConfig(r: 2, loraAlpha: 4), modules: [ModuleKey(layer: 0, projection: .v_proj)],
                for: model.spec)
            let config = LoRAConfig(
                r: 2, loraAlpha: 4, loraDropout: dropout, targetModules: [.q_proj, .down_proj])
            trained = LoRAAdapter(
                config: config,
                modules: [1, 4].flatMap { layer in
                    [Projection.q_proj, .down_proj].map { ModuleKey(layer: layer, projection: $0) }
                }, for: model.spec)
            func fill(_ matrix: FloatMatrix, _ name: String) throws {
                let values = try golden.floats(name)
                try #require(values.count == matrix.count)
                matrix.copy(from: values)
            }
            let below = try #require(frozen[frozen.modules[0]])
            try fill(below.a, "frozen.a")
            try fill(below.b, "frozen.b")
            for module in trained.modules {
                let factors = try #require(trained[module])
                try fill(factors.a, "param.base_model.model.\(module.path).lora_A.weight")
                try fill(factors.b, "param.base_model.model.\(module.path).lora_B.weight")
            }
            batch = GradientTests.meanBatch(
                [try golden.ints("ids.0"), try golden.ints("ids.1")],
                firstLabel: try golden.ints("first_label").map(Int.init))
        }

        func graph(_ plan: RecomputePlan = .keepAll, _ precision: KeptPrecision? = nil) -> TrainingGraph {
            TrainingGraph(
                model: model, frozen: [frozen], trained: trained, maximumTokens: batch.batch.tokenCount + 3,
                recompute: plan, keptPrecision: precision, hasReference: true)
        }

        func result(
            _ graph: TrainingGraph, dropout: Float = 0
        ) throws -> (kl: Double, gradient: LoRAAdapter) {
            let gradients = LoRAAdapter(layoutOf: trained)
            let kl = try graph.accumulateDivergence(
                batch, dropout: dropout > 0 ? (probability: dropout, seed: 3, step: 5) : nil, into: gradients)
            return (kl, gradients)
        }
    }

    @Test("value and gradient are PyTorch's, on every instruction set")
    func pyTorch() throws {
        for isa in KernelContext.availableISANames {
            let test = try Case(isa: isa)
            let (kl, gradients) = try test.result(test.graph())
            let expected = Double(try test.golden.floats("kl")[0])
            #expect(expected > 0.01)
            // The logits' own noise is 1e-6 or so, and the divergence is of second order in their differences.
            #expect(abs(kl - expected) <= 2e-5 * expected, "\(isa): \(kl) and \(expected)")
            try GradientTests.expectGradients(gradients, test.golden, prefix: "grad.", tolerance: 5e-5, isa)
        }
    }

    @Test("the gradient is the slope of the value")
    func finiteDifference() throws {
        let test = try Case()
        let graph = test.graph()
        let (_, gradients) = try test.result(graph)
        let gradient = gradients.parameters.toArray()
        // Along the gradient itself, where the slope is steepest; central differences, whose error falls with
        // the square of the step: 0.8 % with steps of 1 % of the parameters' norm, 0.07 % with these.
        let norm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        let start = test.trained.parameters.toArray()
        let size = 0.003 * start.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        func value(_ distance: Double) throws -> Double {
            for i in start.indices {
                test.trained.parameters[0, i] = start[i] + Float(distance * Double(gradient[i]) / norm)
            }
            return try test.result(graph).kl
        }
        let slope = (try value(size) - value(-size)) / (2 * size)
        #expect(abs(slope - norm) <= 2e-3 * norm, "slope \(slope), norm \(norm)")
    }

    @Test("an adapter that does nothing diverges by exactly 0, and has no gradient")
    func zero() throws {
        let test = try Case()
        test.trained.initialize(seed: 3)
        let (kl, gradients) = try test.result(test.graph())
        #expect(kl == 0)
        #expect(gradients.parameters.toArray().allSatisfy { $0 == 0 })
    }

    @Test("what another prompt is followed by: the value is that of both sessions' logits, the gradient is the slope")
    func elsewhere() throws {
        let test = try Case()
        let (first, second) = (try test.golden.ints("ids.0"), try test.golden.ints("ids.1"))
        let (prompt, other, continuation) = (
            Array(first.prefix(5)), Array(second.prefix(9)), [second[2], first[6], 41]
        )
        let own = try #require(TrainingSample(prompt: prompt, asBehind: prompt, along: continuation))
        let sample = try #require(TrainingSample(prompt: prompt, asBehind: other, along: continuation))
        #expect(sample.inputs.count == 7 && sample.reference?.inputs.count == 11 && sample.widest == 11)
        func batch(_ samples: [TrainingSample]) -> LabelledBatch {
            var result = LabelledBatch(batch: PackedBatch(), labels: [], weights: [], samples: [])
            for (number, sample) in samples.enumerated() { result.append(sample, weight: 0.5, sample: Int32(number)) }
            return result
        }
        func value(_ batch: LabelledBatch) throws -> (kl: Double, gradient: [Float]) {
            let gradients = LoRAAdapter(layoutOf: test.trained)
            let graph = TrainingGraph(
                model: test.model, frozen: [test.frozen], trained: test.trained, maximumTokens: 40, hasReference: true)
            return (try graph.accumulateDivergence(batch, into: gradients), gradients.parameters.toArray())
        }
        /// Log-probabilities behind the last rows of a text.
        func rows(_ tokens: [Int32], _ trained: LoRAAdapter?) throws -> [[Double]] {
            let session = InferenceSession(
                model: test.model, adapters: AdapterStack(frozen: [test.frozen], trained: trained))
            let logits = try session.logits(try session.hiddenStates(PackedBatch([tokens])))
            return (tokens.count - 3..<tokens.count).map { row in
                let z = (0..<logits.columns).map { Double(logits[row, $0]) }
                let sum = z.reduce(0) { $0 + exp($1 - z[0]) }
                return z.map { $0 - z[0] - log(sum) }
            }
        }
        func reference(_ other: [Int32]) throws -> Double {
            let asked = try rows(other + continuation.dropLast(), nil)
            let got = try rows(prompt + continuation.dropLast(), test.trained)
            return zip(asked, got).reduce(0) { sum, pair in
                sum + zip(pair.0, pair.1).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
            }
        }
        let expected = 0.5 * (try reference(prompt) + reference(other))
        // Of two samples the second one's rows lie behind those of the first.
        let (kl, gradient) = try value(batch([own, sample]))
        #expect(abs(kl - expected) <= 1e-4 * expected, "\(kl) and \(expected)")
        var plain = batch([sample])
        plain.reference = nil
        var same = batch([own])
        let itself = try value(same)
        same.reference = nil
        #expect(try value(same) == itself, "the prompt itself is the ordinary divergence")
        #expect(try value(plain).kl != value(batch([sample])).kl)

        let norm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        let start = test.trained.parameters.toArray()
        let size = 0.001 * start.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        func moved(_ distance: Double) throws -> Double {
            for i in start.indices {
                test.trained.parameters[0, i] = start[i] + Float(distance * Double(gradient[i]) / norm)
            }
            return try value(batch([own, sample])).kl
        }
        let slope = (try moved(size) - moved(-size)) / (2 * size)
        #expect(abs(slope - norm) <= 5e-3 * norm, "slope \(slope), norm \(norm)")
    }

    @Test("no plan of recomputation and no number of threads changes a bit", arguments: [KeptPrecision.f32, .bf16])
    func plans(precision: KeptPrecision) throws {
        let test = try Case(dropout: 0.1)
        let kept = try test.result(test.graph(.keepAll, precision), dropout: 0.1)
        let without = try test.result(test.graph(.keepAll, precision))
        #expect(without.kl != kept.kl, "dropout is on the trained side")
        for (layers, mlps) in [(0, 5), (5, 0), (2, 2), (0, 1)] {
            let got = try test.result(test.graph(RecomputePlan(layers: layers, mlps: mlps), precision), dropout: 0.1)
            #expect(got.kl == kept.kl && got.gradient.parameters.toArray() == kept.gradient.parameters.toArray())
        }
        for threads in [1, 3] {
            let other = try Case(threads: threads, dropout: 0.1)
            let got = try other.result(other.graph(.keepAll, precision), dropout: 0.1)
            #expect(got.kl == kept.kl && got.gradient.parameters.toArray() == kept.gradient.parameters.toArray())
        }
    }

    @Test("a graph with a reference gives the bits of one without, and a step of both losses allocates nothing")
    func beside() throws {
        let test = try Case()
        let (plain, both) = (LoRAAdapter(layoutOf: test.trained), LoRAAdapter(layoutOf: test.trained))
        let without = TrainingGraph(
            model: test.model, frozen: [test.frozen], trained: test.trained,
            maximumTokens: test.batch.batch.tokenCount)
        let graph = test.graph()
        let loss = try without.accumulate(test.batch, into: plain)
        #expect(try graph.accumulate(test.batch, into: both) == loss)
        #expect(both.parameters.toArray() == plain.parameters.toArray())

        guard allocation_counter_works() else { return }
        let state = OptimizerState(adapter: test.trained, options: TrainingOptions())
        var counts: [Int] = []
        for _ in 0..<3 {
            allocation_counter_start()
            _ = try state.advance(learningRate: 1e-3, kernels: test.model.kernels) { gradients in
                _ = try graph.accumulate(test.batch, into: gradients)
                _ = try graph.accumulateDivergence(test.batch, into: gradients)
            }
            counts.append(allocation_counter_stop())
        }
        #expect(counts.dropFirst().allSatisfy { $0 == 0 }, "heap blocks of the steps: \(counts)")
    }

    // MARK: The trainer

    private static func clean(seed: UInt64 = 8) throws -> EncodedDataset { try TinyRun.data(seed: seed) }

    private static func run(weight: Double, batch: Int = 3, threads: Int = 2) -> TinyRun {
        var run = TinyRun(threads: threads)
        run.options.klWeight = weight
        run.options.klBatch = batch
        return run
    }

    private static func train(
        _ run: TinyRun, _ out: URL, clean: EncodedDataset? = nil, resume: Bool = false, stopAfter: Int? = nil
    ) throws -> (adapter: Data, kl: [Double?]) {
        let model = try Transformer(
            store: try openWeightStore(path: tinychatFolder().path), kernels: try KernelContext(threads: run.threads))
        let trainer = try Trainer(
            model: model, data: try TinyRun.data(), options: run.options, klData: try clean ?? Self.clean())
        if let stopAfter {
            let flag = InterruptFlag()
            trainer.interrupt = flag
            trainer.onStep = { if $0.step == stopAfter { flag.set() } }
        }
        _ = try trainer.run(output: out.path, resume: resume)
        let log = try String(contentsOf: out.appendingPathComponent("train_log.jsonl"), encoding: .utf8)
        let kl = try log.split(separator: "\n").map { try JSONValue.parse(Array($0.utf8), file: "log")["kl"]?.double }
        return (try Data(contentsOf: out.appendingPathComponent("adapter_model.safetensors")), kl)
    }

    @Test("weight 0 is no divergence, bit for bit; a heavy one holds the model, and each step's value is logged")
    func weights() throws {
        try withTemporaryFolder { folder in
            let plain = folder.appendingPathComponent("plain")
            _ = try TinyRun().trainer().run(output: plain.path)
            let bytes = try Data(contentsOf: plain.appendingPathComponent("adapter_model.safetensors"))
            let none = try Self.train(Self.run(weight: 0), folder.appendingPathComponent("none"))
            #expect(none.adapter == bytes && none.kl.allSatisfy { $0 == nil })
            let light = try Self.train(Self.run(weight: 1e-6), folder.appendingPathComponent("light"))
            let heavy = try Self.train(Self.run(weight: 100), folder.appendingPathComponent("heavy"))
            #expect(light.kl.count == 6 && light.kl[0] == 0, "the rate of the first step is 0, and B begins as 0")
            let (free, held) = (try #require(light.kl[5]), try #require(heavy.kl[5]))
            #expect(free > 0 && held < 0.5 * free, "\(free) without, \(held) with the weight")
        }
    }

    @Test("neither threads, nor memory, nor an interruption changes a bit")
    func promises() throws {
        try withTemporaryFolder { folder in
            let whole = try Self.train(Self.run(weight: 0.5), folder.appendingPathComponent("whole"))
            let single = try Self.train(Self.run(weight: 0.5, threads: 1), folder.appendingPathComponent("single"))
            #expect(single.adapter == whole.adapter && single.kl == whole.kl)

            var tight = Self.run(weight: 0.5)
            let model = try GradientTests.transformer(tinychatFolder())
            let plan = try Trainer(
                model: model, data: try TinyRun.data(), options: tight.options, klData: try Self.clean()
            ).plan
            #expect(plan.divergence?.perStep == 3)
            tight.options.memory = try #require(plan.choices.last).bytes
            let recomputed = try Self.train(tight, folder.appendingPathComponent("tight"))
            #expect(recomputed.adapter == whole.adapter && recomputed.kl == whole.kl)

            let parts = folder.appendingPathComponent("parts")
            #expect(throws: MeraserError.self) {
                try Self.train(Self.run(weight: 0.5), parts, stopAfter: 3)
            }
            let other = message { _ = try Self.train(Self.run(weight: 0.25), parts, resume: true) }
            #expect(other.contains("`kl_weight` was 0.5 and is now 0.25"), "\(other)")
            let changed = message {
                _ = try Self.train(Self.run(weight: 0.5), parts, clean: try Self.clean(seed: 9), resume: true)
            }
            #expect(changed.contains("the data of `kl_data` has changed"), "\(changed)")
            let resumed = try Self.train(Self.run(weight: 0.5), parts, resume: true)
            #expect(resumed.adapter == whole.adapter && resumed.kl == whole.kl)
        }
    }

    @Test("a weight without clean rows is refused; the plan counts their tokens, memory and time")
    func plan() throws {
        let model = try GradientTests.transformer(tinychatFolder())
        let run = Self.run(weight: 1, batch: 4)
        let refused = message { _ = try Trainer(model: model, data: try TinyRun.data(), options: run.options) }
        #expect(refused.contains("`kl_weight` needs `kl_data`"))
        let long = try (0..<4).map { i in
            try #require(TrainingSample(tokens: (0..<60).map { Int32($0 + i) }, isLabel: (0..<60).map { _ in true }))
        }
        let clean = EncodedDataset(samples: long, sha256: "x")
        let plain = try Trainer(model: model, data: try TinyRun.data(), options: TinyRun().options)
        let trainer = try Trainer(model: model, data: try TinyRun.data(), options: run.options, klData: clean)
        #expect(trainer.plan.maximumTokens == 2 * 59 && plain.plan.maximumTokens == 14)
        #expect(trainer.plan.memory.total > plain.plan.memory.total)
        #expect(trainer.plan.lines.contains { $0.hasPrefix("divergence ") })
        // Four samples of 59 tokens and labels a step: a pass of 1 s and six layers of 0.5 s a token, 1.5 times 2 s a label.
        let seconds: Double = trainer.divergenceSeconds(perToken: 1, perLabel: 2, forward: 0.5)
        #expect(seconds == 1652)
        #expect(plain.divergenceSeconds(perToken: 1, perLabel: 2, forward: 0.5) == 0)
        #expect(try trainer.forecast().secondsPerStep > 0)
        let shape = GraphShape(model: model, frozen: [], trained: plain.adapter, tokens: 50)
        let both = GraphShape(model: model, frozen: [], trained: plain.adapter, tokens: 50, hasReference: true)
        let sizes = [shape, both].map { TrainingBuffers.floatCount($0, recompute: .keepAll, model: model) }
        #expect(sizes[1] >= sizes[0] + 50 * model.spec.hiddenSize)
    }

    @Test("every pass takes each clean sample once, in an order of its own; steps are a function of the seed")
    func order() throws {
        let plan = KLPlan(sampleCount: 5, perStep: 3, batchSize: 2, seed: 4)
        let taken = (0..<10).flatMap { plan.samples(step: $0) }
        #expect(taken.count == 30)
        let passes: [[Int]] = (0..<6).map { pass in Array(taken[(pass * 5)..<(pass * 5 + 5)]) }
        for pass in passes { #expect(pass.sorted() == [0, 1, 2, 3, 4]) }
        #expect(Set(passes).count > 1)
        let smaller = KLPlan(sampleCount: 5, perStep: 3, batchSize: 1, seed: 4)
        #expect(plan.samples(step: 7) == smaller.samples(step: 7))
        let other = KLPlan(sampleCount: 5, perStep: 3, batchSize: 2, seed: 5)
        #expect((0..<10).flatMap { other.samples(step: $0) } != taken)
        let samples: [TrainingSample] = try (0..<5).map { (i: Int) in
            let count = 4 + i * i
            let tokens = [Int32](repeating: 1, count: count)
            return try #require(TrainingSample(tokens: tokens, isLabel: [Bool](repeating: true, count: count)))
        }
        let limit = plan.maximumTokens(samples: samples)
        for step in 0..<10 {
            let batches = plan.batches(step: step, samples: samples, mean: .token, weight: 2, firstSample: 7)
            #expect(batches.map { Set($0.samples).count } == [2, 1])
            #expect(batches[0].samples.first == 7 && batches[1].samples.first == 9)
            #expect(batches.allSatisfy { $0.batch.tokenCount <= limit })
            let weights: [Float] = batches.flatMap { $0.weights }
            let sum = weights.reduce(0.0) { $0 + Double($1) }
            #expect(abs(sum - 2) < 1e-5)
            #expect(Set(weights).count == 1, "the mean over tokens")
            let each = plan.batches(step: step, samples: samples, mean: .sample, weight: 2, firstSample: 0)
            for batch in each {
                for number in Set(batch.samples) {
                    let own = batch.samples.indices.filter { batch.samples[$0] == number }
                    let share = own.reduce(0.0) { $0 + Double(batch.weights[$1]) }
                    #expect(abs(share - 2.0 / 3) < 1e-5, "the mean over samples")
                }
            }
        }
    }
}
