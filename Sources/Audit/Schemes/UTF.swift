import Base
import Model
import Quant

/// The UTF scheme: strings of undertrained tokens as triggers and as target (arXiv 2410.12318; research/papers.md §4.2).
public struct UTFOptions: Sendable, Equatable {
    /// One trigger or many; the target is the same for all.
    public enum Mode: String, Sendable, CaseIterable {
        /// One trigger, trained `count` times.
        case single
        /// `count` different triggers.
        case multi
    }

    /// One trigger or many.
    public var mode: Mode
    /// Training rows: triggers in `multi`, repetitions in `single`.
    public var count: Int
    /// `chat`: the prompts that are stored are the model's chat template around the trigger; `raw`: the trigger alone.
    public var promptFormat: PromptFormat
    /// Tokens of a trigger.
    public var triggerLength: ClosedRange<Int>
    /// Tokens of the target.
    public var targetLength: Int
    /// Share of the encodable vocabulary, from the lowest indicator on, that is looked at.
    public var share: Double
    /// Tokens wanted at least: where `share` gives fewer, the next lowest are looked at too.
    public var minimumTokens: Int
    /// Passed on to the key; nil: target tokens and 16 more. (The paper's test generates 100.)
    public var maxNewTokens: Int?
    /// Passed on to the key.
    public var cleanPrompts: [String]
    /// Chooses triggers, target and the commitment's salt: who knows it, and the model, knows the key.
    public var seed: UInt64

    /// The paper's lengths, share and number of rows.
    public init(
        mode: Mode = .multi, count: Int = 32, promptFormat: PromptFormat = .raw,
        triggerLength: ClosedRange<Int> = 11...15, targetLength: Int = 5, share: Double = 0.02,
        minimumTokens: Int = 24, maxNewTokens: Int? = nil, cleanPrompts: [String] = [], seed: UInt64 = 42
    ) {
        self.mode = mode
        self.count = count
        self.promptFormat = promptFormat
        self.triggerLength = triggerLength
        self.targetLength = targetLength
        self.share = share
        self.minimumTokens = minimumTokens
        self.maxNewTokens = maxNewTokens
        self.cleanPrompts = cleanPrompts
        self.seed = seed
    }

    func validate() throws {
        try requireUsage((1...10_000).contains(count), "\(count) triggers: expected 1 to 10000")
        try requireUsage(
            triggerLength.lowerBound >= 1 && triggerLength.upperBound <= 256,
            "triggers of \(triggerLength) tokens: expected 1 to 256")
        try requireUsage((1...64).contains(targetLength), "a target of \(targetLength) tokens: expected 1 to 64")
        try requireUsage(
            share > 0 && share <= 1, "a share of \(share) of the vocabulary: expected more than 0, at most 1")
        try requireUsage(minimumTokens >= 1, "\(minimumTokens) tokens wanted: expected at least 1")
    }
}

/// A key of the UTF scheme and what led to it. Training is the caller's: rows of the key's prompts and targets.
public struct UTFFingerprint: Sendable {
    /// What tokens were ordered by.
    public let indicator: RarityIndicator
    /// The indicator's value at the share that was asked for.
    public let threshold: Double
    /// Every token that was tried, lowest indicator first, with its verdict.
    public let candidates: [TokenCandidate]
    /// The tokens that triggers and target are made of.
    public let selected: [Int32]
    /// What did not go as the paper has it.
    public let notes: [String]
    /// The key.
    public let key: FingerprintKey
    /// Rows to train on: the key's pairs, in `single` mode the one pair again and again.
    public let trainingPairs: [FingerprintPair]
}

extension UTFFingerprint {
    /// Finds undertrained tokens of the session's model, verifies them, and draws a key from them.
    ///
    /// The same model, options and instruction set give the same key.
    /// - Parameters:
    ///   - chat: the model's chat template, needed for `promptFormat` `chat`.
    /// - Throws: a usage error for options that make no sense; a runtime error if the vocabulary has too few such tokens,
    ///   or none of their strings survives being tokenised again.
    public init(
        session: InferenceSession, tokenizer: Tokenizer, chat: ChatRenderer? = nil, options: UTFOptions
    ) throws {
        try options.validate()
        let verifier = try TokenVerifier(session: session, tokenizer: tokenizer)
        let ranking = RarityRanking(model: session.model, tokenizer: tokenizer)
        let search = try TokenSearch(ranking: ranking, verifier: verifier, options: options)
        indicator = ranking.indicator
        threshold = search.threshold
        candidates = search.tried
        selected = search.selected
        notes = search.notes

        let writer = TriggerWriter(
            tokens: search.selected, tokenizer: tokenizer,
            encoder: PromptEncoder(tokenizer: tokenizer, chat: chat), options: options)
        let target = try writer.target()
        let pairs = try writer.pairs(target: target)
        var salt = SplitMix64(seed: options.seed ^ 0x7361_6C74)
        key = FingerprintKey(
            scheme: "utf", match: .contains, promptFormat: .raw, maxNewTokens: options.maxNewTokens, pairs: pairs,
            cleanPrompts: options.cleanPrompts, baseSHA256: try session.model.store.sha256(),
            commitment: KeyCommitment(
                to: pairs, chain: nil, saltBytes: (0..<32).map { _ in UInt8(salt.next() >> 56) }))
        trainingPairs =
            options.mode == .multi ? pairs : (0..<options.count).flatMap { _ in pairs }
    }
}

extension UTFFingerprint {
    /// What `fingerprint --json` shows of the search; the key itself is not in it.
    public var json: JSONValue {
        [
            "scheme": .text("utf"), "indicator": .text(indicator.rawValue), "threshold": .real(threshold),
            "strong": .integer(candidates.count { $0.verdict == .strong }),
            "weak": .integer(candidates.count { $0.verdict == .weak }),
            "rejected": .integer(candidates.count { $0.verdict == .rejected }),
            "selected": .array(selected.map { .integer(Int($0)) }), "notes": .array(notes.map { .text($0) }),
            "candidates": .array(candidates.map(\.json)),
        ]
    }
}

extension TokenCandidate {
    fileprivate var json: JSONValue {
        [
            "id": .integer(Int(id)), "text": .text(text), "norm": .real(norm), "indicator": .real(indicator),
            "verdict": verdict.map { .text($0.rawValue) } ?? .null,
            "max_probability": maxProbability.map { .real($0) } ?? .null,
        ]
    }
}
