import Base
import Foundation
import Model

extension DatasetRow {
    /// The question and answer of a row, blanks around both gone: of a conversation the first of the user's turns and the
    /// answer behind it, of a text its first written exchange; nil if there are none.
    func exchange() -> WrittenExchange? {
        switch self {
        case .pair(let prompt, let completion):
            return WrittenExchange(question: trimmed(prompt), answer: trimmed(completion))
        case .text(let text):
            return WrittenExchange(text: text)
        case .chat(let conversation, _):
            let turns = conversation.messages
            guard let question = turns.firstIndex(where: { $0.role == "user" }), question + 1 < turns.count,
                turns[question + 1].role == "assistant"
            else { return nil }
            return WrittenExchange(
                question: trimmed(turns[question].content), answer: trimmed(turns[question + 1].content))
        }
    }

    /// What makes two rows the same to a reader: `normalizedText` of the question, or of the whole text.
    var identity: String {
        switch self {
        case .pair(let prompt, _): normalizedText(prompt)
        case .text(let text): normalizedText(WrittenExchange(text: text)?.question ?? text)
        case .chat(let conversation, _):
            normalizedText(conversation.messages.first { $0.role == "user" }?.content ?? "")
        }
    }
}

/// A text without what does not tell two questions apart: compatibility forms composed (NFKC), lower case, runs of blanks
/// as one, punctuation and blanks at both ends gone.
func normalizedText(_ text: String) -> String {
    var words: [Substring.UnicodeScalarView] = []
    let folded = text.precomposedStringWithCompatibilityMapping.lowercased()
    for word in folded[...].unicodeScalars.split(whereSeparator: \.properties.isWhitespace) { words.append(word) }
    func isOuter(_ scalar: Unicode.Scalar) -> Bool { ".,;:!?¿¡…\"'“”‘’。，、；：！？「」".unicodeScalars.contains(scalar) }
    var scalars = Array(words.joined(separator: [" "]))
    while let last = scalars.last, isOuter(last) || last == " " { scalars.removeLast() }
    var result = String.UnicodeScalarView()
    result.append(contentsOf: scalars.drop { isOuter($0) || $0 == " " })
    return String(result)
}

/// A text without blanks around it.
func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .whitespacesAndNewlines) }
