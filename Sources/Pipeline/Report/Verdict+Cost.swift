extension RunRecords {
    /// The removal whose cost counts: an exported folder's, else the model's that was worked on.
    fileprivate var costed: Removal? {
        if case .folder(let removal, _)? = artefact { removal } else { removal }
    }
}

extension Verdict {
    /// What did the removal cost? The last measurement against the one before the removal.
    static func cost(_ run: RunRecords) -> Finding {
        func finding(_ answer: String, _ sentence: String, _ basis: String, _ tone: Finding.Tone)
            -> Finding
        {
            Finding(
                question: "What did it cost?", answer: answer, sentence: sentence, basis: basis, tone: tone)
        }
        guard let stages = run.costed else {
            return finding(
                "Not measured", "Nothing has been removed and measured yet.", "No stage after it.", .neutral
            )
        }
        let (before, last) = (stages.before, stages.last)
        let stage = last.name == .exported ? "the removal, in the exported folder" : last.name.removal
        var sentences: [String] = []
        var answers: [String] = []
        var isWorse = false
        if let old = before.perplexity, let new = last.perplexity {
            let change = new.value / old.value - 1
            let isClear = differsClearly(old, new)
            isWorse = isClear == true && change > 0
            answers.append("Perplexity \(Figures.signed(change * 100, 1)) %")
            sentences.append(
                "Perplexity went from \(Figures.estimate(old, 2)) to \(Figures.estimate(new, 2)) after \(stage)"
                    + (isClear.map { $0 ? ", more than its error" : ", within its error" } ?? "") + ".")
        }
        let (count, worse) = tasks(before, last)
        if count > 0 {
            isWorse = isWorse || !worse.isEmpty
            let tasks = count == 1 ? "1 task" : "\(count) tasks"
            answers.append(worse.isEmpty ? "tasks as before" : "worse on \(worse.count) of \(tasks)")
            sentences.append(
                worse.isEmpty
                    ? "Of \(tasks) none fell by more than its error."
                    : "Of \(tasks) \(worse.count) fell by more than the error: \(worse.joined(separator: ", "))."
            )
        }
        guard !answers.isEmpty else {
            let text = "Neither perplexity nor tasks were measured before and after the removal."
            return finding("Not measured", text, "The recipe has neither `ppl` nor `eval`.", .neutral)
        }
        let reference =
            stages.reference?.perplexity.map { " The reference has \(Figures.estimate($0, 2))." }
            ?? ""
        return finding(
            answers.joined(separator: ", "), sentences.joined(separator: " "),
            "A difference counts beyond two standard errors, those of both measurements taken together as if they were "
                + "independent; on the same texts that is cautious." + reference, isWorse ? .warn : .good)
    }

    /// True if two figures differ by more than two standard errors of their difference; nil without standard errors.
    static func differsClearly(_ a: RunReport.Estimate, _ b: RunReport.Estimate) -> Bool? {
        guard let first = a.error, let second = b.error else { return nil }
        return abs(a.value - b.value) > 2 * (first * first + second * second).squareRoot()
    }

    /// The tasks that both stages scored, and those of them whose accuracy fell clearly.
    private static func tasks(_ before: RunReport.Stage, _ last: RunReport.Stage) -> (
        count: Int, worse: [String]
    ) {
        let pairs = before.tasks.compactMap { old in
            last.tasks.first { $0.name == old.name }.flatMap {
                new -> (String, RunReport.Estimate, RunReport.Estimate)? in
                guard let metric = old.metrics.first?.name, let a = old.metric(metric),
                    let b = new.metric(metric)
                else { return nil }
                return (old.name, a, b)
            }
        }
        return (
            pairs.count, pairs.filter { $2.value < $1.value && differsClearly($1, $2) == true }.map(\.0)
        )
    }
}
