import Audit
import Base

/// What was measured at the end of a run or of a comparison's cell, for conditions such as `verdict!="gone"`.
public struct MeasuredOutcome: Sendable, Equatable {
    /// What conditions may compare by number.
    public static let names = CheckReport.metricNames + ["ppl", "kl"]
    /// What they may compare by name.
    public static let words = KeyVerification.conditionWords

    /// The values of `names`; nil where nothing was measured.
    let metrics: [String: Double?]
    /// The certificate's verdict; nil: no decoys were asked.
    let verdict: String?

    /// The outcome of a result of `check` and one of `ppl`, as their `--json` has them; null: it was not measured.
    init(check: JSONValue, perplexity: JSONValue, verdict: String?) {
        var metrics: [String: Double?] = [:]
        for name in CheckReport.metricNames {
            metrics[name] = (check[name] ?? check[name + "_mean"])?.double
        }
        metrics["ppl"] = perplexity["ppl"]?.double
        metrics["kl"] = (perplexity["kl"]?["mean"] ?? perplexity["kl_mean"])?.double
        self.metrics = metrics
        self.verdict = verdict
    }

    /// True if the condition holds. Errors as `Condition.holds`.
    public func satisfies(_ condition: Condition) throws -> Bool {
        try condition.holds(metrics, words: verdict.map { ["verdict": $0] } ?? [:])
    }
}

extension RunReport {
    /// What the last model of the run was measured at: what leaves the house; nil: nothing was measured yet.
    public var outcome: MeasuredOutcome? {
        stages.last.map { stage in
            MeasuredOutcome(
                check: stage.result["check"] ?? .null, perplexity: stage.result["ppl"] ?? .null,
                verdict: verdict.certificate?.rawValue)
        }
    }
}

extension ComparisonReport {
    /// What every cell that was measured ended at.
    public var outcomes: [(cell: String, outcome: MeasuredOutcome)] {
        victims.flatMap(\.rows).filter { $0.state == .done }.map { row in
            let verdict = row.check["verdict"]?.string
            return (
                row.cell.name,
                MeasuredOutcome(check: row.check, perplexity: row.perplexity, verdict: verdict)
            )
        }
    }
}
