import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// Runs on the bundled model with adapters on its upper layers.
private struct UpperRun {
    var options: TrainingOptions = {
        var options = TinyRun().options
        options.lora.layersToTransform = [3, 5]
        options.maxSteps = 7
        return options
    }()
    var klData: EncodedDataset?

    func trainer() throws -> Trainer {
        let model = try GradientTests.transformer(tinychatFolder())
        let below = LoRAAdapter(config: LoRAConfig(r: 2, targetModules: [.v_proj]), for: model.spec)
        below.initialize(seed: 3)
        below[below.modules[0]]?.b.fill(0.01)
        return try Trainer(
            model: model, frozen: [below], data: TinyRun.data(), options: options, klData: klData)
    }

    func adapter(in folder: URL, resume: Bool = false) throws -> Data {
        _ = try trainer().run(output: folder.path, resume: resume)
        return try Data(contentsOf: folder.appendingPathComponent("adapter_model.safetensors"))
    }
}

@Suite("What the layers below the lowest adapter compute is kept")
struct FrozenOutputsTests {
    @Test("wherever it is kept, and however much of it, a run has the bits of one that computes it every time")
    func sameBits() throws {
        try withTemporaryFolder { folder in
            for compute in try [Compute.f32, .bf16, .int8].filter({ try KernelContext(threads: 1).supports($0) }) {
                var run = UpperRun()
                run.options.compute = compute
                (run.options.klWeight, run.options.klBatch) = (0.5, 3)
                run.klData = try TinyRun.data(seed: 2)
                run.options.frozenCache = .none
                let alone = try run.trainer()
                #expect(alone.plan.frozen == nil && alone.plan.memory.frozen == 0)
                let expected = try run.adapter(in: folder.appendingPathComponent("\(compute) none"))
                // The streams of both, and what is predicted behind the clean ones.
                let tokens = try TinyRun.data().tokenCount + 2 * TinyRun.data(seed: 2).tokenCount
                // Nothing in memory, a part, all of it; a part of it in memory alone.
                for (room, cache) in [(40_000, FrozenCache.disk), (0, .disk), (1 << 20, .disk), (40_000, .memory)]
                where compute == .f32 || (room == 40_000 && cache == .disk) {
                    run.options.frozenCache = cache
                    run.options.memory = alone.plan.memory.total + room
                    let plan = try run.trainer().plan
                    #expect(plan.frozen?.memory ?? 0 <= room && plan.memory.total <= plan.limitBytes)
                    #expect(plan.frozen.map { $0.layers == 3 && $0.bytes == 4 * 256 * tokens } == true)
                    #expect(plan.frozen.map { $0.memory + $0.disk == $0.bytes } == (cache == .disk))
                    let out = folder.appendingPathComponent("\(compute) \(cache) \(room)")
                    #expect(try run.adapter(in: out) == expected, "\(compute) \(cache) \(room)")
                }
            }
        }
    }

    @Test("a run that was interrupted in the second epoch goes on to the same bits; nothing stays in its folder")
    func resume() throws {
        try withTemporaryFolder { folder in
            var run = UpperRun()
            // Everything on the disk.
            let roomy = try run.trainer().plan.memory
            run.options.memory = roomy.total - roomy.frozen
            let whole = folder.appendingPathComponent("whole")
            let expected = try run.adapter(in: whole)
            let parts = folder.appendingPathComponent("parts")
            let first = try run.trainer()
            #expect(first.plan.frozen?.memory == 0 && first.plan.frozen.map { $0.disk > 0 } == true)
            let flag = InterruptFlag()
            first.interrupt = flag
            var names: [String] = []
            first.onStep = { progress in
                guard progress.step == 4 else { return }
                names = (try? FileManager.default.contentsOfDirectory(atPath: parts.path)) ?? []
                flag.set()
            }
            #expect(throws: MeraserError.self) { try first.run(output: parts.path) }
            #expect(names.contains("run.json") && names.allSatisfy { !$0.contains("nameless") })
            #expect(try run.adapter(in: parts, resume: true) == expected)
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: parts.path).sorted()
                    == FileManager.default.contentsOfDirectory(atPath: whole.path).sorted())
            run.options.frozenCache = .none
            run.options.memory = nil
            #expect(try run.adapter(in: parts, resume: true) == expected, "where it is kept may change")
        }
    }

    @Test("kept is what comes again, and of what nothing that trains lies below")
    func whenItIsUsed() throws {
        func bytes(_ change: (inout UpperRun) throws -> Void) throws -> Int {
            var run = UpperRun()
            try change(&run)
            return try run.trainer().plan.frozen?.bytes ?? 0
        }
        let own = 4 * 256 * (try TinyRun.data().tokenCount)
        let clean = 4 * 256 * (try TinyRun.data(seed: 2).tokenCount)
        func learnDivergence(_ run: inout UpperRun, batch: Int) throws {
            (run.options.klWeight, run.options.klBatch, run.klData) = (0.5, batch, try TinyRun.data(seed: 2))
        }
        #expect(try bytes { _ in } == own)
        #expect(try bytes { $0.options.maxSteps = 3 } == 0, "one epoch")
        #expect(try bytes { $0.options.lora.layersToTransform = [] } == 0, "adapters on every layer")
        #expect(try bytes { $0.options.lora.tokens = [5] } == 0, "rows of the embedding")
        #expect(try bytes { $0.options.objective = .crow } == 0, "consistency of all layers")
        #expect(try bytes { $0.options.objective = .npo } == 2 * own, "the frozen model's likelihoods")
        #expect(try bytes { try learnDivergence(&$0, batch: 1) } == own, "clean rows that come once")
        #expect(try bytes { try learnDivergence(&$0, batch: 2) } == own + 2 * clean)
        #expect(
            try bytes {
                try learnDivergence(&$0, batch: 4)
                ($0.options.maxSteps, $0.options.lora.layersToTransform) = (3, [])
            } == clean, "what the divergence compares with, beside adapters on every layer")
        var run = UpperRun()
        run.options.lora.layersToTransform = [3, 6]
        let refused = errorText(.usage) { _ = try run.trainer() }
        #expect(refused.contains("layers_to_transform: there is no layer 6"), "\(refused)")
    }

    @Test("with adapters on every layer, what divergence and NPO compare with is kept and changes no bit")
    func answers() throws {
        try withTemporaryFolder { folder in
            for objective in [Objective.likelihood, .npo] {
                var run = UpperRun()
                run.options.lora.layersToTransform = []
                run.options.objective = objective
                (run.options.klWeight, run.options.klBatch, run.klData) = (0.5, 4, try TinyRun.data(seed: 2))
                #expect(try run.trainer().plan.frozen != nil)
                let kept = try run.adapter(in: folder.appendingPathComponent("\(objective) kept"))
                run.options.frozenCache = .none
                #expect(try run.adapter(in: folder.appendingPathComponent("\(objective)")) == kept)
            }
        }
    }

    @Test("the plan and the forecast say it")
    func plan() throws {
        let run = UpperRun()
        let plan = try run.trainer().plan
        #expect(plan.lines.contains { $0.hasPrefix("frozen                3 layers below the lowest adapter") })
        let fields = Dictionary(plan.fields.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
        #expect(fields["frozen_layers"] == .integer(3) && fields["frozen_disk_bytes"] == .integer(0))
        #expect(fields["frozen_bytes"] == .integer(plan.memory.frozen) && plan.memory.frozen > 0)
        let forecast = try run.trainer().forecast()
        #expect(forecast.seconds > 0 && abs(forecast.seconds - 7 * forecast.secondsPerStep) < 1e-9 * forecast.seconds)
    }

    @Test(
        "a text is computed once, whatever stands beside it, in layers of every wiring",
        arguments: GradientTests.smallNames)
    func computedOnce(name: String) throws {
        let (model, _, _, _) = try GradientTests.smallCase(name)
        let top = model.spec.numHiddenLayers - 1
        var config = LoRAConfig(r: 2, loraDropout: 0, targetModules: Projection.parts)
        config.layersToTransform = [top]
        let trained = LoRAAdapter(config: config, for: model.spec)
        trained.initialize(seed: 4)
        for module in trained.modules { trained[module]?.b.fill(0.02) }
        let texts: [[Int32]] = [[1, 7, 3, 9, 2], [4, 4, 8], [5, 6, 1, 2, 3, 4, 9]]
        // The first twice in one batch; then texts that are kept beside one that is not.
        let batches = [[texts[0], texts[1], texts[0]], [texts[2], texts[0]], [texts[1], texts[2]]]
        func graph() -> TrainingGraph {
            TrainingGraph(model: model, frozen: [], trained: trained, maximumTokens: 16)
        }
        func gradient(_ graph: TrainingGraph, _ batch: [[Int32]]) throws -> [Float] {
            let gradients = LoRAAdapter(layoutOf: trained)
            _ = try graph.accumulate(GradientTests.meanBatch(batch), into: gradients)
            return gradients.parameters.toArray()
        }
        let keeping = graph()
        let all = FrozenTexts(own: true, clean: false, bytes: 1 << 20)
        let plan = try #require(FrozenPlan(.memory, all, layers: top, room: 1 << 20))
        keeping.frozenOutputs = try FrozenOutputs(plan, hiddenSize: model.spec.hiddenSize, folder: nil)
        var rows = 0
        keeping.buffers.scratch.onInput = { projections, x in
            if projections.contains(where: { $0 == .q_proj || $0 == .qkv_proj }) { rows += x.rows }
        }
        for batch in batches {
            let computed = batch == batches[0] ? [texts[0], texts[1], texts[0]] : batch == batches[1] ? [texts[2]] : []
            rows = 0
            let expected = try gradient(graph(), batch)
            #expect(try gradient(keeping, batch) == expected && expected.contains { $0 != 0 })
            let tokens = { (texts: [[Int32]]) in texts.reduce(0) { $0 + $1.count } }
            #expect(rows == top * tokens(computed) + tokens(batch))
        }
    }

    @Test("what is past the memory goes to the file, and what is past the file nowhere")
    func places() throws {
        try withTemporaryFolder { folder in
            var random = SeededRandom(seed: 5)
            let streams = (0..<4).map { _ in FloatStorage(random.gaussians(3 * 16), rows: 3, columns: 16) }
            let texts = (0..<4).map { FrozenOutputs.Text(depth: .finalNorm, tokens: [Int32($0), 1, 2], softRows: []) }
            let bytes = 3 * 16 * 4
            // Room for one in memory and for two on the disk.
            let wanted = FrozenTexts(own: true, clean: false, bytes: 2 * bytes)
            let plan = try #require(FrozenPlan(.disk, wanted, layers: 1, room: bytes + 4))
            #expect(FrozenPlan(.memory, wanted, layers: 1, room: 0) == nil)
            let outputs = try FrozenOutputs(plan, hiddenSize: 16, folder: folder.path)
            for (text, stream) in zip(texts, streams) { outputs.keep(stream.matrix, of: text) }
            #expect(texts.map(outputs.has) == [true, true, true, false])
            for (text, stream) in zip(texts, streams).prefix(3) {
                let copy = FloatStorage(rows: 3, columns: 16)
                try outputs.restore(text, into: copy.matrix)
                #expect(copy.matrix.toArray() == stream.matrix.toArray())
            }
            let other = FrozenOutputs.Text(depth: .finalNorm, tokens: [0, 1, 2], softRows: [0])
            let lower = FrozenOutputs.Text(depth: .lowestLayer, tokens: [0, 1, 2], softRows: [])
            #expect(!outputs.has(other) && !outputs.has(lower), "a soft prompt, or another depth, is another entry")
            outputs.attend(clean: true)
            outputs.keep(streams[0].matrix, of: other)
            #expect(!outputs.has(other), "clean texts do not come again")
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
        }
    }
}

@Suite("Streamed weights")
struct StreamedWeightsTests {
    #if os(Linux)
        /// Bytes of a file's maps that are resident.
        private func residentBytes(_ path: String) throws -> Int {
            let file = try #require(fopen("/proc/self/smaps", "r"))
            defer { fclose(file) }
            // Foundation ends with the first piece of a long file without a size.
            var bytes: [UInt8] = []
            var piece = [UInt8](repeating: 0, count: 1 << 16)
            while case let count = fread(&piece, 1, piece.count, file), count > 0 { bytes += piece.prefix(count) }
            let text = String(decoding: bytes, as: UTF8.self)
            var (isIn, sum) = (false, 0)
            for line in text.split(separator: "\n") {
                if line.first?.isHexDigit == true, line.contains("-"), !line.hasPrefix("Rss") {
                    isIn = line.hasSuffix(path)
                }
                if isIn, line.hasPrefix("Rss:") {
                    sum += 1024 * (line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
                }
            }
            return sum
        }

        @Test("are resident one layer at a time, and give the same loss and gradient")
        func resident() throws {
            try withTemporaryFolder { folder in
                let copy = folder.appendingPathComponent("model")
                try FileManager.default.copyItem(at: tinychatFolder(), to: copy)
                let plain = try GradientTests.transformer(copy)
                let streaming = try plain.streamingWeights()
                let bytes = try #require(streaming.pages).byteCounts
                #expect(bytes.all == 6 * bytes.largest)
                let trained = LoRAAdapter(config: LoRAConfig(r: 2, targetModules: [.q_proj]), for: plain.spec)
                trained.initialize(seed: 2)
                let batch = GradientTests.meanBatch([[5, 9, 2, 7, 1], [3, 3, 4]])
                func result(_ model: Transformer) throws -> ([Float], Double) {
                    let graph = TrainingGraph(
                        model: model, frozen: [], trained: trained, maximumTokens: 8,
                        recompute: RecomputePlan(layers: 2))
                    let gradients = LoRAAdapter(layoutOf: trained)
                    let loss = try graph.accumulate(batch, into: gradients)
                    return (gradients.parameters.toArray(), loss)
                }
                let (expected, got) = (try result(plain), try result(streaming))
                #expect(got.0 == expected.0 && got.1 == expected.1 && got.0.contains { $0 != 0 })
                plain.store.releasePages()
                _ = try result(plain)
                let whole = try residentBytes("model/model.safetensors")
                plain.store.releasePages()
                _ = try result(streaming)
                let streamed = try residentBytes("model/model.safetensors")
                // What lies around a page that is touched may come with it, up to 2 MiB.
                #expect(whole >= bytes.all && streamed <= whole - bytes.all / 2, "\(whole), \(streamed)")
            }
        }
    #endif
}
