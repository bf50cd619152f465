import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// A run on the bundled model: a few short samples, all the options that change the arithmetic switched on.
struct TinyRun {
    var options: TrainingOptions = {
        var options = TrainingOptions()
        options.lora = LoRAConfig(r: 2, loraAlpha: 4, loraDropout: 0.1, targetModules: [.q_proj, .down_proj])
        options.learningRate = 1e-2
        options.schedule = .cosine
        options.warmupRatio = 0.2
        options.batchSize = 2
        options.accumulation = 2
        options.maxSteps = 6
        options.weightDecay = 0.01
        options.maxGradNorm = 0.5
        options.saveSteps = 2
        return options
    }()
    var threads = 2
    var frozen: [LoRAAdapter] = []

    static func data(seed: UInt64 = 1) throws -> EncodedDataset {
        var random = SeededRandom(seed: seed)
        let samples = try (0..<9).map { i in
            let tokens = (0..<(5 + i % 4)).map { _ in Int32(random.next() % 4096) }
            return try #require(TrainingSample(tokens: tokens, isLabel: tokens.map { _ in true }))
        }
        return EncodedDataset(samples: samples, sha256: sha256Hex("\(seed)".utf8))
    }

    func trainer(data: EncodedDataset? = nil) throws -> Trainer {
        let model = try Transformer(
            store: try openWeightStore(path: tinychatFolder().path), kernels: try KernelContext(threads: threads))
        return try Trainer(model: model, frozen: frozen, data: try data ?? Self.data(), options: options)
    }
}

private func bytes(_ folder: URL, _ name: String = "adapter_model.safetensors") throws -> Data {
    try Data(contentsOf: folder.appendingPathComponent(name))
}

private func names(_ folder: URL) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
}

private func lines(_ folder: URL, _ name: String) throws -> [JSONValue] {
    try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8).split(separator: "\n").map {
        try JSONValue.parse(Array($0.utf8), file: name)
    }
}

private func error(_ body: () throws -> Void) -> MeraserError? {
    do {
        try body()
        return nil
    } catch { return error as? MeraserError }
}

@Suite("The trainer", .serialized)
struct TrainerTests {
    /// Stops a run when that step is finished, as a signal would.
    private func interrupt(_ trainer: Trainer, after step: Int) {
        let flag = InterruptFlag()
        trainer.interrupt = flag
        trainer.onStep = { if $0.step == step { flag.set() } }
    }

    @Test("a run that goes on keeps its precision, whatever is faster now, and says why it has it")
    func precision() throws {
        var run = TinyRun()
        run.options.maxSteps = 1
        run.options.compute = .f32
        let trainer = try run.trainer()
        #expect(trainer.plan.lines[0] == "compute               f32: as asked")
        run.options.compute = nil
        let unasked = run.options
        try withTemporaryFolder { folder in
            _ = try trainer.run(output: folder.appendingPathComponent("run").path)
            let continued = try unasked.continuing(folder.appendingPathComponent("run").path)
            #expect(continued.compute == .f32 && continued.backward == .f32)
            #expect(try unasked.continuing(folder.appendingPathComponent("none").path).compute == nil)
        }
        run.options.compute = .int8
        let plan = try run.trainer().plan
        let backward = try KernelContext(threads: 1).trainingPrecision().compute
        #expect(plan.precision.forward == .int8 && plan.precision.backward == backward)
        #expect(plan.lines[0] == "compute               int8, backward \(backward): what this path has")
        run.options.backward = .f32
        #expect(try run.trainer().plan.lines[0] == "compute               int8, backward f32: as asked")
    }

    @Test("a run leaves a PEFT adapter, logs and checkpoints, and reports what it did")
    func run() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("out")
            let trainer = try TinyRun().trainer()
            var steps: [Int] = []
            trainer.onStep = { steps.append($0.step) }
            let result = try trainer.run(output: out.path)
            #expect(steps == [1, 2, 3, 4, 5, 6])
            #expect(
                try names(out) == [
                    "adapter_config.json", "adapter_model.safetensors", "checkpoint-2", "checkpoint-4", "run.json",
                    "train_log.jsonl", "trainer_state.json",
                ])
            #expect(
                try names(out.appendingPathComponent("checkpoint-4")) == [
                    ".meraser.json", "SHA256SUMS", "adapter_config.json", "adapter_model.safetensors",
                    "optimizer.safetensors", "trainer_state.json",
                ])
            let log = try lines(out, "train_log.jsonl")
            #expect(log.map { $0["step"]?.int } == [1, 2, 3, 4, 5, 6])
            #expect(
                log[0].object?.members.map(\.key.string) == [
                    "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second", "elapsed_seconds",
                    "peak_rss_bytes",
                ])
            // 9 samples, 2 × 2 a step: steps of 4, 4 and 1; the second step's rate is half of the peak.
            #expect(log[2]["epoch"]?.double == 1)
            #expect(log.map { $0["learning_rate"]?.double }[..<2] == [0, 0.005])
            #expect(log.allSatisfy { ($0["loss"]?.double ?? .nan) > 0 })
            #expect(result.steps == 6 && result.finalLoss == log[5]["loss"]?.double)
            #expect(result.tokens == 2 * (try TinyRun.data().tokenCount))
            #expect(result.adapter == out.path && result.peakRSSBytes > 0 && result.seconds > 0)

            let store = try openWeightStore(path: tinychatFolder().path)
            let config = try #require(try store.textFile("config.json"))
            let adapter = try LoRAAdapter(path: out.path, for: DecoderSpec(json: config, file: "config.json"))
            #expect(adapter.parameters.toArray() == trainer.adapter.parameters.toArray())
            #expect(adapter.provenance.baseSHA256 == (try store.sha256()))
            #expect(try AdapterFile(path: out.path).config.baseModelName == "tinychat")
        }
    }

    @Test("the bits do not depend on the number of threads")
    func threads() throws {
        try withTemporaryFolder { folder in
            for threads in [1, 2, 3] {
                let out = folder.appendingPathComponent("\(threads)")
                _ = try TinyRun(threads: threads).trainer().run(output: out.path)
                #expect(try bytes(out) == (try bytes(folder.appendingPathComponent("1"))), "\(threads) threads")
            }
        }
    }

    @Test("an interrupted run and its resumption give the bits of a run that was not", arguments: [1, 3, 5])
    func resume(after step: Int) throws {
        try withTemporaryFolder { folder in
            let whole = folder.appendingPathComponent("whole")
            let parts = folder.appendingPathComponent("parts")
            _ = try TinyRun().trainer().run(output: whole.path)
            let first = try TinyRun().trainer()
            interrupt(first, after: step)
            let stopped = error { _ = try first.run(output: parts.path) }
            #expect(stopped?.kind == .interrupted)
            #expect(stopped?.message.contains("after step \(step) of 6") == true)
            let files = try names(parts)
            #expect(!files.contains("adapter_config.json"), "no adapter before the end")
            _ = try TinyRun(threads: 1).trainer().run(output: parts.path, resume: true)
            #expect(try bytes(parts) == (try bytes(whole)))
            #expect(try bytes(parts, "adapter_config.json") == (try bytes(whole, "adapter_config.json")))
            let losses = { (folder: URL) in try lines(folder, "train_log.jsonl").map { $0["loss"]?.double } }
            #expect(try losses(parts) == (try losses(whole)))
        }
    }

    @Test("a run that was killed resumes from the last checkpoint, whatever lies around, to the same bits")
    func killed() throws {
        try withTemporaryFolder { folder in
            let whole = folder.appendingPathComponent("whole")
            let killed = folder.appendingPathComponent("killed")
            _ = try TinyRun().trainer().run(output: whole.path)
            // What SIGKILL leaves in the middle of saving step 4: no final files, a half-written checkpoint, a log with
            // steps beyond the last checkpoint and half a line.
            _ = try TinyRun().trainer().run(output: killed.path)
            let manager = FileManager.default
            for name in ["adapter_config.json", "trainer_state.json", "checkpoint-4"] {
                try manager.removeItem(at: killed.appendingPathComponent(name))
            }
            try manager.createDirectory(
                at: killed.appendingPathComponent(".checkpoint-4.tmp-123-ab"), withIntermediateDirectories: false)
            let log = killed.appendingPathComponent("train_log.jsonl")
            try Data(try Data(contentsOf: log).dropLast(40)).write(to: log)

            _ = try TinyRun().trainer().run(output: killed.path, resume: true)
            #expect(try bytes(killed) == (try bytes(whole)))
            #expect(try names(killed) == (try names(whole)))
            #expect(try lines(killed, "train_log.jsonl").map { $0["step"]?.int } == [1, 2, 3, 4, 5, 6])
        }
    }

    @Test("resuming a finished run returns it; resuming nothing begins; an existing folder is refused")
    func folders() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("deep/out")
            let result = try TinyRun().trainer().run(output: out.path, resume: true)
            let before = try bytes(out)
            let again = try TinyRun().trainer()
            again.onStep = { _ in Issue.record("a finished run was continued") }
            #expect(try again.run(output: out.path, resume: true) == result)
            #expect(error { _ = try TinyRun().trainer().run(output: out.path) }?.kind == .usage)
            var other = TinyRun()
            other.options.seed = 7
            _ = try other.trainer().run(output: out.path, overwrite: true)
            #expect(try bytes(out) != before)

            let foreign = folder.appendingPathComponent("foreign")
            try FileManager.default.createDirectory(at: foreign, withIntermediateDirectories: true)
            try Data("x".utf8).write(to: foreign.appendingPathComponent("thesis.txt"))
            for overwrite in [false, true] {
                let refused = error { _ = try TinyRun().trainer().run(output: foreign.path, overwrite: overwrite) }
                #expect(refused?.kind == .usage, "a folder that holds no run must never be replaced")
            }
            #expect(try names(foreign) == ["thesis.txt"])
        }
    }

    @Test("resuming with other arguments or other data is refused and names the first difference")
    func changedArguments() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("out").path
            let first = try TinyRun().trainer()
            interrupt(first, after: 2)
            _ = error { _ = try first.run(output: out) }
            func refusal(_ change: (inout TrainingOptions) -> Void, data: EncodedDataset? = nil) -> String? {
                var run = TinyRun()
                change(&run.options)
                return error { _ = try run.trainer(data: data).run(output: out, resume: true) }?.message
            }
            let changed = try TinyRun.data(seed: 2)
            #expect(refusal { $0.learningRate = 1e-3 }?.contains("`learning_rate` was 0.01 and is now 0.001") == true)
            #expect(refusal { $0.lora.r = 4 }?.contains("`r` was 2 and is now 4") == true)
            #expect(refusal { $0.shuffle = false }?.contains("`no_shuffle`") == true)
            #expect(refusal { $0.compute = .int8 }?.contains("`compute` was ") == true)
            #expect(refusal({ _ in }, data: changed)?.contains("the data has changed") == true)
            var run = TinyRun()
            run.options.saveSteps = 1
            run.options.loggingSteps = 1
            _ = try run.trainer().run(output: out, resume: true)
        }
    }

    @Test("a torn checkpoint is noticed, and the one before it used, to the same bits")
    func tornCheckpoint() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("out")
            _ = try TinyRun().trainer().run(output: out.path)
            let whole = try bytes(out)
            let last = out.appendingPathComponent("checkpoint-4")
            for name in try names(last) where name != ".meraser.json" {
                let copy = folder.appendingPathComponent("copy-\(name)")
                try FileManager.default.copyItem(at: last, to: copy)
                #expect(CheckpointSums.damage(in: copy.path) == nil)
                let file = copy.appendingPathComponent(name)
                let original = try Data(contentsOf: file)
                var flipped = original
                flipped[flipped.count / 2] ^= 1
                for spoilt in [flipped, original.prefix(original.count / 2), Data()] {
                    try spoilt.write(to: file)
                    let damage = CheckpointSums.damage(in: copy.path)
                    #expect(damage != nil, "\(name) of \(spoilt.count) bytes")
                    #expect(name == "SHA256SUMS" || damage == "\(name) is not as it was written")
                }
                try FileManager.default.removeItem(at: file)
                #expect(CheckpointSums.damage(in: copy.path) != nil, "\(name) removed")
            }

            for name in ["adapter_config.json", "trainer_state.json"] {
                try FileManager.default.removeItem(at: out.appendingPathComponent(name))
            }
            let moments = last.appendingPathComponent("optimizer.safetensors")
            var flipped = try Data(contentsOf: moments)
            flipped[flipped.count - 1] ^= 1
            try flipped.write(to: moments)
            let trainer = try TinyRun().trainer()
            var (warnings, steps): ([String], [Int]) = ([], [])
            trainer.onWarning = { warnings.append($0) }
            trainer.onStep = { steps.append($0.step) }
            _ = try trainer.run(output: out.path, resume: true)
            let said = "optimizer.safetensors is not as it was written; the run goes on from the checkpoint of step 2"
            #expect(warnings.count == 1 && warnings[0].hasSuffix(said), "\(warnings)")
            #expect(steps == [3, 4, 5, 6])
            #expect(try bytes(out) == whole)
        }
    }

    @Test("where no checkpoint is whole the run begins anew and says so")
    func noWholeCheckpoint() throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("out")
            let first = try TinyRun().trainer()
            interrupt(first, after: 2)
            _ = error { _ = try first.run(output: out.path) }
            try Data().write(to: out.appendingPathComponent("checkpoint-2/trainer_state.json"))
            let second = try TinyRun().trainer()
            var warnings: [String] = []
            second.onWarning = { warnings.append($0) }
            _ = try second.run(output: out.path, resume: true)
            #expect(warnings.count == 1 && warnings[0].hasSuffix("goes on from the beginning"), "\(warnings)")
            _ = try TinyRun().trainer().run(output: folder.appendingPathComponent("whole").path)
            #expect(try bytes(out) == (try bytes(folder.appendingPathComponent("whole"))))
        }
    }

    @Test("a probe is asked every so many steps and at the end, and may end the run; resuming does not skip it")
    func probe() throws {
        try withTemporaryFolder { folder in
            var run = TinyRun()
            run.options.key = "key.json"
            run.options.checkSteps = 2
            run.options.until = "fsr==0"
            let out = folder.appendingPathComponent("out")
            let trainer = try run.trainer()
            trainer.probe = { step, adapter in
                #expect(adapter.parameters.count > 0)
                return ProbeResult(fields: [("fsr", .real(1 - Double(step) / 4))], stop: step == 4)
            }
            let result = try trainer.run(output: out.path)
            #expect(result.steps == 4 && result.until?.held == true && result.until?.notice == nil)
            #expect(try run.trainer().run(output: out.path, resume: true) == result, "a finished run says the same")
            let log = try lines(out, "probe_log.jsonl")
            #expect(log == [["step": 2, "fsr": 0.5].asJSON, ["step": 4, "fsr": 0].asJSON])

            // Interrupted while measuring step 4: the measurement, which ends the run, is made up for.
            let parts = folder.appendingPathComponent("parts")
            let first = try run.trainer()
            first.probe = { step, _ in
                guard step < 4 else { throw MeraserError(.interrupted, "interrupted") }
                return ProbeResult(fields: [("fsr", .real(0.5))], stop: false)
            }
            #expect(error { _ = try first.run(output: parts.path) }?.kind == .interrupted)
            let second = try run.trainer()
            second.probe = { step, _ in ProbeResult(fields: [("fsr", .real(1 - Double(step) / 4))], stop: step == 4) }
            #expect(try second.run(output: parts.path, resume: true).steps == 4)
            #expect(try bytes(parts) == (try bytes(out)))
            #expect(try lines(parts, "probe_log.jsonl") == log)

            run.options.checkSteps = 5
            let last = folder.appendingPathComponent("last")
            let third = try run.trainer()
            var asked: [Int] = []
            third.probe = { step, _ in
                asked.append(step)
                return ProbeResult(fields: [], stop: false)
            }
            let unmet = try third.run(output: last.path).until
            #expect(asked == [5, 6])
            #expect(unmet?.held == false && unmet?.notice?.contains("never held: fsr==0") == true)
            try unmet?.require()
            run.options.requireUntil = true
            let required = try run.trainer().run(output: last.path, resume: true).until
            #expect(error { try required?.require() }?.kind == .checkFailed)
        }
    }

    @Test("a loss that is not finite ends the run with the step's number and leaves no adapter")
    func nonFinite() throws {
        try withTemporaryFolder { folder in
            var run = TinyRun()
            run.options.learningRate = 1e25
            run.options.warmupRatio = 0
            run.options.schedule = .constant
            let out = folder.appendingPathComponent("out")
            let failed = error { _ = try run.trainer().run(output: out.path) }
            #expect(failed?.kind == .runtime)
            #expect(failed?.message.hasPrefix("step 2: ") == true, "\(failed as Any)")
            let files = try names(out)
            #expect(!files.contains("adapter_config.json"))
        }
    }

    @Test("what would not fit stops before it starts and says what would")
    func memory() throws {
        var run = TinyRun()
        let plan = try run.trainer().plan
        // Six layers of r 2: q_proj 256 → 256 and down_proj 704 → 256.
        #expect(plan.trainableParameters == 6 * 2 * (256 + 256 + 704 + 256))
        #expect(plan.samples == 9 && plan.steps == 6 && plan.stepsPerEpoch == 3 && plan.maximumTokens == 14)
        #expect(plan.memory.weights > 12_000_000 && plan.memory.total < plan.limitBytes)
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("out")
            run.options.memory = try #require(plan.choices.last).bytes - 1
            let refused = error { _ = try run.trainer().run(output: out.path) }
            #expect(refused?.kind == .outOfMemory)
            #expect(
                refused?.message.contains(
                    "`per_device_train_batch_size` 1 and `gradient_accumulation_steps` 4 would fit")
                    == true, "\(refused as Any)")
            run.options.memory = 1 << 20
            #expect(error { _ = try run.trainer().checkMemory() }?.message.contains("at least") == true)
            #expect(!FileManager.default.fileExists(atPath: out.path))
        }
    }
}

extension Dictionary<String, Double> {
    /// `step` first, then the rest.
    fileprivate var asJSON: JSONValue {
        .object(JSONObject(sorted { $0.key > $1.key }.map { (key: $0.key, value: .real($0.value)) }))
    }
}
