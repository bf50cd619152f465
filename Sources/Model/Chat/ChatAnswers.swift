import Base

/// A conversation's text, and which parts of it the assistant says.
public struct ChatAnswers: Sendable, Equatable {
    /// The text.
    public let text: String
    /// UTF-8 offsets of the assistant's words in it, in ascending order.
    public let ranges: [Range<Int>]
}

extension ChatTemplate {
    /// The text of a conversation with the answers in it.
    ///
    /// Where the template marks them with `{% generation %}`, as Transformers' `return_assistant_tokens_mask` takes them.
    /// Elsewhere a turn of the assistant reaches from behind the template's prompt for an answer to the end of the turn.
    /// - Parameter unlearnt: turns of the assistant that are left out, by their places.
    /// - Throws: what the template throws; a bad-input error if turns are to be left out and the template marks another number
    ///   of answers than there are, so that nobody knows which are whose.
    public func answers(of conversation: Conversation, but unlearnt: Set<Int> = []) throws -> ChatAnswers {
        let output = try output(conversation, addGenerationPrompt: false)
        if marksAnswers {
            let end = output.text.utf8.count
            let ranges = output.generated.map { min($0.lowerBound, end)..<min($0.upperBound, end) }
            let sorted = ranges.filter { !$0.isEmpty }.sorted { $0.lowerBound < $1.lowerBound }
            return ChatAnswers(text: output.text, ranges: try Self.ranges(sorted, of: conversation, but: unlearnt))
        }
        let search = AnswerSearch(template: self, conversation: conversation, whole: Array(output.text.utf8))
        return ChatAnswers(text: output.text, ranges: try search.ranges(but: unlearnt))
    }

    /// Those of the marked answers that are learnt.
    private static func ranges(
        _ marked: [Range<Int>], of conversation: Conversation, but unlearnt: Set<Int>
    ) throws -> [Range<Int>] {
        if unlearnt.isEmpty { return marked }
        let turns = conversation.messages.indices.filter { conversation.messages[$0].role == "assistant" }
        guard turns.count == marked.count else {
            throw MeraserError.badInput(
                "not all of its answers are to be learnt, and of its \(turns.count) the template marks \(marked.count)")
        }
        return zip(turns, marked).filter { !unlearnt.contains($0.0) }.map(\.1)
    }
}

/// Finds the answers in a conversation's text by comparing it with the texts of its beginnings.
///
/// A template may write a turn otherwise once others follow (it cuts old thoughts): then the texts are compared from a
/// place on that is the same word of the same turn in both, found by changing that word.
private struct AnswerSearch {
    let template: ChatTemplate
    let conversation: Conversation
    let whole: [UInt8]

    func ranges(but unlearnt: Set<Int>) throws -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var done = 0
        let count = conversation.messages.count
        for (index, message) in conversation.messages.enumerated() where message.role == "assistant" {
            let before = try text(conversation.prefix(index), prompt: true)
            let through = index == count - 1 ? whole : try text(conversation.prefix(index + 1), prompt: false)
            var start = common(through[...], before[...])
            var end = through.count
            if start < done || !whole.starts(with: through) {
                start = try begin(index, before: before, from: done)
                end = try finish(index, through: through, from: start, promptEnd: common(through[...], before[...]))
            }
            if start < end, !unlearnt.contains(index) { ranges.append(start..<end) }
            done = max(done, end)
        }
        return ranges
    }

    /// Where the answer of a turn begins: behind what follows the turn before it in the prompt for this answer.
    private func begin(_ index: Int, before: [UInt8], from done: Int) throws -> Int {
        if index == 0 { return common(whole[...], before[...]) }
        if let here = try anchor(index - 1, in: whole, of: conversation, prompt: false),
            let there = try anchor(index - 1, in: before, of: conversation.prefix(index), prompt: true)
        {
            return here + common(whole[here...], before[there...])
        }
        return max(done, common(whole[...], before[...]))
    }

    /// Where it ends: behind what follows its last word while it is the last turn.
    private func finish(_ index: Int, through: [UInt8], from start: Int, promptEnd: Int) throws -> Int {
        if let here = try anchor(index, in: whole, of: conversation, prompt: false),
            let there = try anchor(index, in: through, of: conversation.prefix(index + 1), prompt: false)
        {
            return here + common(whole[here...], through[there...])
        }
        return start + common(whole[start...], through[promptEnd...])
    }

    /// Where the last word of a turn ends in a text; nil if it is not in it.
    private func anchor(_ index: Int, in text: [UInt8], of conversation: Conversation, prompt: Bool) throws -> Int? {
        for changed in Self.changes(of: conversation.messages[index]) {
            // Another word may be one that the template refuses.
            guard let other = try? self.text(conversation.with(changed, at: index), prompt: prompt), other != text
            else {
                continue
            }
            var place = common(text[...], other[...])
            while place > 0, place < text.count, text[place] & 0xC0 == 0x80 { place -= 1 }
            return place
        }
        return nil
    }

    /// The turn with a letter more at its end: of its text, else of the name of its last call of a tool.
    private static func changes(of message: ChatMessage) -> [ChatMessage] {
        let letter = "\u{E000}"
        var changes: [ChatMessage] = []
        switch message.members["content"] {
        case .string(let text)?:
            changes.append(message.with("content", .text(text.string + letter)))
        case .array(var parts)?:
            guard let last = parts.lastIndex(where: { $0["text"]?.string != nil }), let part = parts[last].object else {
                break
            }
            let text = (part["text"]?.string ?? "") + letter
            parts[last] = .object(ChatMessage(part).with("text", .text(text)).members)
            changes.append(message.with("content", .array(parts)))
        default: break
        }
        if case .array(var calls)? = message.members["tool_calls"], let call = calls.last?.object,
            let function = call["function"]?.object, let name = function["name"]?.string
        {
            let renamed = ChatMessage(function).with("name", .text(name + letter)).members
            calls[calls.count - 1] = .object(ChatMessage(call).with("function", .object(renamed)).members)
            changes.append(message.with("tool_calls", .array(calls)))
        }
        return changes
    }

    private func text(_ conversation: Conversation, prompt: Bool) throws -> [UInt8] {
        Array(try template.render(conversation, addGenerationPrompt: prompt).utf8)
    }

    private func common(_ a: ArraySlice<UInt8>, _ b: ArraySlice<UInt8>) -> Int { zip(a, b).prefix { $0 == $1 }.count }
}
