import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

@Suite("The loss on other rows while training", .serialized)
struct TrainerEvaluationTests {
    /// Options of a run that soon learns its rows by heart; the others' loss falls and rises again.
    private static func options(_ change: (inout TrainingOptions) -> Void = { _ in }) -> TrainingOptions {
        var options = TinyRun().options
        (options.learningRate, options.schedule, options.warmupRatio, options.maxSteps) = (3e-2, .constant, 0, 7)
        (options.evalData, options.evalSteps) = ("others.json", 1)
        change(&options)
        return options
    }

    private func trainer(_ options: TrainingOptions, others: EncodedDataset? = nil) throws -> Trainer {
        // At rates as high as these a course of losses is one path's own.
        let path = KernelContext.availableISANames.contains("avx512bf16") ? "avx512bf16" : nil
        let model = try Transformer(
            store: try openWeightStore(path: tinychatFolder().path), kernels: try KernelContext(threads: 2, isa: path))
        return try Trainer(
            model: model, data: try TinyRun.data(), options: options,
            evalData: options.evalData == nil ? nil : try others ?? TinyRun.data(seed: 9))
    }

    private func lines(_ folder: URL, _ name: String = "eval_log.jsonl") throws -> [JSONValue] {
        try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8).split(separator: "\n").map {
            try JSONValue.parse(Array($0.utf8), file: name)
        }
    }

    /// What a run says and leaves: parameters behind each step, measurements, the end.
    private struct Course {
        var parameters: [[Float]] = []
        var evaluations: [EvaluationProgress] = []
        var end: [Float] = []
        var result: TrainingResult?
    }

    private func course(_ options: TrainingOptions, in folder: URL) throws -> Course {
        let trainer = try trainer(options)
        var course = Course()
        trainer.onStep = { _ in course.parameters.append(trainer.adapter.parameters.toArray()) }
        trainer.onEvaluation = { course.evaluations.append($0) }
        course.result = try trainer.run(output: folder.appendingPathComponent("out").path, overwrite: true)
        course.end = trainer.adapter.parameters.toArray()
        return course
    }

    @Test(
        "measuring changes nothing; the loss is the mean over the label tokens, without dropout, however rows are batched"
    )
    func measuring() throws {
        try withTemporaryFolder { folder in
            let plain = try course(Self.options { ($0.evalData, $0.evalSteps) = (nil, nil) }, in: folder)
            let measured = try course(Self.options(), in: folder)
            #expect(measured.end == plain.end && plain.result?.evaluation == nil)
            #expect(measured.evaluations.map(\.step) == [1, 2, 3, 4, 5, 6, 7])
            let log = try lines(folder.appendingPathComponent("out"))
            #expect(log.map { $0["eval_loss"]?.double } == measured.evaluations.map(\.loss))
            #expect(measured.result?.evaluation?.loss == measured.evaluations.last?.loss)

            // The training's own way to a loss, weights and all, at the adapter of the end.
            let trainer = try trainer(Self.options())
            trainer.adapter.parameters.copy(from: measured.end)
            let others = try TinyRun.data(seed: 9)
            for mean in [LossMean.token, .sample] {
                let plan = StepPlan(
                    sampleCount: 9, batchSize: 9, accumulation: 1, epochs: 1, maxSteps: 1, shuffleSeed: nil)
                let graph = TrainingGraph(
                    model: trainer.model, frozen: [], trained: trainer.adapter, maximumTokens: others.tokenCount)
                let want = try graph.accumulate(
                    plan.batches(step: 0, samples: others.samples, mean: mean)[0],
                    into: LoRAAdapter(layoutOf: trainer.adapter))
                for size in [1, 4, 9] {
                    let rows = EvaluationRows(
                        others,
                        options: Self.options { ($0.batchSize, $0.lossMean) = (size, mean) })
                    #expect(rows.maximumTokens <= others.tokenCount)
                    #expect(abs(try rows.loss(on: graph) - want) <= 1e-6 * want)
                }
                if mean == .token { #expect(abs((measured.evaluations.last?.loss ?? 0) - want) <= 1e-6 * want) }
            }
            let once = try course(Self.options { $0.evalSteps = nil }, in: folder)
            #expect(once.evaluations.map(\.step) == [7] && once.end == plain.end)
        }
    }

    @Test("the adapter with the lowest loss is kept; patience ends a run whose loss does not fall any more")
    func choosing() throws {
        try withTemporaryFolder { folder in
            // A rate with which the loss rises twice in a row, and falls below its best again in the last step.
            func options(_ steps: Int, _ change: (inout TrainingOptions) -> Void = { _ in }) -> TrainingOptions {
                Self.options {
                    ($0.learningRate, $0.maxSteps) = (0.1, steps)
                    change(&$0)
                }
            }
            let whole = try course(options(7), in: folder)
            let all = try course(options(6), in: folder)
            let losses = all.evaluations.map(\.loss)
            let best = losses.indices.min { losses[$0] < losses[$1] } ?? 0
            try #require(best == losses.count - 3, "\(losses)")
            try #require(whole.evaluations.last?.isBest == true && whole.evaluations.prefix(6) == all.evaluations[...])
            #expect(
                all.evaluations.map(\.isBest) == losses.indices.map { i in losses[..<i].allSatisfy { losses[i] < $0 } })

            let kept = try course(options(6) { $0.loadBest = true }, in: folder)
            #expect(kept.evaluations == all.evaluations && kept.end == all.parameters[best])
            let outcome = try #require(kept.result?.evaluation)
            #expect(outcome.bestStep == best + 1 && outcome.bestLoss == losses[best] && outcome.isBestKept)
            #expect(outcome.loss == losses.last && kept.result?.json["evaluation"]?["best_step"]?.int == best + 1)
            let out = folder.appendingPathComponent("out")
            #expect(!FileManager.default.fileExists(atPath: out.appendingPathComponent("best").path))
            let store = try openWeightStore(path: tinychatFolder().path)
            let spec = try DecoderSpec(json: try #require(try store.textFile("config.json")), file: "config.json")
            #expect(try LoRAAdapter(path: out.path, for: spec).parameters.toArray() == kept.end)

            let patient = try course(
                options(7) { ($0.earlyStoppingPatience, $0.loadBest) = (2, true) }, in: folder)
            #expect(patient.result?.steps == 6)
            #expect(patient.evaluations == Array(all.evaluations.prefix(patient.evaluations.count)))
            #expect(patient.end == all.parameters[(patient.result?.evaluation?.bestStep ?? 0) - 1])
        }
    }

    @Test(
        "a run that was interrupted and goes on measures and keeps the same, also where the best was behind the checkpoint"
    )
    func resuming() throws {
        try withTemporaryFolder { folder in
            let options = Self.options { ($0.loadBest, $0.saveSteps) = (true, 3) }
            let whole = try course(options, in: folder)
            let wanted = try lines(folder.appendingPathComponent("out")).map { $0["eval_loss"] }
            let out = folder.appendingPathComponent("cut").path
            for stop in [2, 4, 6] {
                let first = try trainer(options)
                let flag = InterruptFlag()
                first.interrupt = flag
                first.onStep = { if $0.step == stop { flag.set() } }
                #expect(throws: MeraserError.self) { _ = try first.run(output: out, overwrite: true) }
                // A killed process leaves no checkpoint of its last step.
                if stop == 4 {
                    try FileManager.default.removeItem(atPath: out + "/checkpoint-4")
                }
                let second = try trainer(options)
                let result = try second.run(output: out, resume: true)
                #expect(second.adapter.parameters.toArray() == whole.end, "stopped after step \(stop)")
                #expect(result.evaluation == whole.result?.evaluation)
                #expect(try lines(URL(fileURLWithPath: out)).map { $0["eval_loss"] } == wanted)
            }
            let again = try trainer(options)
            #expect(try again.run(output: out, resume: true).evaluation == whole.result?.evaluation)
            let other = try trainer(options, others: TinyRun.data(seed: 10))
            #expect(
                message { _ = try other.run(output: out, resume: true) }.contains("the data of `eval_data` has changed")
            )
            let changed = try trainer(Self.options { ($0.loadBest, $0.saveSteps, $0.evalSteps) = (true, 3, 2) })
            #expect(
                message { _ = try changed.run(output: out, resume: true) }.contains("`eval_steps` was 1 and is now 2"))
        }
    }

    @Test(
        "options that measure nothing, or choose against each other, are usage errors",
        arguments: [
            (["eval_steps": "2"], "`eval_steps` needs `eval_data`"), (["load_best": "true"], "needs `eval_data`"),
            (["eval_data": "e.json", "early_stopping_patience": "2"], "needs `eval_steps`"),
            (
                [
                    "eval_data": "e", "eval_steps": "1", "load_best": "true", "key": "k", "check_steps": "1",
                    "until": "fsr==0",
                ], "`load_best` and `until`"
            ),
            (["neftune_noise_alpha": "5", "objective": "npo"], "goes with likelihood"),
            (["warmup_steps": "3", "lr_scheduler_type": "constant"], "`warmup_steps` has no effect"),
            (["init_adapter": "a", "r": "4"], "`r` is what the adapter of `init_adapter` says"),
        ])
    func refusals(values: [String: String], named: String) {
        let got = message {
            var flags = TrainingOverrides()
            for (key, text) in values {
                if text == "true" { try flags.set(key, .bool(true)) } else { try flags.set(key, text: text) }
            }
            _ = try TrainingOptions(preset: nil, flags: flags)
        }
        #expect(got.hasPrefix("usage: ") && got.contains(named), "\(got)")
    }

    @Test("a state that cannot be is a bad-input error; one of an older release has measured nothing")
    func states() throws {
        var state = EvaluationState()
        #expect(
            state.note(3, step: 2).isBest && !state.note(3, step: 4).isBest && state.note(2, step: 6).sinceBest == 0)
        #expect(try EvaluationState(json: state.json, last: 6, file: "s") == state)
        for (key, value) in [("eval_step", 7), ("best_global_step", 0), ("early_stopping_patience_counter", -1)] {
            let members = state.json.object?.members.map { member in
                (key: member.key.string, value: member.key.string == key ? JSONValue.integer(value) : member.value)
            }
            let damaged = JSONValue.object(JSONObject(members ?? []))
            #expect(message { _ = try EvaluationState(json: damaged, last: 6, file: "s") }.hasPrefix("badInput: s:"))
        }
    }
}
