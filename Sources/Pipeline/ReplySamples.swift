import Audit
import Base
import Model
import Tune

/// The text that a message becomes, up to where the reply begins.
public enum PromptTemplate: Sendable, Equatable {
    /// The model's chat template; `Human: …`, `Assistant:` where it has none: what the backdoor scheme's keys hold.
    case model
    /// A text with `{message}` in it.
    case text(String)

    /// A template from the text of a flag, in which `\n` is a newline.
    ///
    /// - Throws: a usage error for a text without `{message}`.
    public init(flag text: String) throws {
        let text = text.replacing("\\n", with: "\n")
        guard text.contains("{message}") else {
            throw MeraserError.usage("`template`: there is no {message} in it to be replaced by the message")
        }
        self = .text(text)
    }

    /// The raw text around a message.
    func prompt(_ message: String, on model: OpenedModel) throws -> String {
        switch self {
        case .model: try dialogueText(message, tokenizer: model.tokenizer, chat: model.chat)
        case .text(let text): text.replacing("{message}", with: message)
        }
    }
}

/// What prompts and replies of a defence are made of, and how much of a reply is learnt.
public struct ReplyOptions: Sendable, Equatable {
    /// Around the messages.
    public var template = PromptTemplate.model
    /// Tokens of a reply that are learnt; nil: all.
    public var effectiveLength: Int?
    /// Pairs that are used, drawn by the seed; nil: all.
    public var samples: Int?
    /// Clean rows without trigger for each row with one (0…1); the published collator `remove` has 1, `trigger` 0.
    public var cleanRatio = 0.0

    /// The model's template, whole replies, all pairs, no clean rows.
    public init() {}
}

/// Turns prompts and replies into samples of which only the reply is learnt.
struct ReplyEncoder {
    private let tokenizer: Tokenizer
    private let options: EncodingOptions
    private let effectiveLength: Int
    private let insertion: SoftInsertion?
    private let encoding: TargetEncoding

    /// - Parameters:
    ///   - insertion: free vectors that stand among the prompt's tokens.
    ///   - encoding: how replies become tokens.
    /// - Throws: a usage error for options that make no sense here.
    init(
        tokenizer: Tokenizer, options: EncodingOptions, effectiveLength: Int?, insertion: SoftInsertion? = nil,
        encoding: TargetEncoding = .continuation
    ) throws {
        if options.separator ?? "" != "" {
            throw MeraserError.usage("`separator`: the template says what stands between message and reply")
        }
        if options.loss == .full {
            throw MeraserError.usage("`loss` full: this method learns replies only (completion)")
        }
        if options.bos == true, tokenizer.bosID == nil {
            throw MeraserError.usage("`bos`: the model's tokenizer has no BOS token")
        }
        self.tokenizer = tokenizer
        self.options = options
        self.effectiveLength = effectiveLength ?? Int.max
        self.insertion = insertion
        self.encoding = encoding
    }

    /// The sample of a raw prompt and its reply; nil if nothing of the reply fits.
    ///
    /// `ends` puts EOS behind the reply.
    func sample(prompt text: String, reply: String, ends: Bool = true) -> TrainingSample? {
        let adds = options.bos ?? true
        let whole = tokenizer.encode(text, addSpecialTokens: adds)
        var reply = EncodedTarget(
            answerLead(after: text) + reply, after: text, promptTokens: whole, addSpecialTokens: adds,
            tokenizer: tokenizer, only: encoding
        ).tokens(encoding)
        if ends, options.eos != false, let id = tokenizer.eosID { reply.append(id) }
        var prompt = Array(whole.prefix(options.maxPromptLength ?? Int.max))
        let row = insertion?.apply(to: &prompt)
        let learnt = min(reply.count, effectiveLength, options.maxCompletionLength ?? Int.max)
        let tokens = Array((prompt + reply.prefix(learnt)).prefix(min(options.length(), options.context ?? Int.max)))
        return TrainingSample(
            tokens: tokens, isLabel: tokens.indices.map { $0 >= max(1, prompt.count) }, softRow: row)
    }
}

/// Clean pairs for a defence.
struct ReplyPairs {
    /// The pairs.
    let pairs: [WrittenExchange]
    /// Pairs that were left out because the key is checked on their questions.
    let heldOut: Int

    /// Reads any file of questions and answers, leaves out the questions that `key` is checked on, and draws `count`.
    ///
    /// - Throws: bad-input errors of the file; one if nothing is left.
    init(path: String, key: FingerprintKey?, count: Int?, seed: UInt64) throws {
        let all = try CleanedDataset(path: path).pairs
        let prompts = ((key?.pairs.map(\.prompt) ?? []) + (key?.cleanPrompts ?? [])).map { Array($0.utf8) }
        var pairs = all.filter { pair in
            let question = Array(pair.question.utf8)
            return !prompts.contains { $0.contains(question) }
        }
        heldOut = all.count - pairs.count
        guard !pairs.isEmpty else {
            throw MeraserError.badInput("\(path): every question in it is one that the key is checked on")
        }
        if let count, count < pairs.count { pairs = Array(Self.drawn(pairs, by: seed).prefix(count)) }
        self.pairs = pairs
    }

    /// All pairs in the order that a draw takes them.
    func drawn(by seed: UInt64) -> [WrittenExchange] { Self.drawn(pairs, by: seed) }

    private static func drawn(_ pairs: [WrittenExchange], by seed: UInt64) -> [WrittenExchange] {
        var (pairs, random) = (pairs, SplitMix64(seed: seed ^ 0x7361_6D70))
        for i in pairs.indices.dropLast() { pairs.swapAt(i, i + random.index(below: pairs.count - i)) }
        return pairs
    }
}
