import Base
import Foundation
import Testing
import Tune

@Suite("Learning rate schedules")
struct ScheduleTests {
    @Test("every schedule is that of transformers", arguments: LearningRateSchedule.Kind.allCases)
    func golden(kind: LearningRateSchedule.Kind) throws {
        // From reference/tinychat/stacked.json, computed by transformers 4.57.
        let url = try #require(Bundle.module.url(forResource: "Fixtures/schedules", withExtension: "json"))
        let golden = try JSONValue.parse(Array(Data(contentsOf: url)), file: "schedules.json")
        let want = try golden.array("lr", kind.rawValue, in: "schedules.json").compactMap(\.double)
        let schedule = LearningRateSchedule(
            kind: kind, peak: try golden.double("peak", in: "schedules.json"),
            warmupSteps: try golden.int("warmup", in: "schedules.json"),
            totalSteps: try golden.int("total", in: "schedules.json"))
        #expect(want.count == 40)
        for (step, rate) in want.enumerated() { #expect(abs(schedule.rate(step: step) - rate) <= 1e-6, "step \(step)") }
    }

    @Test("the warm-up of a ratio is rounded up")
    func warmupRatio() {
        let schedule = LearningRateSchedule(kind: .linear, peak: 1, warmupRatio: 0.1, totalSteps: 38)
        #expect(schedule.warmupSteps == 4)
        #expect(LearningRateSchedule(kind: .cosine, peak: 1, warmupRatio: 0, totalSteps: 38).rate(step: 0) == 1)
    }
}
