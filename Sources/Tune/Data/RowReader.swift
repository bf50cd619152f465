import Base
import Model

/// Reads the members of one row; every error begins with its place.
struct RowReader {
    let row: JSONObject
    let place: String

    func text(_ key: String) throws -> String {
        guard let value = row[key], !value.isNull else {
            throw MeraserError.badInput("\(place): '\(key)' is missing, expected a string as in the first row")
        }
        guard let text = value.string else {
            throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected a string")
        }
        return text
    }

    func textIfPresent(_ key: String) throws -> String? {
        try row[key].flatMap { $0.isNull ? nil : try text(key) }
    }

    /// The text as a turn of the system; none where it is missing or empty.
    func system(_ key: String) throws -> [ChatTurn] {
        guard let text = try textIfPresent(key), !text.isEmpty else { return [] }
        return [ChatTurn(ChatMessage(role: "system", content: text))]
    }

    /// The list of turns under the key that a shape of turns is named after.
    func turns(_ shape: ChatTurn.Shape) throws -> [ChatTurn] {
        try ChatTurn.list(row[shape.rawValue], shape, key: shape.rawValue, place: place)
    }

    private func messages(_ key: String) throws -> [ChatTurn] {
        try ChatTurn.list(row[key], .messages, key: key, place: place)
    }

    /// The conversation of those turns, with what the template is given beside them. `isShareGPT`: tools may be bare functions,
    /// as LLaMA-Factory's files have them, and are put into OpenAI's form, which templates are written for.
    func chat(_ turns: [ChatTurn], isShareGPT: Bool = false) throws -> DatasetRow {
        .chat(
            Conversation(turns.map(\.message), variables: try variables(wrapping: isShareGPT)),
            unlearnt: Set(turns.indices.filter { !turns[$0].isLearnt && turns[$0].message.role == "assistant" }))
    }

    /// `prompt` and what follows it under that key: two texts, or two lists of turns of which only the second is learnt.
    /// Of a list without a prompt the turns that the one under `other` begins with too are the prompt, as TRL has it.
    func answer(_ key: String, beside other: String = "rejected") throws -> DatasetRow {
        guard row[key]?.array != nil else {
            if let extra = DatasetShape.templateKeys.first(where: { row[$0].map { !$0.isNull } ?? false }) {
                throw MeraserError.badInput(
                    "\(place): nothing reads '\(extra)' beside texts, which are put into no chat template")
            }
            return .pair(prompt: try text("prompt"), completion: try text(key))
        }
        let answer = try messages(key)
        guard let prompt = row["prompt"], !prompt.isNull else {
            let others = try row[other]?.array.map { _ in try messages(other) } ?? []
            let shared = zip(answer, others).prefix { $0.message == $1.message }.count
            return try chat(unlearnt(answer.prefix(shared)) + answer.dropFirst(shared))
        }
        guard prompt.array != nil else {
            throw MeraserError.badInput(
                "\(place): 'prompt' is \(prompt.kind) and '\(key)' a list of turns, expected two strings or two lists")
        }
        return try chat(unlearnt(try messages("prompt")[...]) + answer)
    }

    private static func wrapped(_ tool: JSONValue) -> JSONValue { ["type": .text("function"), "function": tool] }

    private func unlearnt(_ turns: ArraySlice<ChatTurn>) -> [ChatTurn] {
        turns.map { ChatTurn($0.message, isLearnt: false) }
    }

    /// What the template is given beside the turns, by the names that it knows.
    private func variables(wrapping isBare: Bool = false) throws -> JSONObject {
        func value(_ key: String) throws -> JSONValue? {
            try ChatTurn.written(row[key], place: "\(place): '\(key)'").flatMap { $0.isNull ? nil : $0 }
        }
        var variables: [(key: String, value: JSONValue)] = []
        for key in ["tools", "documents"] {
            guard let value = try value(key) else { continue }
            guard let list = value.array, list.allSatisfy({ $0.object != nil }) else {
                throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected a list of objects")
            }
            let isWrapped = !isBare || key != "tools"
            variables.append(
                (
                    key,
                    isWrapped ? value : .array(list.map { $0["type"]?.string == "function" ? $0 : Self.wrapped($0) })
                ))
        }
        guard let switches = try value("chat_template_kwargs") else { return JSONObject(variables) }
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
}
