import AllocationCounter
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// Batches and adapters on the bundled model that use everything a graph can do.
private struct GraphCase {
    let model: Transformer
    let frozen: LoRAAdapter
    let trained: LoRAAdapter
    let batch: LabelledBatch

    init(modules: [ModuleKey]? = nil, dropout: Double = 0.1) throws {
        model = try GradientTests.transformer(tinychatFolder())
        var random = SeededRandom(seed: 11)
        func filled(_ adapter: LoRAAdapter) -> LoRAAdapter {
            for i in 0..<adapter.parameters.count { adapter.parameters[0, i] = random.gaussian() * 0.02 }
            return adapter
        }
        frozen = filled(LoRAAdapter(config: LoRAConfig(r: 3, targetModules: [.q_proj, .up_proj]), for: model.spec))
        let config = LoRAConfig(
            r: 4, loraAlpha: 8, loraDropout: dropout, targetModules: Set(Projection.allCases))
        let modules = modules ?? LoRAAdapter(config: config, for: model.spec).modules
        trained = filled(LoRAAdapter(config: config, modules: modules, for: model.spec))
        let sequences = [23, 9, 14].map { count in (0..<count).map { _ in Int32(random.next() % 4096) } }
        batch = GradientTests.meanBatch(sequences)
    }

    /// Loss and gradient of a graph with that plan.
    func result(_ plan: RecomputePlan, _ precision: KeptPrecision, dropout: Float = 0.1) throws
        -> (loss: Double, gradient: [Float])
    {
        let graph = TrainingGraph(
            model: model, frozen: [frozen], trained: trained, maximumTokens: batch.batch.tokenCount + 7,
            recompute: plan, keptPrecision: precision)
        let gradients = LoRAAdapter(layoutOf: trained)
        let loss = try graph.accumulate(
            batch, dropout: dropout > 0 ? (probability: dropout, seed: 3, step: 5) : nil, into: gradients)
        return (loss, gradients.parameters.toArray())
    }
}

@Suite("What is kept and what is recomputed")
struct RecomputeTests {
    @Test("no plan changes a bit of loss or gradient", arguments: [KeptPrecision.f32, .bf16])
    func plans(precision: KeptPrecision) throws {
        let graph = try GraphCase()
        let kept = try graph.result(.keepAll, precision)
        #expect(kept.gradient.contains { $0 != 0 })
        for (layers, mlps) in [(0, 6), (6, 0), (2, 2), (0, 1), (1, 0), (5, 1)] {
            let got = try graph.result(RecomputePlan(layers: layers, mlps: mlps), precision)
            #expect(got.loss == kept.loss && got.gradient == kept.gradient, "\(layers) layers, \(mlps) MLPs")
        }
    }

    @Test("nor does one in layers of other wirings", arguments: GradientTests.smallNames, [KeptPrecision.f32, .bf16])
    func wirings(name: String, precision: KeptPrecision) throws {
        let (model, trained, _, batch) = try GradientTests.smallCase(name)
        func result(_ plan: RecomputePlan) throws -> (loss: Double, gradient: [Float]) {
            let graph = TrainingGraph(
                model: model, frozen: [], trained: trained, maximumTokens: 24, recompute: plan,
                keptPrecision: precision)
            let gradients = LoRAAdapter(layoutOf: trained)
            return (try graph.accumulate(batch, into: gradients), gradients.parameters.toArray())
        }
        let kept = try result(.keepAll)
        #expect(kept.gradient.contains { $0 != 0 })
        for (layers, mlps) in [(0, 2), (2, 0), (1, 1)] {
            let got = try result(RecomputePlan(layers: layers, mlps: mlps))
            #expect(got.loss == kept.loss && got.gradient == kept.gradient, "\(layers) layers, \(mlps) MLPs")
        }
    }

    @Test("rounding what is kept to bf16 changes gradients, by no more than the design allows, and no loss")
    func rounding() throws {
        let graph = try GraphCase(dropout: 0)
        let exact = try graph.result(.keepAll, .f32, dropout: 0)
        let rounded = try graph.result(.keepAll, .bf16, dropout: 0)
        #expect(rounded.loss == exact.loss)
        #expect(rounded.gradient != exact.gradient)
        var offset = 0
        for module in graph.trained.modules {
            let factors = try #require(graph.trained[module])
            for count in [factors.a.count, factors.b.count] {
                let range = offset..<offset + count
                let difference = relativeL2(Array(rounded.gradient[range]), Array(exact.gradient[range]))
                #expect(difference <= 3e-2, "\(module.path)")
                offset += count
            }
        }
    }

    @Test("layers below the lowest adapter neither keep nor receive anything, and change nothing above")
    func lowestLayer() throws {
        let upper = (3..<6).flatMap { layer in
            [Projection.v_proj, .down_proj].map { ModuleKey(layer: layer, projection: $0) }
        }
        let graph = try GraphCase(modules: upper)
        let kept = try graph.result(.keepAll, .bf16)
        let recomputed = try graph.result(RecomputePlan(layers: 1, mlps: 2), .bf16)
        #expect(recomputed.gradient == kept.gradient && recomputed.loss == kept.loss)
        // The same modules beside ones below, whose gradients are not looked at.
        let all = try GraphCase()
        let shape = GraphShape(model: graph.model, frozen: [], trained: graph.trained, tokens: 16)
        let whole = GraphShape(model: all.model, frozen: [], trained: all.trained, tokens: 16)
        let sizes = [shape, whole].map { TrainingBuffers.floatCount($0, recompute: .keepAll, model: graph.model) }
        #expect(sizes[0] < sizes[1])
    }

    @Test("a step like an earlier one allocates nothing", .enabled(if: allocation_counter_works()))
    func allocations() throws {
        allocation_counter_start()
        UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 8).deallocate()
        let one = allocation_counter_stop()
        #expect(one == 1, "the counter does not count")

        let test = try GraphCase()
        let graph = TrainingGraph(
            model: test.model, frozen: [test.frozen], trained: test.trained,
            maximumTokens: test.batch.batch.tokenCount, recompute: RecomputePlan(layers: 1, mlps: 2))
        let state = OptimizerState(adapter: test.trained, options: TrainingOptions())
        var counts: [Int] = []
        for step in 0..<4 {
            allocation_counter_start()
            _ = try state.advance(learningRate: 1e-3, kernels: test.model.kernels) { gradients in
                for _ in 0..<2 {
                    _ = try graph.accumulate(
                        test.batch, dropout: (probability: 0.1, seed: 1, step: UInt64(step)), into: gradients)
                }
            }
            counts.append(allocation_counter_stop())
        }
        #expect(counts.dropFirst().allSatisfy { $0 == 0 }, "heap blocks of steps 1…: \(counts)")
    }
}
