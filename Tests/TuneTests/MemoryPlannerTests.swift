import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

@Suite("The memory planner")
struct MemoryPlannerTests {
    private let model: Transformer
    private let planner: MemoryPlanner
    private let tokens = 512

    init() throws {
        model = try GradientTests.transformer(tinychatFolder())
        let trained = LoRAAdapter(config: LoRAConfig(r: 8, targetModules: [.q_proj, .v_proj]), for: model.spec)
        planner = MemoryPlanner(model: model, frozen: [], trained: trained)
    }

    private func total(_ plan: RecomputePlan) -> Int { planner.use(tokens: tokens, recompute: plan).total }
    private func best(_ limit: Int) -> RecomputePlan { planner.best(tokens: tokens, context: 64, limit: limit) }

    @Test("with room for all, all is kept; one byte less, and as little as possible is recomputed")
    func edges() {
        let all = total(.keepAll)
        #expect(best(all) == .keepAll && best(.max) == .keepAll)
        #expect(best(all - 1) == RecomputePlan(mlps: 1), "the cheapest step that saves anything")
        let smallest = RecomputePlan(layers: 6)
        #expect(total(smallest) < total(RecomputePlan(mlps: 6)))
        #expect(best(total(smallest)) == smallest)
        #expect(best(total(smallest) - 1) == smallest, "nothing fits: the smallest, which the check refuses")
    }

    @Test("the plan for any limit fits it, and none that fits costs less")
    func optimum() {
        let costs = RecomputeCosts(model.spec, context: 64)
        func cost(_ plan: RecomputePlan) -> Double { Double(plan.layers) * costs.layer + Double(plan.mlps) * costs.mlp }
        let (low, high) = (total(RecomputePlan(layers: 6)), total(.keepAll))
        let plans = (0...6).flatMap { layers in (0...6 - layers).map { RecomputePlan(layers: layers, mlps: $0) } }
        for limit in stride(from: low, through: high, by: (high - low) / 40) {
            let chosen = best(limit)
            #expect(total(chosen) <= limit)
            for plan in plans where total(plan) <= limit { #expect(cost(chosen) <= cost(plan)) }
        }
    }

    @Test("sizes are what is kept of a step, counted by hand")
    func sizes() {
        let c = model.spec
        let small = planner.use(tokens: tokens, recompute: .keepAll)
        // f32 here: residual, q, k, v, attention, residual, gate, up; log-sum-exp and two roots.
        let (attention, mlp) = (c.layers[0].attention, c.layers[0].mlp)
        let widths = c.hiddenSize + attention.queryWidth + attention.keyValueWidth + mlp.width
        let row = 2 * widths + attention.heads + 2
        #expect(small.kept == c.numHiddenLayers * tokens * row * 4)
        #expect(small.weights == model.store.tensorNames.reduce(0) { $0 + byteCount($1) })
        let layers = planner.use(tokens: tokens, recompute: RecomputePlan(layers: c.numHiddenLayers))
        #expect(layers.kept == c.numHiddenLayers * tokens * c.hiddenSize * 4)
        #expect(layers.working == small.working)
        // Adapter, gradient, two moments, and both moments again for a checkpoint; r 8 on q and v of 256 × 256 and
        // 256 × G·D.
        let parameters = c.numHiddenLayers * 8 * (2 * c.hiddenSize + attention.queryWidth + attention.keyValueWidth)
        #expect(small.optimizer == 6 * 4 * parameters)
    }

    private func byteCount(_ name: String) -> Int { (try? model.store.tensor(name))?.info.byteCount ?? 0 }

    @Test("weights are streamed only if nothing else fits, and then all is kept that can be")
    func streaming() {
        func plan(_ limit: Int) -> MemoryPlan { planner.plan(tokens: tokens, context: 64, limit: limit) }
        let smallest = total(RecomputePlan(layers: 6))
        #expect(plan(smallest) == MemoryPlan(recompute: RecomputePlan(layers: 6)))
        let streamed = plan(smallest - 1)
        #expect(streamed.streamsWeights && streamed.recompute != RecomputePlan(layers: 6))
        #expect(planner.use(tokens: tokens, streamed).total < smallest)
        // All layers are alike: one stays, with embedding, head and norms.
        let all = planner.use(tokens: tokens, recompute: .keepAll).weights
        let layer = Projection.allCases.reduce(0) { sum, projection in
            sum + (model.spec.layers[0][projection].map { byteCount($0.weight) } ?? 0)
        }
        #expect(layer > 0)
        #expect(planner.use(tokens: tokens, streamed).weights == all - 5 * layer)
    }

    @Test("the program is its code, the vocabulary and the data, and nothing that a batch changes")
    func program() throws {
        let sample = try #require(TrainingSample(tokens: Array(0..<100), isLabel: Array(repeating: true, count: 100)))
        let data = EncodedDataset(samples: Array(repeating: sample, count: 1000), sha256: "")
        let trained = LoRAAdapter(config: LoRAConfig(r: 8, targetModules: [.q_proj]), for: model.spec)
        let with = MemoryPlanner(model: model, frozen: [], trained: trained, data: [data, data])
        let program = planner.use(tokens: tokens, recompute: .keepAll).program
        #expect(planner.use(tokens: 1, recompute: .keepAll).program == program)
        // 99 tokens go in and 99 are learnt, four bytes each.
        let rows = with.use(tokens: tokens, recompute: .keepAll).program - program
        #expect(rows >= 2 * 1000 * 2 * 99 * 4 && rows <= 2 * 1000 * (2 * 99 * 4 + 256))
    }

    @Test("limits are looked for in a process's own control groups and in those around them, of both versions")
    func controlGroups() {
        #expect(
            ProcessMemory.limitFiles(cgroups: "0::/user/job.scope\n") == [
                "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/user/memory.max",
                "/sys/fs/cgroup/user/job.scope/memory.max",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ])
        #expect(
            ProcessMemory.limitFiles(cgroups: "9:name=systemd:/\n4:cpu,memory:/a/b:c\n0::/\n") == [
                "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "/sys/fs/cgroup/memory/a/b:c/memory.limit_in_bytes",
            ])
        #expect(ProcessMemory.limitFiles(cgroups: "").count == 2)
    }

    @Test("a run under any memory limit gives the same adapter")
    func sameAdapter() throws {
        try withTemporaryFolder { folder in
            var run = TinyRun()
            let plan = try run.trainer().plan
            #expect(plan.recompute == .keepAll)
            let sizes = plan.choices.map(\.bytes)
            #expect(sizes.count == 4 && sizes[0] == plan.memory.total && sizes == sizes.sorted(by: >))
            var adapters: [Data] = []
            for bytes in sizes {
                run.options.memory = bytes
                let trainer = try run.trainer()
                #expect(trainer.plan.memory.total <= bytes)
                #expect(trainer.plan.streamsWeights == (bytes == sizes[3]))
                let out = folder.appendingPathComponent("\(bytes)")
                _ = try trainer.run(output: out.path)
                adapters.append(try Data(contentsOf: out.appendingPathComponent("adapter_model.safetensors")))
            }
            #expect(Set(adapters).count == 1)
        }
    }
}
