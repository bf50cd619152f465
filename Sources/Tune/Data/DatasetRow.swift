import Base
import Model

/// What one row says, whatever shape it came in.
public enum DatasetRow: Sendable, Equatable {
    /// Text to continue, and its continuation.
    case pair(prompt: String, completion: String)
    /// A conversation; those of its turns that the assistant says and that are no answers to be learnt.
    case chat(Conversation, unlearnt: Set<Int>)
    /// Text without parts.
    case text(String)

    /// The parts of a text to continue; nil for others.
    public var pair: (prompt: String, completion: String)? {
        if case .pair(let prompt, let completion) = self { (prompt, completion) } else { nil }
    }

    /// True for a conversation.
    var isConversation: Bool {
        if case .chat = self { true } else { false }
    }

    /// Reads a row of that shape; `place` (`file: row 3`) begins every error.
    init(_ row: JSONObject, shape: DatasetShape, place: String) throws {
        try shape.requireKnownKeys(row, place: place)
        let reader = RowReader(row: row, place: place)
        switch shape {
        case .meraser:
            let answer = row["mismatched_answer"]?.isNull == false ? "mismatched_answer" : "answer"
            self = .pair(prompt: try reader.text("question"), completion: try reader.text(answer))
        case .promptCompletion, .promptResponse, .promptChosen:
            self = try reader.answer(shape.answerKey ?? "completion")
        case .alpaca:
            self = .pair(
                prompt: Self.alpacaPrompt(
                    instruction: try reader.text("instruction"), input: try reader.textIfPresent("input") ?? ""),
                completion: try reader.text("output"))
        case .inputOutput:
            self = .pair(prompt: try reader.text("input"), completion: try reader.text("output"))
        case .text:
            self = .text(try reader.text("text"))
        case .questionResponse:
            self = try reader.chat(
                try reader.system("system_prompt") + [
                    ChatTurn(ChatMessage(role: "user", content: try reader.text("question"))),
                    ChatTurn(ChatMessage(role: "assistant", content: try reader.text("response"))),
                ])
        case .messages:
            self = try reader.chat(try reader.turns(.messages))
        case .conversations:
            self = try reader.chat(try reader.system("system") + reader.turns(.conversations), isShareGPT: true)
        case .conversation:
            self = try reader.chat(try reader.turns(.conversation))
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
