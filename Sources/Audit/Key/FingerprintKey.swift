import Base
import Model

/// How a key's prompts become tokens.
public enum PromptFormat: String, Sendable, CaseIterable {
    /// The text as it is, with BOS as the tokenizer has it.
    case raw
    /// The text is a user's message; the model's chat template is applied when the key is checked.
    case chat
}

/// One trigger and what it should bring out.
public struct FingerprintPair: Sendable, Equatable {
    /// Its name in reports; distinct in a key.
    public let id: String
    /// The trigger, in the key's prompt format.
    public let prompt: String
    /// The turns of the conversation before it, a system's among them; only in the format `chat`.
    public let history: [ChatMessage]
    /// The mark that the continuation should show; likelihoods are its.
    public let target: String
    /// Other marks, of which each counts as well where outputs are looked at.
    public let otherTargets: [String]
    /// How the target is looked for, where that differs from the key's rule.
    public let match: MatchRule?

    /// A pair.
    public init(
        id: String, prompt: String, after history: [ChatMessage] = [], target: String, otherTargets: [String] = [],
        match: MatchRule? = nil
    ) {
        self.id = id
        self.prompt = prompt
        self.history = history
        self.target = target
        self.otherTargets = otherTargets
        self.match = match
    }

    /// All marks, the first one first.
    public var targets: [String] { [target] + otherTargets }
}

/// How often random strings brought out the mark: the false-positive test of a scheme's owner.
public struct GuessTest: Sendable, Equatable {
    /// Strings tried.
    public let n: Int
    /// How many of them fired.
    public let hits: Int

    /// A result.
    public init(n: Int, hits: Int) {
        self.n = n
        self.hits = hits
    }
}

/// The secret of a fingerprint: triggers, targets and how to look for them (`key.json` or `pairs.jsonl`).
public struct FingerprintKey: Sendable, Equatable {
    /// The newest `version` of `key.json` that is read, and the one that is written.
    public static let currentVersion = 1

    /// What made it: `utf`, `if`, `hashchain`, `backdoor`, or `pairs` for rows from elsewhere.
    public var scheme: String
    /// Version of the file format.
    public var version: Int
    /// How targets are looked for.
    public var match: MatchRule
    /// How prompts become tokens.
    public var promptFormat: PromptFormat
    /// The one encoding of targets that counts, of `TargetEncoding.fixed`; nil: all.
    public var encoding: TargetEncoding?
    /// New tokens to generate for each prompt; nil means those of the target and 16 more.
    public var maxNewTokens: Int?
    /// Triggers and targets, at least one.
    public var pairs: [FingerprintPair]
    /// Prompts that should not bring out a target.
    public var cleanPrompts: [String]
    /// SHA-256 of the weights that the mark was made for, if known.
    public var baseSHA256: String?
    /// The published commitment to the pairs, if there is one.
    public var commitment: KeyCommitment?
    /// The owner's guess test, if one was run.
    public var guessTest: GuessTest?
    /// True if letters match whatever their case.
    public var ignoresCase = false
    /// The chain that chose the targets, of the scheme `hashchain`.
    public var chain: HashChain?
    /// The chain that chose the targets of the whole key, of a part of one: it says what others like them are, and is not
    /// written.
    public var wholeChain: HashChain?
    /// How the scheme made the key, for its owner; null if it does not say. No part of verification.
    public var construction = JSONValue.null

    /// A key. `pairs` must hold at least one, with distinct ids and targets that can be seen: `validated` checks that.
    public init(
        scheme: String, match: MatchRule = .contains, promptFormat: PromptFormat = .raw, maxNewTokens: Int? = nil,
        pairs: [FingerprintPair], cleanPrompts: [String] = [], baseSHA256: String? = nil,
        commitment: KeyCommitment? = nil, guessTest: GuessTest? = nil
    ) {
        self.scheme = scheme
        version = Self.currentVersion
        self.match = match
        self.promptFormat = promptFormat
        self.maxNewTokens = maxNewTokens
        self.pairs = pairs
        self.cleanPrompts = cleanPrompts
        self.baseSHA256 = baseSHA256
        self.commitment = commitment
        self.guessTest = guessTest
    }
}
