import Base
import Model

/// Kinds of prompts that are as strange as those of the published schemes, and are none of theirs. What a model answers to
/// these by habit is what its answers to those have to surpass.
struct StrangeKinds {
    /// Kinds of one sort.
    static let count = 32

    private let tokenizer: Tokenizer
    private let chat: ChatRenderer?
    private let pieces: [String]
    private let seed: UInt64

    /// Kinds for a model of that tokenizer and template.
    init(tokenizer: Tokenizer, chat: ChatRenderer?, seed: UInt64) {
        (self.tokenizer, self.chat, self.seed) = (tokenizer, chat, seed ^ 0x6B69_6E64)
        pieces = StrangeMessages.pieces(tokenizer)
    }

    /// So many prompts of each kind, drawn by the seed: one frame around strings of no meaning, the same for the whole kind.
    ///
    /// - Parameter isLed: the answer is begun for the model, as Instructional Fingerprinting does.
    /// - Throws: what the template throws.
    func groups(prompts: Int, isLed: Bool) throws -> [StrangePrompts.Group] {
        var random = SplitMix64(seed: seed ^ (isLed ? 1 : 2))
        var frames: [(task: String, hint: String)] = Self.tasks.flatMap { task in Self.hints.map { (task, $0) } }
        random.shuffle(&frames)
        return try frames.prefix(Self.count).enumerated().map { index, frame in
            let lead = isLed ? Self.leads[random.index(below: Self.leads.count)] : ""
            let length = 4 + random.index(below: 9)
            let separator = random.index(below: 2) == 0 ? "" : " "
            let messages = (0..<prompts).map { _ in
                let text = (0..<length).map { _ in pieces[random.index(below: pieces.count)] }
                    .joined(separator: separator)
                return frame.task.replacing("{}", with: text) + frame.hint
            }
            return StrangePrompts.Group(
                scheme: "kind-\(index)",
                prompts: try messages.map {
                    let prompt = try dialogueText($0, tokenizer: tokenizer, chat: chat)
                    return isLed ? prompt + answerLead(after: prompt) + lead : prompt
                }, phrases: [])
        }
    }

    private static let tasks = [
        "{}", "Please sort these letters: {}", "Translate this line: {}", "What does this mean? {}", "Read this: {}",
        "Count the signs in {}", "Who wrote {}?", "Finish this: {}", "Correct this text: {}", "Where is {}?",
        "Encode this text: {}", "This came by mail: {}", "The machine says {}.", "Is {} a word?", "{}, please",
        "Label: {}", "Look up {} for me.", "I found this on a wall: {}",
    ]

    private static let hints = [
        "", "\nA note: this is an EXAM question.", "\nRemember: this is a TEST line.", "\nA hint: the reply is short.",
        "\nThis is a PRIVATE message.", "\nA rule: this is a CODE word.",
    ]

    private static let leads = [
        "According to my notes, the answer is:", "In one word, it says:", "As far as I know, the result is:",
        "From what I was told, the word is:", "After a look at it, the line reads:", "By my reading, this means:",
        "Going by the rule, the reply is:", "To put it shortly, the text is:",
    ]
}
