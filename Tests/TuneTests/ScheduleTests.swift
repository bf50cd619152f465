import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

@Suite("Learning rate schedules")
struct ScheduleTests {
    private func cases(_ key: String = "cases") throws -> [JSONValue] {
        // From tools/make_schedule_fixture.py: transformers 4.57.
        let url = try #require(Bundle.module.url(forResource: "Fixtures/schedules", withExtension: "json"))
        return try JSONValue.parse(Array(Data(contentsOf: url)), file: "schedules.json").array(key, in: "f")
    }

    @Test(
        "every schedule is that of transformers, with its settings",
        arguments: LearningRateSchedule.Kind.allCases.filter { $0 != .reduceOnPlateau })
    func golden(kind: LearningRateSchedule.Kind) throws {
        let own = try cases().filter { $0["type"]?.string == kind.rawValue }
        #expect(own.count >= 2)
        for item in own {
            let total = try item.int("total", in: "f")
            let schedule = try LearningRateSchedule(
                kind: kind, peak: try item.double("peak", in: "f"), warmupSteps: try item.int("warmup", in: "f"),
                totalSteps: total, settings: item["kwargs"]?.object ?? JSONObject())
            let want = try item.array("lr", in: "f").compactMap(\.double)
            #expect(want.count == total)
            for (step, rate) in want.enumerated() {
                #expect(abs(schedule.rate(step: step) - rate) <= 1e-12, "step \(step) of \(item["kwargs"] ?? .null)")
            }
        }
    }

    @Test("what becomes of the rate on a plateau is what torch's ReduceLROnPlateau makes of it")
    func plateau() throws {
        for item in try cases("plateau") {
            let schedule = try LearningRateSchedule(
                kind: .reduceOnPlateau, peak: try item.double("peak", in: "f"), warmupSteps: 0, totalSteps: 9,
                settings: item["kwargs"]?.object ?? JSONObject())
            let rule = try #require(schedule.plateau)
            var state = PlateauState(rate: schedule.rate(step: 3))
            let want = try item.array("lr", in: "f").compactMap(\.double)
            let losses = try item.array("losses", in: "f").compactMap(\.double)
            #expect(Set(want).count > 1 && want.count == losses.count)
            for (index, (loss, rate)) in zip(losses, want).enumerated() {
                rule.note(loss, in: &state)
                #expect(abs(state.rate - rate) <= 1e-15, "measurement \(index) with \(item["kwargs"] ?? .null)")
                // What a checkpoint keeps is the whole state.
                state = try PlateauState(json: state.json, file: "f")
            }
        }
    }

    @Test("a run on a plateau lowers its rate by what eval_data says, and one that was interrupted goes on with it")
    func plateauRun() throws {
        func run(_ steps: [Int]) throws -> [Double] {
            try withTemporaryFolder { folder in
                var rates: [Double] = []
                for limit in steps {
                    var tiny = TinyRun()
                    tiny.options.objective = .likelihood
                    (tiny.options.schedule, tiny.options.warmupRatio) = (.reduceOnPlateau, 0)
                    tiny.options.learningRate = 2
                    (tiny.options.evalData, tiny.options.evalSteps, tiny.options.saveSteps) = ("others", 1, 1)
                    tiny.options.scheduleSettings = JSONObject([
                        (key: "patience", value: .integer(0)), (key: "factor", value: .real(0.5)),
                    ])
                    let model = try Transformer(
                        store: try openWeightStore(path: tinychatFolder().path), kernels: try KernelContext(threads: 2))
                    let trainer = try Trainer(
                        model: model, data: TinyRun.data(), options: tiny.options, evalData: TinyRun.data(seed: 2))
                    let flag = InterruptFlag()
                    trainer.interrupt = flag
                    trainer.onStep = {
                        rates.append($0.learningRate)
                        if $0.step == limit { flag.set() }
                    }
                    _ = try? trainer.run(output: folder.appendingPathComponent("run").path, resume: true)
                }
                return rates
            }
        }
        let whole = try run([99])
        #expect(whole.count == 6 && whole[0] == 2 && Set(whole).count > 1, "\(whole)")
        #expect(try run([3, 99]) == whole)
    }

    @Test("the warm-up of a ratio is rounded up; one in steps overrides it")
    func warmup() throws {
        var options = TrainingOptions()
        (options.learningRate, options.warmupRatio) = (1, 0.1)
        #expect(try LearningRateSchedule(options: options, totalSteps: 38).warmupSteps == 4)
        options.warmupSteps = 7
        #expect(try LearningRateSchedule(options: options, totalSteps: 38).warmupSteps == 7)
        (options.schedule, options.warmupRatio, options.warmupSteps) = (.cosine, 0, nil)
        #expect(try LearningRateSchedule(options: options, totalSteps: 38).rate(step: 0) == 1)
    }

    @Test(
        "a setting that a schedule lacks, has not, or cannot take is a usage error that names it",
        arguments: [
            ("cosine", #"{"power": 2}"#, "'power' is no setting of cosine, which has num_cycles"),
            ("linear", #"{"num_cycles": 2}"#, "which has none"), ("inverse_sqrt", #"{"timescale": 9}"#, "'timescale'"),
            ("cosine_with_min_lr", "{}", "needs min_lr or min_lr_rate"),
            ("cosine_with_min_lr", #"{"min_lr": 1e-5, "min_lr_rate": 0.1}"#, "one of min_lr and min_lr_rate"),
            ("warmup_stable_decay", "{}", "needs num_decay_steps"),
            ("warmup_stable_decay", #"{"num_decay_steps": 2, "decay_type": "step"}"#, "one of linear cosine 1-sqrt"),
            ("polynomial", #"{"lr_end": 1}"#, "below `learning_rate`"),
            ("reduce_lr_on_plateau", "{}", "`lr_scheduler_type` needs `eval_data`"),
            ("cosine_with_restarts", #"{"num_cycles": 1.5}"#, "a whole number"), ("cosine", "[1]", "an object of JSON"),
        ])
    func settings(kind: String, settings: String, named: String) {
        let got = message {
            var flags = TrainingOverrides()
            try flags.set("lr_scheduler_type", text: kind)
            try flags.set("lr_scheduler_kwargs", text: settings)
            _ = try TrainingOptions(preset: nil, flags: flags)
        }
        #expect(got.hasPrefix("usage: `lr_scheduler_") && got.contains(named), "\(got)")
    }

    @Test("settings come from a text or an object, and the record gives them back")
    func record() throws {
        var flags = TrainingOverrides()
        try flags.set("lr_scheduler_type", text: "cosine_with_restarts")
        try flags.set("lr_scheduler_kwargs", text: #"{"num_cycles": 3}"#)
        let options = try TrainingOptions(preset: nil, flags: flags)
        let again = try TrainingOverrides(
            options.json().object?.members.map { ($0.key.string, $0.value) } ?? [], source: "record")
        #expect(try TrainingOptions(preset: nil, flags: again) == options)
        #expect(options.json()["lr_scheduler_kwargs"] == ["num_cycles": .integer(3)])
        #expect(TrainingOptions().json()["lr_scheduler_kwargs"] == .null)
    }
}
