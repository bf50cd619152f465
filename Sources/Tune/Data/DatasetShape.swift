import Base

/// The shapes of rows that datasets may have; told apart by the keys of the first row.
public enum DatasetShape: String, Sendable, CaseIterable {
    /// `messages`: a list of turns with `role`, `content` and what else the model's chat template reads of them; beside it
    /// `tools`, `documents` and, for the template's own switches, `chat_template_kwargs`.
    case messages
    /// `conversations`: ShareGPT's list of turns with `from` and `value`; beside it `system` and `tools`.
    case conversations
    /// `conversation`: a list of `{"human": …}` and `{"assistant": …}`, rendered by the chat template.
    case conversation
    /// `question` and `mismatched_answer` or `answer`: MEraser's files.
    case meraser
    /// `question`, `response` and optionally `system_prompt`: OpenOrca's conversations.
    case questionResponse = "question/response"
    /// `prompt` and `completion`: texts, or both lists of turns.
    case promptCompletion = "prompt/completion"
    /// `prompt` and `response`; as `prompt` and `completion`.
    case promptResponse = "prompt/response"
    /// `prompt` and `chosen`, as `prompt` and `completion`; or `chosen` alone, a list of turns that begins with the prompt.
    /// `rejected` is what was not chosen: it is never learnt, but what `objective` dpo compares with.
    case promptChosen = "prompt/chosen"
    /// `instruction`, `output` and optionally `input`: Stanford Alpaca's files.
    case alpaca
    /// `input` and `output`: texts.
    case inputOutput = "input/output"
    /// `text`.
    case text

    /// The keys that a row needs, for messages.
    var requiredKeys: String {
        switch self {
        case .meraser: "question and mismatched_answer or answer"
        case .questionResponse: "question and response"
        case .promptCompletion: "prompt and completion"
        case .promptResponse: "prompt and response"
        case .promptChosen: "prompt and chosen"
        case .alpaca: "instruction and output"
        case .inputOutput: "input and output"
        case .messages, .conversations, .conversation, .text: rawValue
        }
    }

    /// The key of what follows `prompt`, in the shapes that have one.
    var answerKey: String? {
        switch self {
        case .promptCompletion: "completion"
        case .promptResponse: "response"
        case .promptChosen: "chosen"
        default: nil
        }
    }

    /// What a chat template may be given beside the turns.
    static let templateKeys = ["tools", "documents", "chat_template_kwargs"]

    /// The keys of which a row is made.
    private var usedKeys: [String] {
        switch self {
        case .meraser: ["question", "mismatched_answer", "answer"]
        case .questionResponse: ["system_prompt", "question", "response"]
        case .promptCompletion: ["prompt", "completion"] + Self.templateKeys
        case .promptResponse: ["prompt", "response"] + Self.templateKeys
        case .promptChosen: ["prompt", "chosen", "rejected"] + Self.templateKeys
        case .alpaca: ["instruction", "input", "output"]
        case .inputOutput: ["input", "output"]
        case .messages: ["messages"] + Self.templateKeys
        case .conversations: ["conversations", "system"] + Self.templateKeys
        case .conversation: ["conversation"]
        case .text: ["text"]
        }
    }

    /// Refuses a row with a key that nothing reads.
    func requireKnownKeys(_ row: JSONObject, place: String) throws {
        try RowKeys.refuseUnknown(in: row, used: usedKeys, shape: rawValue, place: place) { unknown in
            "if it is not to be read, say so: `remove_columns` "
                + unknown.joined(separator: ",").shortened(to: 120)
        }
        if self == .meraser, row["mismatched_answer"]?.isNull == false, row["answer"]?.isNull == false {
            throw MeraserError.badInput("\(place) has both 'mismatched_answer' and 'answer', expected one of them")
        }
    }

    /// The shape of an object with those keys, or nil.
    init?(of row: JSONObject) {
        func has(_ keys: String...) -> Bool { keys.allSatisfy { row[$0] != nil } }
        if has("messages") {
            self = .messages
        } else if has("conversations") {
            self = .conversations
        } else if has("conversation") {
            self = .conversation
        } else if has("question"), has("mismatched_answer") || has("answer") {
            self = .meraser
        } else if has("question", "response") {
            self = .questionResponse
        } else if has("prompt", "completion") {
            self = .promptCompletion
        } else if has("prompt", "response") {
            self = .promptResponse
        } else if has("prompt", "chosen") || row["chosen"]?.array != nil {
            self = .promptChosen
        } else if has("instruction", "output") {
            self = .alpaca
        } else if has("input", "output") {
            self = .inputOutput
        } else if has("text") {
            self = .text
        } else {
            return nil
        }
    }
}
