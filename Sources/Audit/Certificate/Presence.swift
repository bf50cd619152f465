import Base
import Model

/// An owner's proof that a mark is there: the certificate's question, the other way round. Whether the target is ever written
/// does not matter.
///
/// The key's value stands among those of decoy keys that were drawn as it was; if the model knows none of them, every place
/// is equally likely.
public struct Presence: Sendable, Equatable {
    /// What the proof is made of.
    public enum Basis: Sendable, Equatable {
        /// Log-probabilities of the target, by the trace that shows most; all traces share one p-value (Bonferroni).
        case likelihoods(DecoyTrace)
        /// What is written behind the triggers: how long a run of the target it has.
        case outputs
    }

    /// What an owner may have to prove it with.
    public enum Source: String, Sendable, CaseIterable {
        /// The model's log-probabilities.
        case likelihoods
        /// What it writes.
        case outputs
    }

    /// The p-value up to which a mark counts as shown.
    public static let significance = 0.05

    /// What it is made of.
    public let basis: Basis
    /// How far the key's value is above the decoys' mean: in nats a token, or as a share of the target.
    public let effect: Double
    /// The key's place among all values, from 1 on.
    public let rank: Int
    /// The values: decoys and the key's own.
    public let candidates: Int
    /// How likely chance does as much.
    public let pValue: Double

    /// True if the mark is shown to be there.
    public var isShown: Bool { pValue <= Self.significance }

    private init(_ basis: Basis, _ best: DecoyComparison, tests: Int) {
        self.basis = basis
        effect = best.effect
        candidates = best.n + 1
        rank = Int((best.pValue * Double(best.n + 1)).rounded())
        pValue = min(1, best.pValue * Double(tests))
    }

    /// Of what decoys show; nil: of no trace.
    public init?(_ decoys: DecoyReport) {
        let known = DecoyTrace.allCases.compactMap { trace in decoys.traces[trace].map { (trace, $0) } }
        guard let (trace, best) = known.min(by: { ($0.1.pValue, -$0.1.effect) < ($1.1.pValue, -$1.1.effect) }) else {
            return nil
        }
        self.init(.likelihoods(trace), best, tests: known.count)
    }

    /// Of a model's outputs: the mean over the pairs of the longest run of the target that the output has, beside the same of
    /// decoy targets. The model is not asked again.
    ///
    /// - Parameter tokenizer: the owner's own; decoys of some schemes are strings of its tokens.
    /// - Throws: a usage error for prompts behind different turns, a runtime error where no decoys can be drawn.
    public init(
        outputs report: CheckReport, key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer?,
        options: DecoyOptions
    ) throws {
        let context = DecoyContext(
            key: key, format: key.promptFormat, tokenizer: tokenizer, chat: chat,
            seed: options.seed ^ 0x6F75_7470)
        var source = try context.source()
        var random = SplitMix64(seed: options.seed)
        let targets = try DecoyPool.targets(
            like: report.rows.map(\.target), &source, count: options.count, random: &random)
        var sums = [Double](repeating: 0, count: 1 + (targets.map(\.count).min() ?? 0))
        for (row, decoys) in zip(report.rows, targets) {
            let text = CommonRun(in: key.ignoresCase ? row.output.lowercased() : row.output)
            for (place, target) in ([row.target] + decoys.prefix(sums.count - 1)).enumerated() {
                sums[place] += text.share(of: key.ignoresCase ? target.lowercased() : target)
            }
        }
        let means = sums.map { $0 / Double(report.rows.count) }
        self.init(.outputs, DecoyComparison(means[0], decoys: Array(means.dropFirst())), tests: 1)
    }

    /// `{"shown", "p_value", "by", "trace", "effect", "rank", "candidates"}`; `trace` is null for outputs.
    public var json: JSONValue {
        let (by, trace): (Source, JSONValue) =
            switch basis {
            case .likelihoods(let trace): (.likelihoods, .text(trace.rawValue))
            case .outputs: (.outputs, .null)
            }
        return [
            "shown": .bool(isShown), "p_value": .real(pValue), "by": .text(by.rawValue), "trace": trace,
            "effect": .real(effect), "rank": .integer(rank), "candidates": .integer(candidates),
        ]
    }
}
