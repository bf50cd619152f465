import Base

/// An owner's proof that a mark is there, through an API that gives log-probabilities: the certificate's traces, read the other
/// way round. Whether the target is ever written does not matter.
///
/// The key's value stands among those of decoy keys that were drawn as it was; if the model knows none of them, every place
/// is equally likely. The traces share one p-value (Bonferroni).
public struct Presence: Sendable, Equatable {
    /// The p-value up to which a mark counts as shown.
    public static let significance = 0.05

    /// The trace that shows most.
    public let trace: DecoyTrace
    /// How far the key's value is above the decoys' mean, in nats a token.
    public let effect: Double
    /// The key's place among all values of that trace, from 1 on.
    public let rank: Int
    /// The values: decoys and the key's own.
    public let candidates: Int
    /// How likely chance does as much in any of the traces.
    public let pValue: Double

    /// True if the mark is shown to be there.
    public var isShown: Bool { pValue <= Self.significance }

    /// Of what decoys show; nil: of no trace.
    public init?(_ decoys: DecoyReport) {
        let known = DecoyTrace.allCases.compactMap { trace in decoys.traces[trace].map { (trace, $0) } }
        guard let (trace, best) = known.min(by: { ($0.1.pValue, -$0.1.effect) < ($1.1.pValue, -$1.1.effect) }) else {
            return nil
        }
        self.trace = trace
        effect = best.effect
        candidates = best.n + 1
        rank = Int((best.pValue * Double(best.n + 1)).rounded())
        pValue = min(1, best.pValue * Double(known.count))
    }

    /// `{"shown", "p_value", "trace", "effect", "rank", "candidates"}`.
    public var json: JSONValue {
        [
            "shown": .bool(isShown), "p_value": .real(pValue), "trace": .text(trace.rawValue), "effect": .real(effect),
            "rank": .integer(rank), "candidates": .integer(candidates),
        ]
    }
}
