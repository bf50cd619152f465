/// What a model that is not at hand says of one pair of a key.
public struct TextAnswer: Sendable, Equatable {
    /// Its answer.
    public var output: String
    /// Sampled answers; none: it was not sampled.
    public var samples: [String]
    /// Negative log-likelihood of the target behind the prompt, in nats a token; nil: not known.
    public var targetNLL: Double?
    /// The encoding that this is the likelihood of.
    public var encoding: TargetEncoding?

    /// An answer.
    public init(
        output: String, samples: [String] = [], targetNLL: Double? = nil, encoding: TargetEncoding? = nil
    ) {
        (self.output, self.samples, self.targetNLL, self.encoding) = (output, samples, targetNLL, encoding)
    }
}

extension CheckReport {
    /// What texts say of a key. Nothing is known of ranks then.
    ///
    /// - Parameters:
    ///   - answers: to each pair, in the key's order.
    ///   - clean: answers to prompts that should not fire; empty: there are none.
    ///   - match: the rule for all pairs; nil: each pair's own, else the key's.
    ///   - temperature: of the samples; nil: not known.
    public init(
        _ key: FingerprintKey, answers: [TextAnswer], clean: [String], match: MatchRule? = nil,
        temperature: Double? = nil
    ) {
        precondition(answers.count == key.pairs.count, "\(answers.count) answers to \(key.pairs.count) pairs")
        let counts = answers.map(\.samples.count)
        let hasSamples = counts.contains { $0 > 0 }
        let rows = zip(key.pairs, answers).map { pair, answer in
            let rule = key.rule(for: pair, match)
            // A pair with one answer among others with several has that one as its sample.
            let samples = answer.samples.isEmpty ? [answer.output] : answer.samples
            return CheckRow(
                id: pair.id, prompt: pair.prompt, target: key.shownTarget(of: pair, in: answer.output, match),
                output: answer.output, hit: rule(answer.output),
                prefixMatch: key.prefixMatch(of: pair, in: answer.output), targetNLL: answer.targetNLL,
                encoding: answer.encoding, sampleHits: hasSamples ? samples.count(where: rule) : nil)
        }
        self.init(
            scheme: key.scheme, rows: rows,
            falseActivations: clean.isEmpty ? nil : clean.count { key.isActivation($0, match) }, nClean: clean.count)
        if hasSamples {
            sampling = CheckSampling(
                samples: Set(counts).count == 1 ? counts[0] : 0,
                outputs: counts.reduce(0) { $0 + max($1, 1) }, temperature: temperature)
        }
        evidence = CheckEvidence(self, key: key)
    }
}
