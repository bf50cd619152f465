import Model
import Quant

/// The shapes of rows that datasets may have; told apart by the keys of the first row.
public enum DatasetShape: String, Sendable, CaseIterable {
    /// `question` and `mismatched_answer` or `answer`: MEraser's files.
    case meraser
    /// `prompt` and `completion`.
    case promptCompletion = "prompt/completion"
    /// `instruction`, `output` and optionally `input`: Stanford Alpaca's files.
    case alpaca
    /// `messages`: a list of `{"role", "content"}`, rendered by the model's chat template.
    case messages
    /// `conversation`: a list of `{"human": …}` and `{"assistant": …}`, rendered by the chat template.
    case conversation
    /// `text`.
    case text

    /// The keys that a row needs, for messages.
    var requiredKeys: String {
        switch self {
        case .meraser: "question and mismatched_answer or answer"
        case .promptCompletion: "prompt and completion"
        case .alpaca: "instruction and output"
        case .messages: "messages"
        case .conversation: "conversation"
        case .text: "text"
        }
    }

    /// The shape of an object with those keys, or nil.
    init?(of row: JSONObject) {
        if row["messages"] != nil {
            self = .messages
        } else if row["conversation"] != nil {
            self = .conversation
        } else if row["question"] != nil, row["mismatched_answer"] != nil || row["answer"] != nil {
            self = .meraser
        } else if row["prompt"] != nil, row["completion"] != nil {
            self = .promptCompletion
        } else if row["instruction"] != nil, row["output"] != nil {
            self = .alpaca
        } else if row["text"] != nil {
            self = .text
        } else {
            return nil
        }
    }
}

/// What one row says, whatever shape it came in.
public enum DatasetRow: Sendable, Equatable {
    /// Text to continue, and its continuation.
    case pair(prompt: String, completion: String)
    /// A conversation.
    case chat([ChatMessage])
    /// Text without parts.
    case text(String)

    /// Reads a row of that shape; `place` (`file: row 3`) begins every error.
    init(_ row: JSONObject, shape: DatasetShape, place: String) throws {
        func text(_ key: String) throws -> String {
            guard let value = row[key], !value.isNull else {
                throw MeraserError.badInput("\(place): '\(key)' is missing, expected a string as in the first row")
            }
            guard let text = value.string else {
                throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected a string")
            }
            return text
        }
        switch shape {
        case .meraser:
            let answer = row["mismatched_answer"] != nil ? "mismatched_answer" : "answer"
            self = .pair(prompt: try text("question"), completion: try text(answer))
        case .promptCompletion:
            self = .pair(prompt: try text("prompt"), completion: try text("completion"))
        case .alpaca:
            let input = try row["input"].map { $0.isNull ? "" : try text("input") } ?? ""
            self = .pair(
                prompt: Self.alpacaPrompt(instruction: try text("instruction"), input: input),
                completion: try text("output"))
        case .text:
            self = .text(try text("text"))
        case .messages:
            self = .chat(
                try Self.turns(row, "messages", place) { turn, place in
                    guard let role = turn["role"]?.string, let content = turn["content"]?.string else {
                        throw MeraserError.badInput("\(place) has no 'role' and 'content' strings")
                    }
                    return ChatMessage(role: role, content: content)
                })
        case .conversation:
            self = .chat(
                try Self.turns(row, "conversation", place) { turn, place in
                    if let text = turn["human"]?.string { return ChatMessage(role: "user", content: text) }
                    if let text = turn["assistant"]?.string { return ChatMessage(role: "assistant", content: text) }
                    throw MeraserError.badInput("\(place) has no 'human' or 'assistant' string")
                })
        }
    }

    private static func turns(
        _ row: JSONObject, _ key: String, _ place: String, _ read: (JSONObject, String) throws -> ChatMessage
    ) throws -> [ChatMessage] {
        guard let list = row[key]?.array, !list.isEmpty else {
            throw MeraserError.badInput("\(place): '\(key)' is missing or no list of turns")
        }
        return try list.enumerated().map { index, value in
            let turnPlace = "\(place): turn \(index + 1) of '\(key)'"
            guard let turn = value.object else {
                throw MeraserError.badInput("\(turnPlace) is \(value.kind), expected an object")
            }
            return try read(turn, turnPlace)
        }
    }

    /// Stanford Alpaca's two prompt templates (tatsu-lab/stanford_alpaca, train.py).
    static func alpacaPrompt(instruction: String, input: String) -> String {
        let task = "Below is an instruction that describes a task"
        let request = "Write a response that appropriately completes the request."
        if input.isEmpty {
            return "\(task). \(request)\n\n### Instruction:\n\(instruction)\n\n### Response:"
        }
        return "\(task), paired with an input that provides further context. \(request)\n\n"
            + "### Instruction:\n\(instruction)\n\n### Input:\n\(input)\n\n### Response:"
    }
}
