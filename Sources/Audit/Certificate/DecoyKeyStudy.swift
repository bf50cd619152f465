import Base
import Model

/// What the certificate's test says of keys that a model never learnt: whether its p-values are uniform, and how large
/// effects are by chance.
///
/// For each of `groups` a decoy key's triggers, `count` further decoy triggers and decoy targets are drawn anew and scored
/// once. Within a group every key has a target (hash chains: targets) and triggers of its own, and all share the group's
/// decoys and, for the traces over targets, the triggers behind which these were scored.
public struct DecoyKeyOptions: Sendable, Equatable {
    /// Decoy keys.
    public var keys = 200
    /// Groups of keys that share decoys.
    public var groups = 5
    /// Decoys of each key.
    public var decoys = DecoyOptions(count: DecoyOptions.leastCount)

    /// 200 keys in 5 groups.
    public init() {}
}

/// The result.
public struct DecoyKeyStudy: Sendable, Equatable {
    /// One decoy key.
    public typealias Key = [DecoyTrace: DecoyComparison]

    /// How keys were drawn.
    public let kind: DecoyKind
    /// The keys.
    public let keys: [Key]
    /// Groups of keys that share decoys.
    public let groups: Int

    /// What is said of one trace.
    public struct Row: Sendable, Equatable {
        /// The Kolmogorov-Smirnov test of the p-values against the uniform distribution.
        public let distance: Double
        /// Its p-value.
        public let pValue: Double
        /// Share of p-values of at most 0.05.
        public let rejected: Double
        /// 95 % quantile of the effect, in nats a token.
        public let effect95: Double
        /// The quantile of the upper bound at which all traces together pass for 95 of 100 keys.
        public let margin: Double
    }

    /// A row for each trace.
    public var rows: [(trace: DecoyTrace, row: Row)] {
        let share = jointShare
        return DecoyTrace.allCases.map { trace in
            let found = keys.compactMap { $0[trace] }
            let test = kolmogorovSmirnov(uniform: found.map(\.pValue))
            return (
                trace,
                Row(
                    distance: test.distance, pValue: test.pValue,
                    rejected: Double(found.count { $0.pValue <= 0.05 }) / Double(found.count),
                    effect95: quantile(0.95, ofSorted: found.map(\.effect).sorted()),
                    margin: quantile(share, ofSorted: found.map(\.upperBound).sorted()))
            )
        }
    }

    /// The smallest quantile, the same for each trace, at which at least 95 % of the keys lie below all four.
    public var jointShare: Double {
        let bounds = DecoyTrace.allCases.map { trace in keys.compactMap { $0[trace]?.upperBound } }
        let sorted = bounds.map { $0.sorted() }
        func passing(_ share: Double) -> Double {
            let margins = sorted.map { quantile(share, ofSorted: $0) }
            let count = keys.indices.count { key in margins.indices.allSatisfy { bounds[$0][key] <= margins[$0] } }
            return Double(count) / Double(keys.count)
        }
        return stride(from: 0.95, through: 1, by: 0.0025).first { passing($0) >= 0.95 } ?? 1
    }

    /// Share of the keys of which the certificate, with the margins in code, says "gone" as far as traces go.
    public var passing: Double { Double(passes.count { $0 }) / Double(keys.count) }

    /// Of each key: would the certificate, with the margins in code, say "gone" as far as traces go?
    public var passes: [Bool] {
        let margins = CertificateMargins(kind)
        return keys.map { key in key.allSatisfy { $0.value.upperBound < margins[$0.key] } }
    }

    /// `{"kind", "keys", "groups", "joint_share", "passing", "traces": {…}, "p_values": {…}}`.
    public var json: JSONValue {
        [
            "kind": .text(kind.rawValue), "keys": .integer(keys.count), "groups": .integer(groups),
            "joint_share": .real(jointShare), "passing": .real(passing),
            "traces": .object(
                JSONObject(
                    rows.map { trace, row in
                        (
                            key: trace.rawValue,
                            value: [
                                "ks": .real(row.distance), "ks_p_value": .real(row.pValue),
                                "rejected": .real(row.rejected), "effect_95": .real(row.effect95),
                                "margin": .real(row.margin),
                            ]
                        )
                    })),
            "p_values": .object(
                JSONObject(
                    DecoyTrace.allCases.map { trace in
                        (key: trace.rawValue, value: .array(keys.compactMap { $0[trace].map { .real($0.pValue) } }))
                    })),
        ]
    }
}

/// Draws decoy keys of a key's kind and tests each as if it were the key.
public struct DecoyKeyTest {
    private let key: FingerprintKey
    private let tokenizer: Tokenizer
    private let chat: ChatRenderer?
    private let options: DecoyKeyOptions
    private let check: CheckOptions

    /// A test of keys like that one. Which is not looked at, so that it may be one that the model knows.
    public init(
        _ key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer?, options: DecoyKeyOptions,
        check: CheckOptions = CheckOptions()
    ) {
        (self.key, self.tokenizer, self.chat, self.options, self.check) = (key, tokenizer, chat, options, check)
    }

    /// Measures a model.
    ///
    /// - Parameter onProgress: called with the tokens that were read of all, about.
    /// - Throws: what drawing and forward passes throw.
    public func run(on session: InferenceSession, onProgress: (Int, Int) -> Void = { _, _ in }) throws -> DecoyKeyStudy
    {
        let each = (options.keys + options.groups - 1) / options.groups
        var keys: [DecoyKeyStudy.Key] = []
        var kind = DecoyKind.pairs
        for group in 0..<options.groups {
            let count = min(each, options.keys - keys.count)
            let context = DecoyContext(
                key: key, format: check.promptFormat ?? key.promptFormat, tokenizer: tokenizer, chat: chat,
                seed: options.decoys.seed ^ UInt64(0x6361_6C69 + group) &* SplitMix64.increment)
            var source = try context.source()
            kind = source.kind
            let found = try measure(&source, context, keys: count, on: session) { done, total in
                onProgress(group * total + done, options.groups * total)
            }
            keys += found
        }
        return DecoyKeyStudy(kind: kind, keys: keys, groups: options.groups)
    }

    /// The keys of one group.
    private func measure(
        _ source: inout any DecoySource, _ context: DecoyContext, keys: Int, on session: InferenceSession,
        onProgress: (Int, Int) -> Void
    ) throws -> [DecoyKeyStudy.Key] {
        let count = options.decoys.count
        let size = source.own.count
        // Triggers of all keys and of the decoys, and targets likewise.
        let drawn = try DecoyPool(&source, units: count + keys * size, targets: count + keys, seed: context.seed)
        let units = drawn.units
        let isShared = source.own.allSatisfy { $0.target == source.own[0].target }
        let decoyUnits = Array(units.dropFirst(keys * size))
        guard units.count == count + keys * size, drawn.targets.allSatisfy({ $0.count >= count + keys }) else {
            throw MeraserError.runtime(
                "only \(units.count) triggers and \(drawn.targets.map(\.count).min() ?? 0) targets of this kind could be "
                    + "drawn for \(keys) keys; ask for fewer `keys` or `decoys`")
        }
        // The first key's triggers stand for all where targets are compared; the last target is drawn like the others.
        let own = (0..<size).map { column in
            (unit: units[column], target: isShared ? drawn.targets[0][0] : drawn.targets[column][0])
        }
        let pool = DecoyPool(
            units: Array(units.dropFirst(size)), targets: drawn.targets.map { Array($0.dropFirst()) })
        let design = try context.design(
            own: own, pool: pool, kind: source.kind, check: check, tokenBudget: options.decoys.tokenBudget)
        let scores = try design.score(on: session, onProgress: onProgress)
        let all = scores.own + scores.units
        let width = scores.own.count
        let decoyScores = Array(all.suffix(decoyUnits.count))
        return (0..<keys).map { number in
            let columns = scores.columns.map { $0.key(number, of: keys) }
            let part = DecoyScores(
                own: (0..<width).map { all[number * size + $0] }, units: decoyScores, columns: columns)
            return part.traces(count: count, seed: options.decoys.seed &+ UInt64(number))
        }
    }
}

extension DecoyScores.Column {
    /// The column of decoy key `number`: its target's scores, and those of the targets that belong to no key.
    fileprivate func key(_ number: Int, of keys: Int) -> DecoyScores.Column {
        func chosen(_ scores: [Double]) -> [Double] { [scores[number]] + scores.dropFirst(keys) }
        return DecoyScores.Column(
            trigger: chosen(trigger), shuffled: chosen(shuffled), ordinary: chosen(ordinary))
    }
}
