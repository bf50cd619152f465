import Base

/// One turn of a conversation, with everything that a chat template may read of it.
public struct ChatMessage: Sendable, Equatable {
    /// `role`, `content` and whatever else the turn has: `tool_calls`, `tool_call_id`, `name`, `reasoning_content`, …
    public let members: JSONObject

    /// A turn with those members.
    public init(_ members: JSONObject) { self.members = members }

    /// A turn with that role and text.
    public init(role: String, content: String) {
        self.init(JSONObject([(key: "role", value: .text(role)), (key: "content", value: .text(content))]))
    }

    /// `system`, `user`, `assistant`, or whatever else the template knows; empty if it is missing.
    public var role: String { members["role"]?.string ?? "" }

    /// The text; of a list of parts the texts of all, empty if there is none.
    public var content: String {
        switch members["content"] {
        case .array(let parts)?: parts.compactMap { $0["text"]?.string }.joined()
        case let content: content?.string ?? ""
        }
    }

    /// The turn with another value for a member.
    func with(_ key: String, _ value: JSONValue) -> ChatMessage {
        ChatMessage(
            JSONObject(members.members.map { (key: $0.key.string, value: $0.key.string == key ? value : $0.value) }))
    }
}

/// A conversation as Transformers' `apply_chat_template` takes it.
public struct Conversation: Sendable, Equatable {
    /// The turns in order.
    public let messages: [ChatMessage]
    /// What else the template is given by name: `tools`, `documents` and its own switches, such as `enable_thinking`.
    public let variables: JSONObject

    /// A conversation of those turns.
    public init(_ messages: [ChatMessage], variables: JSONObject = JSONObject()) {
        self.messages = messages
        self.variables = variables
    }

    /// Its first `count` turns.
    func prefix(_ count: Int) -> Conversation { Conversation(Array(messages[..<count]), variables: variables) }

    /// The same with another turn at `index`.
    func with(_ message: ChatMessage, at index: Int) -> Conversation {
        var messages = messages
        messages[index] = message
        return Conversation(messages, variables: variables)
    }
}
