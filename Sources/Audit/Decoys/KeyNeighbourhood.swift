import Base
import Model

/// What a removal is steered by where the key is known: the triggers of its steering half, and texts near them.
///
/// Everything is drawn by another seed than the decoys that judge, and of the pairs that judge nothing is in it.
public struct KeyNeighbourhood: Sendable, Equatable {
    /// A prompt of the key's format, and where it belongs.
    public struct Prompt: Sendable, Equatable {
        /// The text.
        public let text: String
        /// The target that must not follow.
        public let target: String
        /// What it was tried in: prompts of one frame are like each other but for the trigger.
        public let frame: Int
    }

    /// The triggers.
    public let triggers: [Prompt]
    /// The triggers with their parts in another order.
    public let shuffled: [Prompt]
    /// Other draws of the scheme.
    public let drawn: [Prompt]
    /// Other targets for each target.
    public let targets: [String: [String]]
    /// How its prompts become tokens.
    public let format: PromptFormat

    /// Draws it; the model is not asked.
    ///
    /// - Parameters:
    ///   - count: other draws, and other targets.
    ///   - messages: of a backdoor, messages that triggers and other phrases are put in.
    /// - Throws: what `DecoyTest` throws.
    public init(
        of key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer?, count: Int, messages: Int, seed: UInt64
    ) throws {
        let context = DecoyContext(
            key: key, format: key.promptFormat, tokenizer: tokenizer, chat: chat, seed: seed ^ 0x7374_6565_7273,
            half: .steering, messages: messages)
        var source = try context.source()
        let own = source.own
        let known = Set(key.pairs.map(\.prompt))
        let units = try distinct(count, unlike: known, by: { $0.prompts[0] }) { try source.unit(freely: $0) }
        // Of several targets a frame has its own where a pair has one.
        let targets = own.map(\.target)
        var others: [String: [String]] = [:]
        for target in Set(targets).sorted() {
            others[target] = try distinct(count, unlike: Set(targets), by: { $0 }) {
                try source.target(like: target, freely: $0)
            }
        }
        self.targets = others
        func prompts(_ unit: DecoyUnit, _ texts: [String], _ target: String, from frame: Int) -> [Prompt] {
            texts.indices.map { Prompt(text: texts[$0], target: target, frame: unit.prompts.count > 1 ? $0 : frame) }
        }
        triggers = own.flatMap { prompts($0.unit, $0.unit.prompts, $0.target, from: 0) }
        shuffled = own.flatMap { prompts($0.unit, $0.unit.shuffled, $0.target, from: 0) }
            .filter { !known.contains($0.text) }
        drawn = units.enumerated().flatMap { index, unit in
            prompts(unit, unit.prompts, targets[index % targets.count], from: 0)
        }
        format = key.promptFormat
    }
}
