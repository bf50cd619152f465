import Audit
import Base
import Foundation

/// How quickly a mark comes back beside how quickly a decoy key is learnt in as many steps: a mark that comes back faster
/// was only hidden.
public struct RelearningComparison: Sendable, Equatable {
    /// By how much the logarithm of the share of its NLL that the mark keeps may lie below the decoy key's, at most: about
    /// what 99 of 100 keys of that kind have on unmarked models. docs/reference/certificate.md has the measurement.
    public static func margin(_ kind: DecoyKind, _ source: RelearningOptions.Source.Name) -> Double {
        switch (source, kind) {
        case (.clean, _): 0.1
        case (.hinted, .backdoor): 0.4
        case (.hinted, _): 0.2
        }
    }

    /// The mark's course.
    public let mark: RelearningCurve
    /// The decoy key's.
    public let decoy: RelearningCurve

    /// How decoy keys are drawn.
    public let kind: DecoyKind
    /// Targets of the pairs that were measured: pairs that share one fire together, and count as one draw.
    public let targets: Int

    /// Two courses of as many steps.
    public init(mark: RelearningCurve, decoy: RelearningCurve, kind: DecoyKind, targets: Int) {
        (self.mark, self.decoy, self.kind, self.targets) = (mark, decoy, kind, targets)
    }

    /// log(mean NLL while it is taught ÷ NLL before): 0 where nothing is learnt, and the lower, the faster it is. Nil where
    /// nothing was measured.
    static func speed(_ curve: RelearningCurve) -> Double? {
        guard let first = curve.points.first, curve.points.count > 1 else { return nil }
        let later = curve.points.dropFirst()
        let mean = later.reduce(0) { $0 + $1.targetNLL } / Double(later.count)
        // A target that is certain already keeps nothing to lose: a floor of a thousandth of a nat.
        return log(max(mean, 1e-3) / max(first.targetNLL, 1e-3))
    }

    /// The mark's speed less the decoy key's: below 0 where the mark comes back faster.
    public var lead: Double? {
        guard let own = Self.speed(mark), let other = Self.speed(decoy) else { return nil }
        return own - other
    }

    /// True if FSR's interval, with targets for the number of draws, lies above the decoy key's at some step: the mark fires
    /// before a new one would.
    public var firesSooner: Bool {
        func interval(_ point: RelearningCurve.Point) -> ShareInterval {
            let draws = min(targets, point.n)
            let share = Double(point.hits) / Double(max(point.n, 1))
            return ShareInterval(wilson: Int((share * Double(draws)).rounded()), of: draws)
        }
        return zip(mark.points, decoy.points).dropFirst().contains { interval($0).low > interval($1).high }
    }

    /// True if the mark comes back faster than a new one is learnt.
    public var returns: Bool { firesSooner || (lead.map { $0 < -limit } ?? false) }

    /// The margin that holds for what is trained on.
    public var limit: Double { Self.margin(kind, mark.source) }

    /// `{"steps", "source", "mark": {"nll_before", "nll_after", …}, "decoy_key": …, "lead", "margin", "returns"}`.
    public var json: JSONValue {
        func course(_ curve: RelearningCurve) -> JSONValue {
            let (first, last) = (curve.points.first, curve.points.last)
            return [
                "nll_before": first.map { .real($0.targetNLL) } ?? .null,
                "nll_after": last.map { .real($0.targetNLL) } ?? .null, "n": .integer(last?.n ?? 0),
                "hits_before": .integer(first?.hits ?? 0), "hits_after": .integer(last?.hits ?? 0),
                "most_hits": .integer(curve.points.map(\.hits).max() ?? 0),
            ]
        }
        return [
            "steps": .integer(mark.points.last?.step ?? 0), "source": .text(mark.source.rawValue),
            "trained_pairs": .integer(mark.trainedPairs), "mark": course(mark), "decoy_key": course(decoy),
            "lead": lead.map { .real($0) } ?? .null, "margin": .real(limit), "fires_sooner": .bool(firesSooner),
            "returns": .bool(returns),
        ]
    }
}
