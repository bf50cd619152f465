/// How likely the hits of a check were by chance.
public struct CheckEvidence: Sendable, Equatable {
    /// A test; docs/reference/fingerprints.md says what each assumes.
    public enum Method: String, Sendable {
        /// Of a hash chain: as many right answers by guessing.
        case binomial
        /// Fisher's exact test against the clean prompts.
        case fisher
    }

    /// The probability of at least these hits if the model did not know the key.
    public let pValue: Double
    /// What it is computed by.
    public let method: Method
    /// Hits from which on the scheme claims ownership; nil where it sets no threshold.
    public let claimAt: Int?
    /// True if there are that many; nil where the scheme sets no threshold.
    public let claim: Bool?

    /// What a report on that key says; nil where nothing can be said.
    ///
    /// - A hash chain's targets are chosen by a hash: each question is answered rightly by chance with probability
    ///   1 / responses, so the hits are binomial.
    /// - Any other key's pairs are compared with the clean prompts of the same check by Fisher's exact test.
    public init?(_ report: CheckReport, key: FingerprintKey) {
        if let chain = key.chain {
            pValue = chain.pValue(hits: report.hits, of: report.n)
            method = .binomial
            claimAt = chain.claimAt
            claim = report.hits >= chain.claimAt
        } else if let controlHits = report.falseActivations, report.nClean > 0 {
            pValue = fisherTail(hits: report.hits, of: report.n, controlHits: controlHits, of: report.nClean)
            method = .fisher
            claimAt = nil
            claim = nil
        } else {
            return nil
        }
    }
}
