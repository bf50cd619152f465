import Base
import Model

/// The body of a `/v1/chat/completions`.
struct ChatRequest {
    /// What all requests have.
    let keys: SamplingKeys
    /// The conversation's tokens, up to where the answer begins.
    let tokens: [Int32]
    /// How many of the likeliest tokens stand beside each; nil: no log-probabilities.
    let logprobs: Int?

    /// Reads a body.
    ///
    /// - Throws: a bad-input error that names the key, a usage error for a model without a chat template, what the template
    ///   throws, an `APIError` for a model that is not there.
    init(_ body: JSONValue, served: ServedModel) throws {
        var settings = try Settings(body, place: "request")
        keys = try SamplingKeys(&settings, served: served)
        let text = try served.prompt(&settings, model: keys.model)
        let shows = try settings.flag("logprobs") ?? false
        let top = try settings.int("top_logprobs", in: 0...20)
        guard shows || top == nil else { throw MeraserError.badInput("request: 'top_logprobs' needs 'logprobs': true") }
        logprobs = shows ? top ?? 0 : nil
        if var format = try settings.section("response_format") {
            guard try format.text("type") == "text" else {
                throw MeraserError.badInput(
                    "request: 'response_format' is something else than text, which is not enforced here")
            }
            try format.requireNothingElse()
        }
        try settings.requireNothingElse()
        tokens = served.tokenizer.encode(text, addSpecialTokens: false)
    }

    /// The sequences that it asks for.
    func sequences(_ served: ServedModel) throws -> [DecodingRequest] {
        try served.sequences(
            of: tokens, index: 0, maxTokens: keys.maxTokens, keys: keys, shown: logprobs == nil ? .nothing : .output)
    }
}

extension ServedModel {
    /// The text of a request's `messages`, with its tools, in the chat template, up to where the answer begins.
    func prompt(_ settings: inout Settings, model: Int) throws -> String {
        let turns = try ChatTurn.list(settings.value("messages"), .messages, key: "messages", place: "request")
        let conversation = Conversation(turns.map(\.message), variables: try Self.variables(&settings))
        guard let chatTemplate else {
            throw MeraserError.usage("\(names[model]) has no chat template; use /v1/completions")
        }
        try chatTemplate.requireReading(conversation)
        return try chatTemplate.render(conversation, addGenerationPrompt: true)
    }

    /// What else the template is given: the tools, and `chat_template_kwargs`.
    private static func variables(_ settings: inout Settings) throws -> JSONObject {
        var members: [(key: String, value: JSONValue)] = []
        if let tools = settings.value("tools"), tools.array?.isEmpty != true {
            guard tools.array != nil else {
                throw MeraserError.badInput("request: 'tools' is \(tools.kind), expected a list")
            }
            let choice = settings.value("tool_choice")
            switch choice?.string {
            case "none": break
            case "auto": members.append(("tools", tools))
            case nil where choice == nil: members.append(("tools", tools))
            default:
                throw MeraserError.badInput("request: 'tool_choice' is neither auto nor none; no call is enforced here")
            }
        }
        if let more = try settings.section("chat_template_kwargs") {
            members += more.rest().filter { $0.key != "tools" }
        }
        return JSONObject(members)
    }
}
