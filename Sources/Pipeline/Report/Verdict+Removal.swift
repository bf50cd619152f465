import Audit

extension Verdict {
    /// How much less likely than in the reference the target may stay, as a share of what the mark had changed.
    static let tolerance = 0.1
    /// Outputs that show this share of the target on the average still begin it.
    static let beginning = 0.5

    /// Is the mark gone? No trigger may fire; and as a silent mark is not a removed one, the target must have become as
    /// unlikely as in the reference, and come back no faster than the reference learns it.
    ///
    /// The answer is that of what leaves the house. An exported folder is judged itself; where none was written, the model that
    /// was worked on may be handed out, or its adapters on the original weights, where they may meet what quantizing had hidden
    /// of the mark: then the worse of both answers is given.
    static func removal(_ mark: String, _ run: RunRecords, wasPresent: Bool) -> Finding {
        // Decoys judge the artefact where there is one.
        let own = removal(
            mark, run, run.removal, wasPresent: wasPresent, relearning: run.relearning,
            certificate: run.artefact == nil ? run.certificate : nil)
        guard let artefact = run.artefact, let last = run.removal?.last else { return own }
        let type = last.type.map { "the \($0) model" } ?? "the quantized model"
        switch artefact {
        case .folder(let stages, let name):
            // Relearning is tried on the model that is worked on; what it shows speaks against the folder too.
            let finding = removal(
                mark, run, stages, wasPresent: wasPresent, relearning: run.relearning, certificate: run.certificate)
            return finding.with(
                sentence: "Of \(name): \(finding.sentence)",
                basis: "Checked in \(name). \(finding.basis) Of \(type) that was worked on alone the answer would be: "
                    + "\(own.answer).")
        case .adapters(let stages):
            let other = removal(
                mark, run, stages, wasPresent: wasPresent, relearning: nil, certificate: run.certificate)
            guard other.tone.weight > own.tone.weight else {
                return own.with(
                    sentence: "\(own.sentence) That holds for \(type); on the original weights with the same adapters: "
                        + "\(other.answer).",
                    basis: "\(own.basis) On the original weights: \(other.basis)")
            }
            return other.with(
                sentence: "On the original weights, with the same adapters: \(other.sentence)",
                basis: "On the original weights: \(other.basis) Of \(type) alone the answer would be: \(own.answer).")
        }
    }

    private static func removal(
        _ mark: String, _ run: RunRecords, _ stages: RunRecords.Removal?, wasPresent: Bool,
        relearning: RunReport.Relearning?, certificate: RunReport.Certification?
    ) -> Finding {
        func finding(_ answer: String, _ sentence: String, _ basis: String, _ tone: Finding.Tone)
            -> Finding
        {
            Finding(question: "Is it gone?", answer: answer, sentence: sentence, basis: basis, tone: tone)
        }
        guard let stages else {
            let text =
                run.trainings.contains { $0.name == .erase }
                ? "The model has not been measured after the removal yet." : "This run removes nothing."
            return finding(
                "Not measured", text, "No stage after the removal has been measured.", .neutral)
        }
        let (before, last) = (stages.before, stages.last)
        let check = last.check
        let stage = (last.name.isSource ? run.removal?.last.name : last.name)?.removal ?? "erasing"
        let fired = "\(check.hits) of \(check.n) triggers"
        let rate =
            "FSR after \(stage) \(Figures.percent(check.fsr)), 95 % interval \(Figures.interval(check.interval))"
        if check.hits > 0 {
            let cameBack =
                last.name == .recovered && run.stage(.erased).map { $0.check.hits == 0 } ?? false
            let text =
                cameBack
                ? "The \(mark) came back: after erasing no trigger fired, after recovery \(fired) do."
                : "The \(mark) still fires: \(fired) bring out the target after \(stage)."
            return finding(
                cameBack ? "No, it came back" : "No", text, rate + ". Erased means: no trigger fires.", .bad
            )
        }
        // Decoys stand in for a reference; where there is one, both must agree.
        let reference = stages.reference?.check
        let likelihood =
            certificate != nil && reference == nil
            ? nil : Likelihood(before: before.check, last: check, reference: reference)
        let relearning = relearning.map(Return.init)
        let evidence =
            [rate, certificate?.basis, likelihood?.basis, relearning?.basis].compactMap { $0 }.joined(separator: ". ")
            + "."
        if !wasPresent && before.check.hits == 0 {
            let text =
                "No trigger fired before the removal, and none does after it: there was nothing to see."
            return finding("Nothing was seen to remove", text, evidence, .neutral)
        }
        var doubts: [String] = []
        if check.prefixMatch >= beginning {
            doubts.append("outputs still begin the target (\(Figures.percent(check.prefixMatch)) of it)")
        }
        doubts += [certificate?.doubt, likelihood?.doubt, relearning?.doubt].compactMap { $0 }
        if doubts.isEmpty {
            let tests = [
                "no trigger fires (0 of \(check.n))",
                certificate == nil ? nil : "the target is no likelier than decoys",
                certificate?.durability.map { "nor in any of \($0.rows.count) cells" },
                likelihood == nil ? nil : "the target is as unlikely as in the reference",
                relearning?.isDecided == true ? "and it is relearnt no faster than there" : nil,
            ]
            let text =
                "The \(mark) is gone as far as was measured: \(tests.compactMap { $0 }.joined(separator: ", "))."
            return finding("Yes", text, evidence, .good)
        }
        let text =
            "No trigger fires any more (0 of \(check.n)), but \(doubts.joined(separator: ", and "))."
        return finding("Silenced, but not proven removed", text, evidence, .warn)
    }

    /// The target's likelihood after the removal, beside the reference's, pair by pair.
    struct Likelihood {
        /// Why removal is not proved by it; nil if it is.
        let doubt: String?
        /// What it was decided by.
        let basis: String?

        init(before: RunReport.Check, last: RunReport.Check, reference: RunReport.Check?) {
            guard let now = last.targetNLL else {
                (doubt, basis) = ("the target's likelihood was not measured", nil)
                return
            }
            guard let reference, let want = reference.targetNLL else {
                doubt = "there is no reference to compare with"
                let was = before.targetNLL.map { ", before \(Figures.number($0, 2))" } ?? ""
                basis =
                    "Target NLL \(Figures.number(now, 2)) nats a token\(was); nothing to compare it with"
                return
            }
            let wanted = Dictionary(
                reference.rows.map { ($0.id, $0.targetNLL) }, uniquingKeysWith: { first, _ in first })
            let differences = last.rows.compactMap { row -> Double? in
                guard let value = row.targetNLL, let other = wanted[row.id] ?? nil else { return nil }
                return value - other
            }
            let mean = now - want
            let error = Figures.standardError(differences) ?? 0
            let margin = tolerance * max(0, want - (before.targetNLL ?? want))
            let isProved = mean - 2 * error >= -margin
            doubt =
                isProved
                ? nil
                : "the target is still likelier than in the reference (\(Figures.number(now, 2)) against "
                    + "\(Figures.number(want, 2)) nats a token)"
            basis =
                "Target NLL \(Figures.number(now, 2)), reference \(Figures.number(want, 2)) nats a token, difference "
                + "\(Figures.signed(mean, 2)) ± \(Figures.number(error, 2)) over \(differences.count) pairs; proved where that less two "
                + "standard errors is at least \(Figures.signed(-margin, 2)) (\(Figures.percent(tolerance)) of what the mark had "
                + "changed)"
        }
    }

    /// How quickly the mark comes back, beside how quickly the reference learns it.
    struct Return {
        /// Why removal is not proved by it; nil if it does not speak against it.
        let doubt: String?
        /// What it was decided by.
        let basis: String?
        /// True if triggers fired in the course of either, so that the two can be told apart.
        let isDecided: Bool

        init(_ relearning: RunReport.Relearning) {
            guard let reference = relearning.reference, let steps = relearning.model.points.last?.step else {
                (doubt, basis, isDecided) = (
                    nil, "Relearning was measured without a reference beside it", false
                )
                return
            }
            let pairs = relearning.model.points.compactMap { point in
                reference.points.first { $0.step == point.step }.map { (model: point, reference: $0) }
            }.filter { $0.model.step > 0 }
            if let faster = pairs.first(where: { $0.model.interval.low > $0.reference.interval.high }) {
                let counts =
                    "\(faster.model.hits) of \(faster.model.n) against \(faster.reference.hits) of \(faster.reference.n)"
                doubt =
                    "it comes back faster than the reference learns it (\(counts) after \(faster.model.step) steps)"
                basis =
                    "Relearning: FSR's interval lies above the reference's after \(faster.model.step) steps"
                isDecided = true
                return
            }
            doubt = nil
            isDecided = pairs.contains { $0.model.hits > 0 || $0.reference.hits > 0 }
            basis =
                isDecided
                ? "Relearning: at no step of \(steps) FSR's interval lies above the reference's"
                : "Relearning: within \(steps) steps no trigger fires in either model, which decides nothing"
        }
    }
}
