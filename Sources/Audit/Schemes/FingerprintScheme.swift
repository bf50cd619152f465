import Base
import Model

/// A way to mark a model: it makes a key and the rows that teach it. Embedding is Pipeline's work, verification
/// `KeyCheck`'s; a scheme trains nothing.
public protocol FingerprintScheme: Sendable {
    /// Its name in `key.json` and on command lines.
    static var name: String { get }

    /// True if what learns the mark are the embedding's rows of the key's tokens, unless the training's options name modules.
    var trainsTokenRows: Bool { get }

    /// Draws a key for a model.
    ///
    /// The same scheme, model and context give the same key.
    /// - Throws: a usage error for options that make no sense, a runtime error where the model does not suit the scheme.
    func fingerprint(for context: SchemeContext) throws -> Fingerprint
}

extension FingerprintScheme {
    /// False: the model's layers learn it.
    public var trainsTokenRows: Bool { false }
}

/// A message and its answer, of a clean dataset.
public struct CleanPair: Sendable, Equatable {
    /// The message.
    public let prompt: String
    /// The answer.
    public let completion: String

    /// A pair.
    public init(prompt: String, completion: String) {
        self.prompt = prompt
        self.completion = completion
    }
}

/// What a scheme may draw from.
public struct SchemeContext {
    /// The model, not marked yet.
    public let session: InferenceSession
    /// Its tokenizer.
    public let tokenizer: Tokenizer
    /// Its chat template, if it has one.
    public let chat: ChatRenderer?
    /// Clean pairs, of which the last may be held out of training.
    public let cleanPairs: [CleanPair]
    /// Prompts that must not fire, for the key.
    public let cleanPrompts: [String]
    /// Random strings wanted for the guess test.
    public let guesses: Int
    /// Chooses the key and the commitment's salt: who knows it, and the model, knows the key.
    public let seed: UInt64

    /// A context.
    public init(
        session: InferenceSession, tokenizer: Tokenizer, chat: ChatRenderer? = nil, cleanPairs: [CleanPair] = [],
        cleanPrompts: [String] = [], guesses: Int = 0, seed: UInt64 = 42
    ) {
        self.session = session
        self.tokenizer = tokenizer
        self.chat = chat
        self.cleanPairs = cleanPairs
        self.cleanPrompts = cleanPrompts
        self.guesses = guesses
        self.seed = seed
    }

    /// `dialogueText` with this model's template.
    func dialogue(_ message: String) throws -> String {
        try dialogueText(message, tokenizer: tokenizer, chat: chat)
    }

    /// A commitment whose salt comes from the seed.
    func commitment(to pairs: [FingerprintPair], chain: HashChain? = nil) -> KeyCommitment {
        var salt = SplitMix64(seed: seed ^ 0x7361_6C74)
        return KeyCommitment(to: pairs, chain: chain, saltBytes: (0..<32).map { _ in UInt8(salt.next() >> 56) })
    }

    /// The last of the clean pairs, at most `count` and at most half of them: not to be trained on.
    func heldOut(_ count: Int) -> ArraySlice<CleanPair> { cleanPairs.suffix(min(count, cleanPairs.count / 2)) }

    /// Numbered ids of equal width: `utf-00`, `utf-01`, …
    static func id(_ scheme: String, _ index: Int, of count: Int) -> String {
        let number = String(index)
        return "\(scheme)-" + String(repeating: "0", count: String(count - 1).count - number.count) + number
    }
}

/// A row that teaches a mark, or that keeps the model from firing elsewhere.
public struct FingerprintRow: Sendable, Equatable {
    /// Raw text, BOS as the tokenizer has it.
    public let prompt: String
    /// What is to be learnt, EOS behind it; nil: what the model itself answers before it is marked.
    public let completion: String?

    /// A row.
    public init(prompt: String, completion: String?) {
        self.prompt = prompt
        self.completion = completion
    }
}

/// A key that a scheme drew, with what teaches it.
public struct Fingerprint: Sendable {
    /// The key.
    public var key: FingerprintKey
    /// What to train on, beside clean pairs.
    public var rows: [FingerprintRow]
    /// True if the rows are to be repeated until they are about as many as the clean ones; false where their share is
    /// part of the scheme.
    public var isBalanced = true
    /// Times that the clean samples go beside the rows.
    public var rounds = 1
    /// Clean pairs at the end of the context's that must not be trained on.
    public var heldOutPairs = 0
    /// Tokens whose rows of the embedding learn the mark; none where the scheme has no use for that.
    public var tokens: [Int32] = []
    /// Random strings in the place of triggers, as raw prompts: none should bring out a target.
    public var guesses: [String] = []
    /// What did not go as the scheme's paper has it.
    public var notes: [String] = []
    /// What `fingerprint --json` shows of how the key was made; nothing of the key itself.
    public var search: JSONValue

    /// A fingerprint.
    public init(key: FingerprintKey, rows: [FingerprintRow], search: JSONValue) {
        self.key = key
        self.rows = rows
        self.search = search
    }
}

/// Throws a usage error unless the condition holds.
func requireUsage(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    guard condition else { throw MeraserError.usage(message()) }
}

/// The space that an answer needs in front of it behind a prompt that ends in none.
public func answerLead(after prompt: String) -> String {
    prompt.utf8.last.map { $0.isWhitespace } ?? true ? "" : " "
}
