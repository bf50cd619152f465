/// The first question of a conversation that is written out as one text, and its answer.
public struct WrittenExchange: Sendable, Equatable {
    /// What was asked.
    public let question: String
    /// What was answered.
    public let answer: String

    /// A question with its answer.
    public init(question: String, answer: String) {
        self.question = question
        self.answer = answer
    }

    /// Where a format's question begins, its answer begins, and what ends the answer.
    private static let formats: [(question: String, answer: String, ends: [String])] = [
        ("[INST]", "[/INST]", ["</s>", "<s>", "[INST]"]),
        ("### Instruction:", "### Response:", ["</s>", "### Instruction:"]),
        ("### Human:", "### Assistant:", ["</s>", "### Human:"]),
        ("Human:", "\nAssistant:", ["</s>", "\nHuman:"]),
    ]

    /// The first exchange of a text in one of the formats `[INST] … [/INST]` (Llama 2), `### Instruction:` with
    /// `### Response:`, `### Human:` with `### Assistant:` (Guanaco) and `Human:` with `Assistant:`, blanks around both
    /// parts gone; nil if the text is in none of them.
    public init?(text: String) {
        let scalars = Array(text.unicodeScalars)
        for format in Self.formats {
            guard let question = Self.find(format.question, in: scalars, from: 0),
                let answer = Self.find(format.answer, in: scalars, from: question.end)
            else { continue }
            let end = format.ends.compactMap { Self.find($0, in: scalars, from: answer.end)?.start }.min()
            self.question = Self.trimmed(scalars[question.end..<answer.start])
            self.answer = Self.trimmed(scalars[answer.end..<(end ?? scalars.count)])
            return
        }
        return nil
    }

    private static func find(_ mark: String, in text: [Unicode.Scalar], from start: Int) -> (start: Int, end: Int)? {
        let mark = Array(mark.unicodeScalars)
        guard text.count - start >= mark.count else { return nil }
        return (start...(text.count - mark.count))
            .first { text[$0] == mark[0] && text[$0..<$0 + mark.count].elementsEqual(mark) }
            .map { ($0, $0 + mark.count) }
    }

    private static func trimmed(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
        var slice = scalars.drop(while: \.properties.isWhitespace)
        while let last = slice.last, last.properties.isWhitespace { slice.removeLast() }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: slice)
        return String(view)
    }
}
