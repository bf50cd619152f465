import Audit
import Base

/// What one cell shows.
public struct DurabilityRow: Sendable, Equatable {
    /// The cell.
    public let cell: DurabilityCell
    /// Pairs that were asked at the end, and how many fire.
    public let n: Int
    /// Pairs that fire.
    public let hits: Int
    /// Mean of their target NLLs, in nats a token.
    public let targetNLL: Double?
    /// What decoys say; nil where the key's targets were taught.
    public let certificate: Certificate?
    /// How quickly the mark comes back; nil where nothing was taught.
    public let relearning: RelearningComparison?
    /// What is said.
    public let verdict: CertificateVerdict
    /// Why, in a sentence.
    public let reason: String

    /// Share of the pairs that fire.
    public var fsr: Double { Double(hits) / Double(n) }

    /// Of a model that nothing was taught: what its certificate says.
    public init(_ cell: DurabilityCell, check: CheckReport, certificate: Certificate) {
        (self.cell, n, hits, targetNLL) = (cell, check.n, check.hits, check.targetNLLMean)
        (self.certificate, relearning) = (certificate, nil)
        (verdict, reason) = (certificate.verdict, certificate.reason)
    }

    /// Of a model that clean rows were taught: what its certificate says, and no return.
    public init(
        _ cell: DurabilityCell, check: CheckReport, certificate: Certificate, relearning: RelearningComparison
    ) {
        (self.cell, n, hits, targetNLL) = (cell, check.n, check.hits, check.targetNLLMean)
        (self.certificate, self.relearning) = (certificate, relearning)
        let own = relearning.finding
        verdict = CertificateVerdict.worst([certificate.verdict, own.verdict]) ?? own.verdict
        reason = verdict == certificate.verdict && own.verdict != verdict ? certificate.reason : own.reason
    }

    /// Of a model that half of the key was taught: the other half must not come back faster than a decoy key's.
    public init(_ cell: DurabilityCell, relearning: RelearningComparison) {
        let last = relearning.mark.points.last
        (self.cell, n, hits, targetNLL) = (cell, last?.n ?? 1, last?.hits ?? 0, last?.targetNLL)
        (certificate, self.relearning) = (nil, relearning)
        (verdict, reason) = relearning.finding
    }

    /// `{"weights", "treatment", "n", "hits", "fsr", "target_nll", "verdict", "reason", "traces", "near_fsr", "relearning"}`.
    public var json: JSONValue {
        [
            "weights": .text(cell.weights.rawValue), "treatment": .text(cell.treatment.rawValue), "n": .integer(n),
            "hits": .integer(hits), "fsr": .real(fsr), "target_nll": targetNLL.map { .real($0) } ?? .null,
            "verdict": .text(verdict.rawValue), "reason": .text(reason),
            "traces": certificate?.decoys.json["traces"] ?? .null,
            "near_fsr": certificate.map { .real($0.decoys.nearFSR) } ?? .null,
            "relearning": relearning?.json ?? .null,
        ]
    }
}

extension RelearningComparison {
    /// What it says: a mark that fires sooner than a new one is a mark, one that is likelier sooner has left traces.
    var finding: (verdict: CertificateVerdict, reason: String) {
        func course(_ curve: RelearningCurve) -> String {
            "\(Figures.number(curve.points.first?.targetNLL ?? .nan, 2)) to "
                + "\(Figures.number(curve.points.last?.targetNLL ?? .nan, 2))"
        }
        let courses = "target NLL \(course(mark)), a decoy key's \(course(decoy))"
        let steps = "\(mark.points.last?.step ?? 0) steps"
        if firesSooner {
            let most = (mark.points.map(\.hits).max() ?? 0, decoy.points.map(\.hits).max() ?? 0)
            return (
                .marked,
                "within \(steps) \(most.0) of \(mark.points[0].n) triggers fire, of a decoy key \(most.1) of "
                    + "\(decoy.points[0].n)"
            )
        }
        guard let lead else { return (.notShown, "nothing was measured while it was taught") }
        let logarithms = "\(Figures.signed(lead, 2)) in the logarithm, where \(Figures.signed(-limit, 2)) is the margin"
        return returns
            ? (.traces, "it comes back faster than a new one is learnt within \(steps) (\(courses): \(logarithms))")
            : (.gone, "it comes back no faster than a new one is learnt within \(steps) (\(courses): \(logarithms))")
    }
}
