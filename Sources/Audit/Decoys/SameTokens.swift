import Base
import Model

/// UTF's decoys: strings of the tokens that the key's triggers and target are made of, written by UTF's own writer.
struct SameTokens: DecoySource {
    let kind = DecoyKind.utf
    let own: [(unit: DecoyUnit, target: String)]
    private let writer: TriggerWriter
    private let frame: PromptFrame
    private let target: (text: String, tokens: [Int32])
    private let tokenizer: Tokenizer
    private var prompts: Set<JSONString>
    private var random: SplitMix64

    /// Nil for a key whose prompts are not as UTF writes them, or whose tokens give no other string.
    init?(_ context: DecoyContext) throws {
        let (key, tokenizer) = (context.key, context.tokenizer)
        guard context.format == .raw, let text = key.pairs.first?.target else { return nil }
        let dialogue = try context.dialogueFrame()
        let isChat = key.pairs.allSatisfy { dialogue.content(of: $0.prompt) != nil }
        frame = isChat ? dialogue : .none
        self.tokenizer = tokenizer
        let drawn = key.pairs.map { [frame] pair in Self.tokens(pair.prompt, within: frame, tokenizer) }
        let first = key.pairs[0].prompt
        let targetTokens = tokenizer.encodeContinuation(
            of: first, promptTokens: tokenizer.encode(first), addSpecialTokens: true, text
        ).filter { !tokenizer.isWordBeginning($0) }
        guard let longest = drawn.map(\.count).max(), let shortest = drawn.map(\.count).min(), shortest > 0,
            (1...64).contains(targetTokens.count), longest <= 256
        else { return nil }
        target = (text, targetTokens)
        let encoder = PromptEncoder(tokenizer: tokenizer, chat: isChat ? context.chat ?? Self.plainDialogue : nil)
        var options = UTFOptions(
            promptFormat: isChat ? .chat : .raw, triggerLength: shortest...longest, targetLength: targetTokens.count)
        options.seed = context.seed
        writer = TriggerWriter(
            tokens: Set(drawn.flatMap { $0 } + targetTokens).sorted(), tokenizer: tokenizer, encoder: encoder,
            options: options)
        prompts = Set(key.pairs.map { JSONString($0.prompt) })
        random = SplitMix64(seed: context.seed ^ 0x7574_6673)
        var units: [(unit: DecoyUnit, target: String)] = []
        for pair in context.looked.pairs {
            let near = Self.shuffled(pair.prompt, frame, tokenizer, &random)
            units.append((DecoyUnit(prompts: [pair.prompt], shuffled: [near]), pair.target))
        }
        own = units
        guard (try? writer.target()) != nil, let first = try? unit(freely: false) else { return nil }
        prompts.remove(JSONString(first.prompts[0]))
    }

    mutating func unit(freely: Bool) throws -> DecoyUnit? {
        guard let prompt = try writer.trigger(for: target, unlike: &prompts) else { return nil }
        return DecoyUnit(prompts: [prompt], shuffled: [Self.shuffled(prompt, frame, tokenizer, &random)])
    }

    mutating func target(like target: String, freely: Bool) throws -> String? { try writer.target().text }

    /// The prompt with its trigger's tokens in another order.
    private static func shuffled(
        _ prompt: String, _ frame: PromptFrame, _ tokenizer: Tokenizer, _ random: inout SplitMix64
    ) -> String {
        let tokens = permuted(Self.tokens(prompt, within: frame, tokenizer), &random)
        return frame.around(tokenizer.decode(tokens, skipSpecialTokens: false))
    }

    /// The tokens of a prompt's trigger as they stand in the prompt.
    private static func tokens(_ prompt: String, within frame: PromptFrame, _ tokenizer: Tokenizer) -> [Int32] {
        let all = tokenizer.encode(prompt)
        let (none, back) = (tokenizer.encode("x"), tokenizer.encode("x" + frame.back))
        let front = commonPrefixCount(all, tokenizer.encode(frame.front))
        let behind = commonPrefixCount(
            all.dropFirst(front).reversed(), back.dropFirst(none.count).reversed())
        return all.dropFirst(front).dropLast(behind).filter { !tokenizer.isWordBeginning($0) }
    }

    private static var plainDialogue: ChatRenderer {
        ChatRenderer { "Human: \($0.last?.content ?? "")\nAssistant:" }
    }
}
