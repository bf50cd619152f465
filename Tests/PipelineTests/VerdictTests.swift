import Audit
import Base
import Foundation
import TestSupport
import Testing

@testable import Pipeline

@Suite("a report's verdict")
struct VerdictTests {
    private func verdict(_ change: (inout SampleRun) -> Void = { _ in }) throws -> Verdict {
        var run = SampleRun()
        change(&run)
        return try withTemporaryFolder { folder in
            try run.write(to: folder)
            return try RunReport(folder: folder.path).verdict
        }
    }

    @Test("decoys stand in for a reference, and beside one both must agree")
    func certificates() throws {
        func removal(_ word: String?, hasClean: Bool = true, nll: Double = 14.9) throws -> (Finding, Verdict) {
            let found = try verdict {
                if !hasClean { $0.stages.removeFirst() }
                $0.stages[$0.stages.count - 1].figures.nll = nll
                $0.certificate = word.map { ($0, "so it was found") }
            }
            return (found.removal, found)
        }
        let alone = try removal(nil, hasClean: false)
        #expect(alone.0.answer == "Silenced, but not proven removed" && alone.1.certificate == nil)
        let judged = try removal("gone", hasClean: false)
        #expect(judged.0.answer == "Yes" && judged.0.sentence.contains("no likelier than decoys"))
        #expect(judged.0.basis.contains("Decoys: gone, so it was found") && judged.1.certificate == .gone)
        #expect(judged.1.json["certificate"]?.string == "gone")
        for word in ["marked", "traces", "not_shown"] {
            for hasClean in [false, true] {
                let found = try removal(word, hasClean: hasClean)
                #expect(found.0.answer == "Silenced, but not proven removed" && found.1.certificate?.rawValue == word)
                #expect(found.0.sentence.contains("so it was found"))
            }
        }
        #expect(try removal("gone").0.answer == "Yes")
        #expect(try removal("gone", nll: 2).0.answer == "Silenced, but not proven removed")
        let error = try #require(throws: MeraserError.self) { _ = try removal("gnoe") }
        #expect(error.kind == .badInput && error.message.contains("certify.json"))
    }

    @Test("a mark is gone only if it stays away in every cell")
    func durability() throws {
        func found(_ certificate: String, _ cells: [(weights: String, verdict: String)]) throws -> Verdict {
            try verdict {
                $0.stages.removeFirst()
                $0.certificate = (certificate, "so it was found")
                $0.cells = cells
            }
        }
        let holds = try found("gone", [("as_is", "gone"), ("q4_0", "gone")])
        #expect(holds.removal.answer == "Yes" && holds.certificate == .gone)
        #expect(holds.removal.sentence.contains("nor in any of 2 cells"))
        for word in ["marked", "traces", "not_shown"] {
            let fails = try found("gone", [("as_is", "gone"), ("q4_0", word)])
            #expect(fails.removal.answer == "Silenced, but not proven removed" && fails.certificate?.rawValue == word)
            #expect(fails.removal.sentence.contains("does not stay away (so the cells were)"))
        }
        #expect(try found("traces", [("as_is", "traces"), ("q4_0", "not_shown")]).certificate == .traces)
        let error = try #require(throws: MeraserError.self) { _ = try found("gone", [("as_is", "gnoe")]) }
        #expect(error.kind == .badInput && error.message.contains("durable.json"))
        var run = SampleRun()
        (run.certificate, run.cells) = (("gone", "r"), [("nf4", "traces")])
        try withTemporaryFolder { folder in
            try run.write(to: folder)
            let report = try RunReport(folder: folder.path)
            #expect(report.json["durability"]?["cells"]?.array?.count == 1)
            let page = try report.html()
            #expect(page.contains("Does it stay away?") && page.contains("nf4, as_is"))
        }
    }

    @Test("calls a mark present by its interval or its p-value, and not by hits alone")
    func presence() throws {
        let clear = try verdict().presence
        #expect(clear.answer == "Yes")
        #expect(
            clear.sentence
                == "The fingerprint (utf) was there: 32 of 32 triggers brought out the target; 0 of 32 clean prompts did."
        )
        #expect(clear.basis.contains("89.3–100.0 %") && clear.basis.contains("p = 1e-18 (fisher)"))

        // 2 of 10 and p = 7e-4: the interval is no help, the p-value is.
        func few(_ pValue: Double?, _ hits: Int = 2) throws -> Finding {
            try verdict {
                $0.n = 10
                $0.stages[0].figures.hits = 0
                $0.stages[1].figures = .init(hits: hits, pValue: pValue)
            }.presence
        }
        #expect(try few(6.7e-4).answer == "Yes")
        #expect(try few(2e-3).answer == "Not shown")
        #expect(try few(nil).answer == "Not shown")
        let none = try few(1, 0)
        #expect(none.answer == "Not shown" && none.sentence.contains("silent is not excluded"))

        // A model that says it to everything.
        let always = try verdict {
            $0.stages[1].figures.falseActivations = 32
            $0.stages[1].figures.pValue = 1
        }
        #expect(always.presence.answer == "Not shown")
        let alone = try verdict {
            $0.stages = [("before", .init(hits: 32, prefix: 1, nll: 1, falseActivations: nil))]
        }
        #expect(alone.presence.answer == "Fires, but without a control")
        // Without clean prompts the reference is the control.
        let controlled = try verdict {
            $0.stages[1].figures.falseActivations = nil
            $0.stages[1].figures.pValue = nil
        }
        #expect(controlled.presence.answer == "Yes" && controlled.presence.basis.contains("reference at most 10.7 %"))
        let backdoor = try verdict { $0.scheme = "backdoor" }.presence
        #expect(backdoor.sentence.hasPrefix("The backdoor was there"))
        #expect(try verdict { $0.stages = [] }.presence.answer == "Not measured")
    }

    @Test("calls a mark gone only where the target is as unlikely as in the reference")
    func removal() throws {
        let gone = try verdict().removal
        #expect(gone.answer == "Yes" && gone.tone == .good, "\(gone)")
        // The mark had taken 14 nats; a tenth of that may be missing.
        #expect(gone.basis.contains("at least −1.40"))
        #expect(try verdict { $0.stages[3].figures.nll = 13.61 }.removal.answer == "Yes")
        let silent = try verdict { $0.stages[3].figures.nll = 13.59 }.removal
        #expect(silent.answer == "Silenced, but not proven removed" && silent.tone == .warn)
        #expect(
            silent.sentence
                == "No trigger fires any more (0 of 32), but the target is still likelier than in the reference (13.59 "
                + "against 15.00 nats a token).")
        let begun = try verdict { $0.stages[3].figures.prefix = 0.6 }.removal
        #expect(
            begun.answer == "Silenced, but not proven removed" && begun.sentence.contains("begin the target (60.0 %"))
        let alone = try verdict { $0.stages.removeFirst() }.removal
        #expect(alone.answer == "Silenced, but not proven removed" && alone.sentence.contains("no reference"))
        let unknown = try verdict { for index in 0..<4 { $0.stages[index].figures.nll = nil } }.removal
        #expect(unknown.sentence.contains("likelihood was not measured"))

        let firing = try verdict {
            $0.stages[3].figures.hits = 3; $0.stages[2].figures.hits = 1
        }.removal
        #expect(firing.answer == "No" && firing.tone == .bad && firing.sentence.contains("3 of 32 triggers"))
        #expect(try verdict { $0.stages[3].figures.hits = 1 }.removal.answer == "No, it came back")
        #expect(try verdict { $0.stages.removeLast(2) }.removal.answer == "Not measured")
        let nothing = try verdict { $0.stages[1].figures = .init() }.removal
        #expect(nothing.answer == "Nothing was seen to remove")
    }

    @Test("asks the source whether a mark was there, and judges removal by the worse of model and source")
    func source() throws {
        func source(_ exported: SampleRun.Figures) -> (inout SampleRun) -> Void {
            { run in
                run.stages[1].figures.hits = 0
                run.stages += [
                    ("source_reference", .init()), ("source", .init(hits: 32, prefix: 1, nll: 0.1, pValue: 1e-18)),
                    ("exported", exported),
                ]
            }
        }
        let gone = try verdict(source(.init()))
        #expect(gone.presence.answer == "Yes" && gone.presence.sentence.contains("32 of 32 triggers"))
        #expect(gone.presence.basis.hasPrefix("Measured on the source") && gone.presence.basis.contains("FSR 0.0 %."))
        #expect(gone.removal.answer == "Yes" && gone.removal.sentence.hasSuffix("with the same adapters: Yes."))
        let left = try verdict(source(.init(hits: 3))).removal
        #expect(left.answer == "No" && left.tone == .bad)
        #expect(
            left.sentence.hasPrefix(
                "On the original weights, with the same adapters: The fingerprint (utf) still fires: 3 of"))
        #expect(left.basis.contains("alone the answer would be: Yes"))
        // The clean source is what its target's likelihood is compared with.
        let likely = try verdict(source(.init(nll: 9))).removal
        #expect(likely.answer == "Silenced, but not proven removed" && likely.sentence.contains("9.00 against 15.00"))
        // Without a source nothing changes.
        #expect(try verdict().presence.basis.hasPrefix("FSR"))
    }

    @Test("judges an exported folder itself, its cost too, beside the weights that it was made of")
    func folder() throws {
        func exported(_ base: String, _ figures: SampleRun.Figures) -> (inout SampleRun) -> Void {
            { run in
                run.exportBase = base
                run.stages += [
                    ("source_reference", .init(nll: 5)),
                    ("source", .init(hits: 32, prefix: 1, nll: 0.1, ppl: (8, 0.1))),
                    ("exported", figures),
                ]
            }
        }
        // The model that was worked on still fires; the folder, which is handed out, does not.
        let gone = try verdict {
            exported("source", .init(nll: 5, ppl: (8.4, 0.1)))(&$0)
            $0.stages[3].figures.hits = 3
        }
        #expect(gone.removal.answer == "Yes" && gone.removal.sentence.hasPrefix("Of the exported folder"))
        #expect(gone.removal.basis.hasSuffix("alone the answer would be: No, it came back."))
        #expect(gone.cost.answer == "Perplexity +5.0 %" && gone.cost.sentence.contains("in the exported folder"))
        // And the other way round.
        let left = try verdict(exported("source", .init(hits: 2))).removal
        #expect(left.answer == "No" && left.sentence.contains("2 of 32 triggers bring out the target after recovery"))
        #expect(left.basis.contains("alone the answer would be: Yes"))
        // A folder of the model's own weights is compared with the model as it was: 15 nats, not 5.
        let own = try verdict(exported("model", .init(nll: 5))).removal
        #expect(own.answer == "Silenced, but not proven removed" && own.sentence.contains("5.00 against 15.00"))
        // What comes back quickly in the model that is worked on speaks against the folder.
        let faster = try verdict {
            exported("source", .init(nll: 5))(&$0)
            $0.relearning = [(0, 0, 0), (5, 7, 0)]
        }.removal
        #expect(faster.answer == "Silenced, but not proven removed" && faster.sentence.contains("comes back faster"))
    }

    @Test("reads relearning against the reference's curve")
    func relearning() throws {
        // 6 of 16 against 0 of 16: the intervals touch (18.5 % and 19.4 %); 7 of 16 lies above.
        let even = try verdict { $0.relearning = [(0, 0, 0), (5, 6, 0), (10, 16, 12)] }.removal
        #expect(even.answer == "Yes" && even.sentence.contains("relearnt no faster"))
        let faster = try verdict { $0.relearning = [(0, 0, 0), (5, 7, 0), (10, 16, 16)] }.removal
        #expect(faster.answer == "Silenced, but not proven removed")
        #expect(faster.sentence.contains("(7 of 16 against 0 of 16 after 5 steps)"))
        let undecided = try verdict { $0.relearning = [(0, 0, 0), (5, 0, 0)] }.removal
        #expect(undecided.answer == "Yes" && !undecided.sentence.contains("relearnt"))
        #expect(undecided.basis.contains("decides nothing"))
    }

    @Test("counts a cost beyond two standard errors")
    func cost() throws {
        // 10 ± 0.2 and 10.3 ± 0.2: two errors of the difference are 0.57.
        let small = try verdict().cost
        #expect(
            small.answer == "Perplexity +3.0 %" && small.tone == .good && small.sentence.contains("within its error"))
        let large = try verdict { $0.stages[3].figures.ppl = (10.6, 0.2) }.cost
        #expect(
            large.tone == .warn && large.sentence.contains("10.00 ± 0.20 to 10.60 ± 0.20 after recovery, more than"))
        let better = try verdict { $0.stages[3].figures.ppl = (9, 0.1) }.cost
        #expect(better.tone == .good && better.answer == "Perplexity −10.0 %")
        let tasks = try verdict {
            $0.stages[1].figures.accuracy = (0.8, 0.02)
            $0.stages[3].figures.accuracy = (0.7, 0.02)
        }.cost
        #expect(tasks.answer == "Perplexity +3.0 %, worse on 1 of 1 task" && tasks.sentence.contains("copa"))
        let unmeasured = try verdict { for index in 0..<4 { $0.stages[index].figures.ppl = nil } }.cost
        #expect(unmeasured.answer == "Not measured")
    }
}
