import Base
import Model

/// The shapes of rows that datasets may have; told apart by the keys of the first row.
public enum DatasetShape: String, Sendable, CaseIterable {
    /// `question` and `mismatched_answer` or `answer`: MEraser's files.
    case meraser
    /// `prompt` and `completion`.
    case promptCompletion = "prompt/completion"
    /// `instruction`, `output` and optionally `input`: Stanford Alpaca's files.
    case alpaca
    /// `messages`: a list of turns with `role`, `content` and what else the model's chat template reads of them; beside it
    /// `tools`, `documents` and, for the template's own switches, `chat_template_kwargs`.
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

    /// The keys of which a row is made.
    private var usedKeys: [String] {
        switch self {
        case .meraser: ["question", "mismatched_answer", "answer"]
        case .promptCompletion: ["prompt", "completion"]
        case .alpaca: ["instruction", "input", "output"]
        case .messages: ["messages", "tools", "documents", "chat_template_kwargs"]
        case .conversation: ["conversation"]
        case .text: ["text"]
        }
    }

    /// Refuses a row with a key that nothing reads.
    func requireKnownKeys(_ row: JSONObject, place: String) throws {
        try RowKeys.refuseUnknown(in: row, used: usedKeys, shape: rawValue, place: place)
        if self == .meraser, row["mismatched_answer"]?.isNull == false, row["answer"]?.isNull == false {
            throw MeraserError.badInput("\(place) has both 'mismatched_answer' and 'answer', expected one of them")
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
    case chat(Conversation)
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
        try shape.requireKnownKeys(row, place: place)
        switch shape {
        case .meraser:
            let answer = row["mismatched_answer"]?.isNull == false ? "mismatched_answer" : "answer"
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
            let messages = try Self.turns(row, "messages", place).map { try Self.message($0.turn, $0.place) }
            self = .chat(Conversation(messages, variables: try Self.variables(row, place)))
        case .conversation:
            self = .chat(
                Conversation(try Self.turns(row, "conversation", place).flatMap { try Self.spoken($0.turn, $0.place) }))
        }
    }

    /// A turn in OpenAI's shape; which of its members count is the template's affair.
    private static func message(_ turn: JSONObject, _ place: String) throws -> ChatMessage {
        guard turn["role"]?.string != nil else {
            throw MeraserError.badInput("\(place) has no 'role' that is a string")
        }
        switch turn["content"] {
        case .string?, .array?: break
        case nil, .null?:
            guard turn["tool_calls"]?.array?.isEmpty == false else {
                throw MeraserError.badInput("\(place) has no 'content' and no 'tool_calls'")
            }
        case let content?:
            throw MeraserError.badInput("\(place): 'content' is \(content.kind), expected a string or a list of parts")
        }
        return ChatMessage(turn)
    }

    /// `{"human": …}`, `{"assistant": …}`, or both in one.
    private static func spoken(_ turn: JSONObject, _ place: String) throws -> [ChatMessage] {
        let roles = ["human": "user", "assistant": "assistant"]
        for (key, value) in turn.members where roles[key.string] == nil && !value.isNull {
            throw MeraserError.badInput(
                "\(place): nothing reads '\(key.string)', expected human or assistant; remove it")
        }
        let messages = ["human", "assistant"].compactMap { key in
            turn[key]?.string.map { ChatMessage(role: roles[key] ?? key, content: $0) }
        }
        let isText = turn.members.allSatisfy { $0.value.isNull || $0.value.string != nil }
        guard !messages.isEmpty, isText else {
            throw MeraserError.badInput("\(place) has no 'human' or 'assistant' string")
        }
        return messages
    }

    /// What the template is given beside the turns, by the names that it knows.
    private static func variables(_ row: JSONObject, _ place: String) throws -> JSONObject {
        var variables: [(key: String, value: JSONValue)] = []
        for key in ["tools", "documents"] {
            guard let value = row[key], !value.isNull else { continue }
            guard let list = value.array, list.allSatisfy({ $0.object != nil }) else {
                throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected a list of objects")
            }
            variables.append((key, value))
        }
        guard let switches = row["chat_template_kwargs"], !switches.isNull else { return JSONObject(variables) }
        guard let members = switches.object?.members else {
            throw MeraserError.badInput("\(place): 'chat_template_kwargs' is \(switches.kind), expected an object")
        }
        for (key, value) in members {
            guard !["messages", "tools", "documents", "add_generation_prompt"].contains(key.string) else {
                throw MeraserError.badInput(
                    "\(place): 'chat_template_kwargs' sets '\(key.string)', which the row itself does")
            }
            variables.append((key.string, value))
        }
        return JSONObject(variables)
    }

    private static func turns(
        _ row: JSONObject, _ key: String, _ place: String
    ) throws -> [(turn: JSONObject, place: String)] {
        guard let list = row[key]?.array, !list.isEmpty else {
            throw MeraserError.badInput("\(place): '\(key)' is missing or no list of turns")
        }
        return try list.enumerated().map { index, value in
            let turnPlace = "\(place): turn \(index + 1) of '\(key)'"
            guard let turn = value.object else {
                throw MeraserError.badInput("\(turnPlace) is \(value.kind), expected an object")
            }
            return (turn, turnPlace)
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
