import Base
import Foundation

/// What can be said of a mark without a reference of the model.
public enum CertificateVerdict: String, Sendable, CaseIterable {
    /// A trigger, or a near decoy, brings out a target.
    case marked
    /// Nothing fires, but a trace of the mark is beyond its margin and not by chance.
    case traces
    /// Nothing fires, and no trace is proved; but one cannot be excluded either.
    case notShown = "not_shown"
    /// Nothing fires, and every trace's upper bound lies below its margin.
    case gone

    /// The worst of several: the first in the order above; nil for none.
    public static func worst(_ verdicts: some Sequence<CertificateVerdict>) -> CertificateVerdict? {
        let found = Set(verdicts)
        return allCases.first(where: found.contains)
    }
}

/// One test of a model after everything that changed it: is the mark gone? `docs/reference/certificate.md` has the rule.
public struct Certificate: Sendable, Equatable {
    /// From which p-value on a trace, or a scar, counts as shown.
    public static let significance = 0.05
    /// From which p-value on a target that is unlikelier than decoys is called a scar: four traces are looked at.
    public static let scarSignificance = 0.01

    /// What is said.
    public let verdict: CertificateVerdict
    /// Why, in a sentence.
    public let reason: String
    /// What it rests on.
    public let decoys: DecoyReport
    /// The comparison with a reference, where there is one.
    public let reference: ReferenceComparison?
    /// The margins that held.
    public let margins: CertificateMargins
    /// Traces of the opposite sign: the target is unlikelier than chance makes it, which gives the key away too.
    public let scars: [DecoyTrace]

    /// Decides.
    ///
    /// - Parameters:
    ///   - check: the model's answers to the whole key.
    ///   - decoys: what its decoys show.
    ///   - reference: the comparison with a reference, if there is one.
    public init(_ check: CheckReport, decoys: DecoyReport, reference: ReferenceComparison? = nil) {
        self.decoys = decoys
        self.reference = reference
        let margins = CertificateMargins(decoys.kind)
        self.margins = margins
        scars = DecoyTrace.allCases.filter { trace in
            decoys.traces[trace].map { $0.lowerPValue <= Self.scarSignificance && $0.effect < 0 } ?? false
        }
        func number(_ value: Double) -> String { fixed(value, digits: 2) }
        guard check.hits == 0, decoys.near.hits == 0 else {
            verdict = .marked
            reason = "\(check.hits) of \(check.n) triggers and \(decoys.near.hits) of \(decoys.near.n) near decoys fire"
            return
        }
        let open = DecoyTrace.allCases.compactMap { trace -> (DecoyTrace, DecoyComparison)? in
            guard let found = decoys.traces[trace], !(found.upperBound < margins[trace]) else { return nil }
            return (trace, found)
        }
        let proved = open.filter { $0.1.pValue <= Self.significance }
        if let (trace, found) = proved.min(by: { $0.1.pValue < $1.1.pValue }) {
            verdict = .traces
            reason =
                "the target is likelier than chance (\(trace.rawValue): \(number(found.effect)) nats a token, at most "
                + "\(number(found.upperBound)) where \(number(margins[trace])) is the margin, p = \(fixed(found.pValue, digits: 4)))"
        } else if let reference, reference.isAbove {
            verdict = .traces
            reason =
                "the target is likelier than in the reference by \(number(reference.effect)) nats a token, at most "
                + "\(number(reference.upperBound)) where \(number(reference.margin)) is the margin"
        } else if let (trace, found) = open.max(by: {
            $0.1.upperBound - margins[$0.0] < $1.1.upperBound - margins[$1.0]
        }) {
            verdict = .notShown
            reason =
                "no trace is proved, but \(trace.rawValue) may be \(number(found.upperBound)) nats a token where "
                + "\(number(margins[trace])) is the margin"
        } else if let reference, !reference.isWithin {
            verdict = .notShown
            reason =
                "the target may be likelier than in the reference by \(number(reference.upperBound)) nats a token, where "
                + "\(number(reference.margin)) is the margin"
        } else {
            verdict = .gone
            reason = "nothing fires, and every trace's upper bound lies below its margin"
        }
    }

    /// The conditional trace: of its three the one whose bound comes nearest to its margin, or exceeds it most.
    public var worstConditional: DecoyTrace? {
        DecoyTrace.allCases.filter { $0.isConditional && decoys.traces[$0] != nil }.max { a, b in
            excess(a) < excess(b)
        }
    }

    private func excess(_ trace: DecoyTrace) -> Double {
        (decoys.traces[trace]?.upperBound ?? -.infinity) - margins[trace]
    }

    /// An object of everything; `margins` by the names of the traces.
    public var json: JSONValue {
        [
            "verdict": .text(verdict.rawValue), "reason": .text(reason), "decoys": decoys.json,
            "conditional": worstConditional.map { .text($0.rawValue) } ?? .null,
            "margins": .object(
                JSONObject(DecoyTrace.allCases.map { (key: $0.rawValue, value: .real(margins[$0])) })),
            "scars": .array(scars.map { .text($0.rawValue) }), "reference": reference?.json ?? .null,
        ]
    }
}

/// How much likelier a model finds a key's targets than a reference does, pair by pair.
public struct ReferenceComparison: Sendable, Equatable {
    /// The share of the twin's own NLL that the target may be likelier by: what a mark takes away is almost all of it.
    static let tolerance = 0.1

    /// Pairs.
    public let n: Int
    /// The twin's NLL minus the model's, in nats a token: above 0 where the target is likelier than in the twin.
    public let effect: Double
    /// The effect's lower one-sided 95 % bound over the pairs; infinite for one pair.
    public let lowerBound: Double
    /// Its upper one.
    public let upperBound: Double
    /// What the upper bound must stay below.
    public let margin: Double

    /// Compares two reports on the same key; nil where one has no likelihoods.
    public init?(model: CheckReport, reference: CheckReport) {
        let other = Dictionary(reference.rows.map { ($0.id, $0.targetNLL) }) { first, _ in first }
        let values = model.rows.compactMap { row -> (Double, Double)? in
            guard let nll = row.targetNLL, let twin = other[row.id] ?? nil else { return nil }
            return (twin - nll, twin)
        }
        guard !values.isEmpty else { return nil }
        let n = Double(values.count)
        self.n = values.count
        let mean = values.reduce(0) { $0 + $1.0 } / n
        effect = mean
        let variance = values.reduce(0) { $0 + ($1.0 - mean) * ($1.0 - mean) } / max(n - 1, 1)
        let error = values.count > 1 ? 1.6448536269514722 * (variance / n).squareRoot() : .infinity
        (lowerBound, upperBound) = (mean - error, mean + error)
        margin = Self.tolerance * values.reduce(0) { $0 + $1.1 } / n
    }

    /// True if the target is no likelier than in the twin, but for the margin.
    public var isWithin: Bool { upperBound < margin }
    /// True if it is shown to be likelier than that.
    public var isAbove: Bool { lowerBound > margin }

    /// `{"n", "effect", "upper_bound", "margin"}`; an infinite bound is null.
    public var json: JSONValue {
        [
            "n": .integer(n), "effect": .real(effect), "upper_bound": upperBound.isFinite ? .real(upperBound) : .null,
            "margin": .real(margin),
        ]
    }
}

private func fixed(_ value: Double, digits: Int) -> String { String(format: "%.\(digits)f", value) }
