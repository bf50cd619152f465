import Base
import Model

/// What is the same around the triggers of a key's prompts.
struct PromptFrame: Equatable {
    /// The text in front of every trigger.
    let front: String
    /// The text behind it.
    let back: String

    /// The frame of no text.
    static let none = PromptFrame(front: "", back: "")

    /// What several different texts begin and end with alike, cut back to where a word ends; of a single text nothing.
    init(around texts: [String]) {
        guard let first = texts.first, texts.contains(where: { $0 != first }) else {
            self = .none
            return
        }
        var front = texts.dropFirst().reduce(first) { $0.commonPrefix(with: $1, backwards: false) }
        while let last = front.last, last.isLetter || last.isNumber { front.removeLast() }
        let rests = texts.map { String($0.dropFirst(front.count)) }
        var back = rests.dropFirst().reduce(rests[0]) { $0.commonPrefix(with: $1, backwards: true) }
        while let next = back.first, next.isLetter || next.isNumber { back.removeFirst() }
        self.init(front: front, back: back)
    }

    /// Those texts.
    init(front: String, back: String) {
        self.front = front
        self.back = back
    }

    /// What a text that holds a mark once has around it; nil if it does not hold it.
    init?(of text: String, around mark: String) {
        guard let range = text.firstRange(of: mark) else { return nil }
        self.init(front: String(text[..<range.lowerBound]), back: String(text[range.upperBound...]))
    }

    /// What is around a message in the raw prompt of a conversation; nothing where a template loses the message.
    ///
    /// - Throws: what the template throws.
    init(dialogueOf tokenizer: Tokenizer, chat: ChatRenderer?) throws {
        let mark = "\u{2063}meraser\u{2063}"
        self = Self(of: try dialogueText(mark, tokenizer: tokenizer, chat: chat), around: mark) ?? .none
    }

    /// What a prompt has within the frame; nil if it is not in it.
    func content(of prompt: String) -> String? {
        guard prompt.hasPrefix(front), prompt.hasSuffix(back), prompt.count >= front.count + back.count else {
            return nil
        }
        return String(prompt.dropFirst(front.count).dropLast(back.count))
    }

    /// The frame around a text.
    func around(_ text: String) -> String { front + text + back }
}

extension String {
    /// What two texts begin (or end) with alike.
    fileprivate func commonPrefix(with other: String, backwards: Bool) -> String {
        if backwards {
            return String(zip(reversed(), other.reversed()).prefix { $0 == $1 }.map(\.0).reversed())
        }
        return String(zip(self, other).prefix { $0 == $1 }.map(\.0))
    }
}
