import Base
import Model

/// How a key's decoys are drawn.
public enum DecoyKind: String, Sendable, CaseIterable {
    /// Strings of the same undertrained tokens.
    case utf
    /// Other secrets.
    case `if`
    /// Other questions, and the chain's other responses.
    case hashchain
    /// Other phrases in the same messages.
    case backdoor
    /// Texts matched in length and kind.
    case pairs
}

/// What one draw of a scheme gives: prompts whose mean counts, and the same with the trigger's parts in another order.
struct DecoyUnit: Sendable, Equatable {
    let prompts: [String]
    let shuffled: [String]
}

/// Draws triggers and targets as those of a key were drawn. The same key, tokenizer and seed give the same decoys.
protocol DecoySource {
    var kind: DecoyKind { get }
    /// The key's own draws and their targets: of the half that is looked at.
    var own: [(unit: DecoyUnit, target: String)] { get }

    /// Another trigger; nil if there is none. `freely`: let go of what is alike, as draws have run out.
    mutating func unit(freely: Bool) throws -> DecoyUnit?

    /// Another target of the kind of that one.
    mutating func target(like target: String, freely: Bool) throws -> String?

    /// The prompts of another key, one for each of those pairs.
    mutating func prompts(like pairs: [FingerprintPair]) throws -> [String]
}

/// What a source is made of.
struct DecoyContext {
    /// The key with all its pairs.
    let key: FingerprintKey
    /// How its prompts become tokens.
    let format: PromptFormat
    let tokenizer: Tokenizer
    let chat: ChatRenderer?
    let seed: UInt64
    /// Which pairs are the source's own draws.
    var half = FingerprintKey.Half.judging
    /// Messages that a backdoor's phrases are tried in, at most.
    var messages = 2

    /// The key of the own draws.
    var looked: FingerprintKey { key.half(half) }

    /// The frame of a conversation of one message in raw prompts; none for messages.
    func dialogueFrame() throws -> PromptFrame {
        format == .raw ? try PromptFrame(dialogueOf: tokenizer, chat: chat) : .none
    }

    /// An ordinary message as a prompt of the key's format.
    func ordinary(_ message: String) throws -> String {
        format == .raw ? try dialogueText(message, tokenizer: tokenizer, chat: chat) : message
    }

    /// The template for prompts like the key's: behind the turns that all of them stand behind.
    ///
    /// - Throws: a usage error where pairs stand behind different turns.
    private func likeness() throws -> ChatRenderer? {
        let history = try key.sharedHistory()
        return history.isEmpty ? chat : chat?.after(history)
    }

    /// What is scored of a key's draws beside others of that kind.
    func design(
        own: [(unit: DecoyUnit, target: String)], pool: DecoyPool, kind: DecoyKind, check: CheckOptions,
        tokenBudget: Int
    ) throws -> DecoyDesign {
        let scorer = DecoyScorer(
            encoder: PromptEncoder(tokenizer: tokenizer, chat: try likeness()), format: format,
            encoding: check.encoding ?? key.encoding)
        return try DecoyDesign(
            own: own, pool: pool, kind: kind, ordinary: ordinaryMessages.map(ordinary), scorer: scorer,
            tokenBudget: tokenBudget)
    }

    /// The source for the key's scheme; texts matched in length and kind where the key is not as the scheme makes it.
    func source() throws -> any DecoySource {
        _ = try key.sharedHistory()
        let own: (any DecoySource)? =
            switch key.scheme {
            case UTFScheme.name: try SameTokens(self)
            case IFScheme.name: try OtherSecrets(self)
            case HashChainScheme.name: OtherResponses(self)
            case BackdoorScheme.name: OtherPhrases(self)
            default: nil
            }
        return try own ?? MatchedTexts(self)
    }
}

/// A text's words in another order, or its characters where it has few words; as it is if it has one character.
func shuffled(_ text: String, _ random: inout SplitMix64) -> String {
    let words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    // Strings of tokens that are no words have spaces too; the order of three words is soon used up.
    if words.count >= 3 { return permuted(words, &random).joined(separator: " ") }
    return String(permuted(Array(text), &random))
}

/// The elements in another order where there is one, drawn evenly of all orders but for the first.
func permuted<Element: Equatable>(_ elements: [Element], _ random: inout SplitMix64) -> [Element] {
    var result = elements
    for _ in 0..<8 where result == elements {
        random.shuffle(&result)
    }
    return result
}

/// Different draws, up to `count`, none of `others`; fewer where the kind has no more.
func distinct<Draw>(
    _ count: Int, unlike others: Set<String>, by name: (Draw) -> String, draw: (_ freely: Bool) throws -> Draw?
) rethrows -> [Draw] {
    var (seen, result, failures) = (others, [Draw](), 0)
    while result.count < count, failures < 2000 {
        // After many repetitions in a row the kind is exhausted.
        if let drawn = try draw(failures >= 200), seen.insert(name(drawn)).inserted {
            result.append(drawn)
            failures = failures >= 200 ? 200 : 0
        } else {
            failures += 1
        }
    }
    return result
}
