import Base
import Model

/// Decoys of a key of which nothing is known but its pairs: texts matched with the triggers, within what all prompts have
/// alike, and with the targets, in length and kind.
struct MatchedTexts: DecoySource {
    let kind = DecoyKind.pairs
    let own: [(unit: DecoyUnit, target: String)]
    private let frame: PromptFrame
    private let contents: [String]
    private var texts: SimilarTextWriter
    private var random: SplitMix64

    init(_ context: DecoyContext) throws {
        let prompts = context.key.pairs.map(\.prompt)
        let dialogue = try context.dialogueFrame()
        let messages = prompts.compactMap(dialogue.content)
        if messages.count == prompts.count {
            let inner = PromptFrame(around: messages)
            frame = PromptFrame(front: dialogue.front + inner.front, back: inner.back + dialogue.back)
        } else {
            frame = PromptFrame(around: prompts)
        }
        // Where one prompt is all that the others have in common nothing is left of it.
        contents = prompts.compactMap(frame.content).filter { $0.contains { !$0.isWhitespace } }
        texts = SimilarTextWriter(seed: context.seed)
        random = SplitMix64(seed: context.seed ^ 0x6D61_7463)
        var units: [(unit: DecoyUnit, target: String)] = []
        for pair in context.looked.pairs {
            let near = frame.around(shuffled(frame.content(of: pair.prompt) ?? pair.prompt, &random))
            units.append((DecoyUnit(prompts: [pair.prompt], shuffled: [near]), pair.target))
        }
        own = units
    }

    mutating func unit(freely: Bool) -> DecoyUnit? {
        guard !contents.isEmpty else { return nil }
        let text = texts.text(like: contents[random.index(below: contents.count)], freely: freely)
        return DecoyUnit(
            prompts: [frame.around(text)], shuffled: [frame.around(shuffled(text, &random))])
    }

    mutating func target(like target: String, freely: Bool) -> String? { texts.text(like: target, freely: freely) }
}
