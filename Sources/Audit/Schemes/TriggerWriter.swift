import Base
import Model

/// Draws triggers and targets from undertrained tokens such that tokenising their text gives the drawn tokens again.
///
/// Tokens are drawn with replacement, one after the other; one that changes how the text so far is tokenised is drawn
/// again. (Drawing whole strings until one survives, as the paper has it, rarely ends for tokens that merge easily.)
final class TriggerWriter {
    /// Draws of one token, and restarts of one string, before giving up.
    private static let patience = 200

    private let tokens: [Int32]
    private let tokenizer: Tokenizer
    private let encoder: PromptEncoder
    private let options: UTFOptions
    private var random: SplitMix64

    init(tokens: [Int32], tokenizer: Tokenizer, encoder: PromptEncoder, options: UTFOptions) {
        self.tokens = tokens
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.options = options
        random = SplitMix64(seed: options.seed)
    }

    /// A target: its text, going on after a prompt, gives its tokens (see `survives`). In the format `raw` the prompt's
    /// end is different for each trigger: there it is tried alone, and each trigger is drawn to go with it.
    func target() throws -> (text: String, tokens: [Int32]) {
        let example = options.promptFormat == .chat ? try prompt("x") : ""
        return try draw(length: options.targetLength, "target") { text, drawn in
            self.survives(text, drawn, after: example)
        }
    }

    /// True if the target gives its tokens after that prompt, possibly behind the token of a word's beginning where the
    /// tokenizer puts one.
    private func survives(_ text: String, _ drawn: [Int32], after prompt: String) -> Bool {
        let promptTokens = tokenizer.encode(prompt, addSpecialTokens: true)
        let ids = tokenizer.encodeContinuation(
            of: prompt, promptTokens: promptTokens, addSpecialTokens: true, text)
        return ids == drawn
            || (ids.dropFirst().elementsEqual(drawn) && ids.first.map(tokenizer.isWordBeginning) == true)
    }

    /// The key's pairs: distinct triggers whose tokens stand unchanged in their tokenised prompts.
    func pairs(target: (text: String, tokens: [Int32])) throws -> [FingerprintPair] {
        let count = options.mode == .multi ? options.count : 1
        var prompts: Set<JSONString> = []
        var pairs: [FingerprintPair] = []
        while pairs.count < count {
            guard let text = try trigger(for: target, unlike: &prompts) else {
                throw MeraserError.runtime(
                    "only \(pairs.count) of \(count) distinct triggers found; ask for fewer or longer ones")
            }
            let id = SchemeContext.id("utf", pairs.count, of: count)
            pairs.append(FingerprintPair(id: id, prompt: text, target: target.text))
        }
        return pairs
    }

    /// The prompt around a trigger that goes with that target, none of `prompts`, which it joins; nil if none is found.
    func trigger(
        for target: (text: String, tokens: [Int32]), unlike prompts: inout Set<JSONString>
    ) throws -> String? {
        let span = options.triggerLength
        let length = span.lowerBound + random.index(below: span.count)
        for _ in 0..<Self.patience {
            let trigger = try draw(length: length, "trigger") { text, drawn in
                Self.contains(drawn, in: self.tokenizer.encode(try self.prompt(text), addSpecialTokens: true))
            }.text
            let text = try prompt(trigger)
            // A trigger that shows the target would fire by being echoed.
            if !MatchRule.contains.matches(output: trigger, target: target.text),
                survives(target.text, target.tokens, after: text), prompts.insert(JSONString(text)).inserted
            {
                return text
            }
        }
        return nil
    }

    /// The prompt around a trigger, ready to be tokenised with special tokens.
    private func prompt(_ trigger: String) throws -> String {
        options.promptFormat == .chat ? try encoder.rawDialogue(trigger) : trigger
    }

    /// The text of `length` tokens for which `survives` held at every step.
    private func draw(
        length: Int, _ what: String, survives: (String, [Int32]) throws -> Bool
    ) throws -> (text: String, tokens: [Int32]) {
        for _ in 0..<Self.patience {
            var drawn: [Int32] = []
            var text = ""
            var failures = 0
            while drawn.count < length && failures < Self.patience {
                let longer = drawn + [tokens[random.index(below: tokens.count)]]
                let longerText = tokenizer.decode(longer, skipSpecialTokens: false)
                if try survives(longerText, longer) {
                    drawn = longer
                    text = longerText
                } else {
                    failures += 1
                }
            }
            if drawn.count == length { return (text, drawn) }
        }
        throw MeraserError.runtime(
            "no \(what) of \(length) undertrained tokens found whose text is tokenised to the same tokens again")
    }

    private static func contains(_ run: [Int32], in tokens: [Int32]) -> Bool {
        guard run.count <= tokens.count else { return false }
        return (0...tokens.count - run.count).contains { tokens[$0..<$0 + run.count].elementsEqual(run) }
    }
}
