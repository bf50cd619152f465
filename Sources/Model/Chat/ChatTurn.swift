import Base

/// A turn of a conversation as files of rows have it.
public struct ChatTurn: Sendable, Equatable {
    /// The turn as a chat template takes it.
    public let message: ChatMessage
    /// False for an answer that is not to be learnt: files of OpenAI's and SlimOrca's shapes have `weight` 0 there.
    public let isLearnt: Bool

    /// A turn.
    public init(_ message: ChatMessage, isLearnt: Bool = true) {
        (self.message, self.isLearnt) = (message, isLearnt)
    }

    /// How turns are written; the case's name is the row's key.
    public enum Shape: String, Sendable, CaseIterable {
        /// OpenAI's: `role`, `content` and whatever a template may read beside them.
        case messages
        /// ShareGPT's: `from` and `value`; or OpenAI's.
        case conversations
        /// UTF's: `human`, `assistant`, or both in one.
        case conversation
    }

    /// Reads a list of turns, or a text that is one in JSON (as tables have it).
    ///
    /// - Parameters:
    ///   - value: the list; nil: it is missing.
    ///   - key: what errors call it, behind `place`.
    /// - Throws: a bad-input error that names the turn, what is wrong with it and what was expected; an empty list is one.
    public static func list(_ value: JSONValue?, _ shape: Shape, key: String, place: String) throws -> [ChatTurn] {
        guard let list = try written(value, place: "\(place): '\(key)'")?.array, !list.isEmpty else {
            throw MeraserError.badInput("\(place): '\(key)' is missing or no list of turns")
        }
        return try list.enumerated().flatMap { index, value in
            let turnPlace = "\(place): turn \(index + 1) of '\(key)'"
            guard let turn = value.object else {
                throw MeraserError.badInput("\(turnPlace) is \(value.kind), expected an object")
            }
            switch shape {
            case .messages: return [try openAI(turn, turnPlace)]
            case .conversations: return [try shareGPT(turn, turnPlace)]
            case .conversation: return try spoken(turn, turnPlace)
            }
        }
    }

    /// A value that a table, or whoever had to store it as a text, has as JSON; nil for a text without any.
    ///
    /// - Throws: a bad-input error for a text that is no JSON.
    public static func written(_ value: JSONValue?, place: String) throws -> JSONValue? {
        guard case .string(let text)? = value else { return value }
        guard text.utf8.contains(where: { $0 != 0x20 }) else { return nil }
        return try JSONValue.parse(text.utf8, file: place)
    }

    private static func openAI(_ turn: JSONObject, _ place: String) throws -> ChatTurn {
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
        guard turn["weight"] != nil else { return ChatTurn(ChatMessage(turn)) }
        let rest = turn.members.filter { $0.key != "weight" }.map { (key: $0.key.string, value: $0.value) }
        return ChatTurn(ChatMessage(JSONObject(rest)), isLearnt: try isLearnt(turn, place))
    }

    /// What ShareGPT's files call who speaks.
    private static let speakers = [
        "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
        "system": "system", "tool": "tool", "observation": "tool", "function_call": "assistant",
    ]

    private static func shareGPT(_ turn: JSONObject, _ place: String) throws -> ChatTurn {
        if turn["from"] == nil, turn["role"] != nil { return try openAI(turn, place) }
        for (key, value) in turn.members where !["from", "value", "weight"].contains(key.string) && !value.isNull {
            throw MeraserError.badInput(
                "\(place): nothing reads \(quoted(key.string)), expected from, value and weight; remove it")
        }
        guard let speaker = turn["from"]?.string, let text = turn["value"]?.string else {
            throw MeraserError.badInput("\(place) has no 'from' and 'value' that are strings")
        }
        guard let role = speakers[speaker] else {
            throw MeraserError.badInput(
                "\(place): 'from' is \(quoted(speaker)), expected one of "
                    + speakers.keys.sorted().joined(separator: " "))
        }
        if speaker == "function_call" {
            return ChatTurn(try calling(text, place), isLearnt: try isLearnt(turn, place))
        }
        return ChatTurn(ChatMessage(role: role, content: text), isLearnt: try isLearnt(turn, place))
    }

    /// LLaMA-Factory's calls: JSON of one `{"name": …, "arguments": …}`, or of a list of them.
    private static func calling(_ text: String, _ place: String) throws -> ChatMessage {
        let written = try JSONValue.parse(Array(text.utf8), file: "\(place): 'value'")
        let calls: [JSONValue] = try (written.array ?? [written]).map { call in
            guard call["name"]?.string != nil, call["arguments"] != nil, call.object?.count == 2 else {
                throw MeraserError.badInput("\(place): 'value' is no call, expected JSON with a name and arguments")
            }
            return ["type": .text("function"), "function": call]
        }
        guard !calls.isEmpty else { throw MeraserError.badInput("\(place): 'value' has no call") }
        return ChatMessage(
            JSONObject([
                (key: "role", value: .text("assistant")), (key: "content", value: .text("")),
                (key: "tool_calls", value: .array(calls)),
            ]))
    }

    private static func isLearnt(_ turn: JSONObject, _ place: String) throws -> Bool {
        guard let weight = turn["weight"], !weight.isNull else { return true }
        guard let number = weight.double, number == 0 || number == 1 else {
            throw MeraserError.badInput("\(place): 'weight' is \(weight.serialized()), expected 0 or 1")
        }
        return number == 1
    }

    private static func spoken(_ turn: JSONObject, _ place: String) throws -> [ChatTurn] {
        let roles = ["human": "user", "assistant": "assistant"]
        for (key, value) in turn.members where roles[key.string] == nil && !value.isNull {
            throw MeraserError.badInput(
                "\(place): nothing reads '\(key.string)', expected human or assistant; remove it")
        }
        let turns = ["human", "assistant"].compactMap { key in
            turn[key]?.string.map { ChatTurn(ChatMessage(role: roles[key] ?? key, content: $0)) }
        }
        let isText = turn.members.allSatisfy { $0.value.isNull || $0.value.string != nil }
        guard !turns.isEmpty, isText else {
            throw MeraserError.badInput("\(place) has no 'human' or 'assistant' string")
        }
        return turns
    }
}
