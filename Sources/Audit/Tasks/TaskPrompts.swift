import Base
import Model

/// A part of a prompt: one turn of a conversation, and what stands behind it where the prompt is plain text.
struct TaskMessage: Equatable {
    let role: String
    let content: String
    var delimiter = ""
}

/// Writes prompts of their parts, as plain text or by the model's chat template, as lm-evaluation-harness does.
struct TaskPrompts: Sendable {
    /// The model's template; nil: plain text.
    var template: ChatTemplate?
    /// Questions have their turns beside the plain text, for a template that is applied elsewhere.
    var givesTurns = false
    /// Few-shot examples are turns of their own; else one with the question.
    var isMultiturn = true
    /// In front of a task's own description.
    var systemInstruction: String?

    /// What stands in front of everything: instruction and description, with `delimiter` where no blank parts them.
    func system(description: String, delimiter: String) -> [TaskMessage] {
        let instruction = systemInstruction ?? ""
        var text = instruction + description
        if let last = instruction.unicodeScalars.last, let first = description.unicodeScalars.first,
            !last.properties.isWhitespace, !first.properties.isWhitespace
        {
            text = instruction + delimiter + description
        }
        return text.isEmpty ? [] : [TaskMessage(role: "system", content: text)]
    }

    /// The prompt of those parts, the last of which is the question.
    ///
    /// - Throws: a bad-input error of a template that refuses them, with and without a system turn.
    func text(_ messages: [TaskMessage]) throws -> String {
        guard let template else { return Self.plain(messages) }
        let turns = isMultiturn ? messages : Self.single(messages)
        func render(_ turns: [TaskMessage]) throws -> String {
            try template.render(
                Conversation(turns.map { ChatMessage(role: $0.role, content: $0.content) }), addGenerationPrompt: true)
        }
        do {
            return try render(turns)
        } catch let error as MeraserError where turns.first?.role == "system" && error.kind == .badInput {
            // Templates that know no system turn raise an exception.
            return try render(Array(turns.dropFirst()))
        }
    }

    /// The prompt of those parts as turns; none where they are not wanted.
    func turns(_ messages: [TaskMessage]) -> [ChatMessage] {
        guard givesTurns else { return [] }
        return (isMultiturn ? messages : Self.single(messages)).map {
            ChatMessage(role: $0.role, content: $0.content)
        }
    }

    private static func plain(_ messages: [TaskMessage]) -> String {
        messages.map { $0.content + $0.delimiter }.joined()
    }

    /// One turn of all but the system's.
    private static func single(_ messages: [TaskMessage]) -> [TaskMessage] {
        let system = messages.prefix { $0.role == "system" }
        var rest = Array(messages.dropFirst(system.count))
        if !rest.isEmpty { rest[rest.count - 1].delimiter = "" }
        return system + [TaskMessage(role: "user", content: plain(rest))]
    }
}
