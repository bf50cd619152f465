/// The four kinds of questions that MEraser's mismatched data is crossed over.
public enum QuestionType: String, Sendable, CaseIterable {
    /// Contains "what" (什么).
    case what
    /// Contains "how" (如何).
    case how
    /// Contains "why" (为什么, 为何).
    case why
    /// Everything else.
    case other

    /// The type of a question: the first of the words below that occurs anywhere in it, in lower case.
    ///
    /// This order and these words give the type recorded in every row of MEraser's own 300.
    public init(of question: String) {
        // Bytes, not characters: canonical equivalence has no say, and a search in long texts is fast.
        let text = Array(question.lowercased().utf8)
        self = Self.words.first { Self.contains(text, Array($0.word.utf8)) }?.type ?? .other
    }

    // 为什么 (why) contains 什么 (what).
    private static let words: [(word: String, type: QuestionType)] = [
        ("what", .what), ("how", .how), ("why", .why), ("为什么", .why), ("为何", .why), ("什么", .what), ("如何", .how),
    ]

    private static func contains(_ text: [UInt8], _ word: [UInt8]) -> Bool {
        guard text.count >= word.count else { return false }
        return (0...(text.count - word.count)).contains {
            text[$0] == word[0] && text[$0..<$0 + word.count] == word[...]
        }
    }
}
