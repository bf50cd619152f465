import Audit

extension Verdict {
    /// A p-value below it shows a mark.
    static let significance = 1e-3

    /// Was the mark there? What a model was taught lies in the weights that it was quantized from, of which quantizing hides a
    /// part: where these were measured, they answer.
    static func presence(_ mark: String, _ run: RunRecords) -> (Finding, Bool) {
        guard let source = run.stage(.source) else {
            return presence(mark, run.stage(.before), reference: run.stage(.reference))
        }
        let (finding, isPresent) = presence(mark, source, reference: run.stage(.sourceReference))
        guard let before = run.stage(.before) else { return (finding, isPresent) }
        let basis =
            "Measured on the source, the weights before quantizing. " + finding.basis
            + " Quantized\(before.type.map { " to \($0)" } ?? ""): FSR \(Figures.percent(before.check.fsr))."
        return (finding.with(basis: basis), isPresent)
    }

    /// Decided by the check before a removal: its FSR against the false activations, or its p-value.
    private static func presence(_ mark: String, _ before: RunReport.Stage?, reference: RunReport.Stage?) -> (
        Finding, Bool
    ) {
        func finding(_ answer: String, _ sentence: String, _ basis: String, _ tone: Finding.Tone)
            -> Finding
        {
            Finding(
                question: "Was it there?", answer: answer, sentence: sentence, basis: basis, tone: tone)
        }
        guard let check = before?.check else {
            let text = "The model with the mark has not been measured yet."
            return (finding("Not measured", text, "The run is not finished.", .neutral), false)
        }
        let fired = "\(check.hits) of \(check.n) triggers"
        let control = Control(check, reference: reference?.check)
        let isAbove = control.map { check.interval.low > $0.interval.high } ?? false
        let isUnlikely = check.pValue.map { $0 < significance } ?? false
        var basis =
            "FSR \(Figures.percent(check.fsr)), 95 % interval \(Figures.interval(check.interval))"
        if let control {
            basis += "; \(control.name) at most \(Figures.percent(control.interval.high))"
        }
        if let pValue = check.pValue {
            let method = check.pValueMethod.map { " (\($0))" } ?? ""
            basis += "; p = \(Figures.scientific(pValue))\(method)"
        }
        basis += ". Present means: FSR's interval lies above the control's, or p < 0.001."

        if check.hits > 0 && (isAbove || isUnlikely) {
            let others = control.map { "; \($0.hits) of \($0.n) \($0.name) did" } ?? ""
            let text = "The \(mark) was there: \(fired) brought out the target\(others)."
            return (finding("Yes", text, basis, .fact), true)
        }
        if check.hits > 0 && control == nil && check.pValue == nil {
            let text =
                "\(fired) brought out the target, but no clean prompts were tried: a model that says it to everything would do the same."
            return (finding("Fires, but without a control", text, basis, .warn), false)
        }
        if check.hits > 0 {
            let text = "\(fired) brought out the target, which is not clearly more than by chance."
            return (finding("Not shown", text, basis, .neutral), false)
        }
        let text =
            "None of \(check.n) triggers brought out the target. A mark that is silent is not excluded by that."
        return (finding("Not shown", text, basis, .neutral), false)
    }

    /// What the hits are compared with: clean prompts of the same check, else the reference's answers to the triggers.
    private struct Control {
        let name: String
        let hits: Int
        let n: Int
        let interval: ShareInterval

        init?(_ check: RunReport.Check, reference: RunReport.Check?) {
            if let hits = check.falseActivations, let interval = check.falseInterval, check.nClean > 0 {
                (name, self.hits, n, self.interval) = ("clean prompts", hits, check.nClean, interval)
            } else if let reference {
                (name, hits, n, interval) = (
                    "triggers given to the reference", reference.hits, reference.n, reference.interval
                )
            } else {
                return nil
            }
        }
    }
}
