import Base
import Quant

/// A model's chat template: the subset of Jinja that such templates are written in, with the settings of Transformers
/// (`trim_blocks`, `lstrip_blocks`, loop controls, `{% generation %}`).
///
/// Supported: output, `for` (with filter and `else`), `if`, `set` (namespaces and blocks too), `break`, `continue`,
/// comments, whitespace signs, expressions with Jinja's precedences, slices, tuples, common filters, tests and methods
/// with exactly their arguments, `raise_exception`, `strftime_now` (on a fixed date: `TemplateClock`), `namespace`,
/// `range`, `dict`. Everything else (macros, includes, …) is refused by name. Hostile templates end in an error:
/// nesting, steps, bytes and output are bounded. Immutable and thread-safe.
public struct ChatTemplate: Sendable {
    /// True if the template itself says with `{% generation %}` which words are the model's own.
    public let marksAnswers: Bool
    private let statements: [TemplateStatement]
    private let file: String
    private let specialTokens: JSONObject
    /// Every name and string in the template's tags: what it may read.
    private let words: Set<String>

    /// Parses a template.
    ///
    /// - Parameters:
    ///   - file: what errors call it.
    ///   - specialTokens: `bos_token` and the like, as `Tokenizer.specialTokens` has them.
    /// - Throws: ``MeraserError`` `badInput` as `file:line: …`, also for what is not supported yet.
    public init(
        source: String, file: String = "chat_template.jinja", specialTokens: JSONObject = JSONObject()
    ) throws {
        self.file = file
        self.specialTokens = specialTokens
        statements = try TemplateParser.parse(source, file: file)
        let tokens = try TemplateLexer.tokens(source, file: file, trims: true)
        words = Set(
            tokens.compactMap { token in
                switch token.kind {
                case .name(let text), .string(let text): text
                default: nil
                }
            })
        marksAnswers = zip(tokens, tokens.dropFirst()).contains {
            $0.kind == .blockBegin && $1.kind == .name("generation")
        }
    }

    /// The template of a model: `chat_template.jinja`, else `chat_template` of tokenizer_config.json (of several, the
    /// one named `default`); nil if the model has none. Throws `badInput` for a malformed one.
    public static func load(
        store: any TextFileSource, specialTokens: JSONObject = JSONObject()
    ) throws -> ChatTemplate? {
        let jinja = "chat_template.jinja"
        let isFile = try store.textFile(jinja) != nil
        guard let sources = try sources(store: store) else { return nil }
        guard let source = sources.first(where: { $0.name == "default" }) else {
            throw MeraserError.badInput("tokenizer_config.json: chat_template lists no template named 'default'")
        }
        return try ChatTemplate(
            source: source.text, file: isFile ? jinja : "chat_template of tokenizer_config.json",
            specialTokens: specialTokens)
    }

    /// The texts of all of a model's templates with their names; the only one is `default`; nil if the model has
    /// none. Throws as `load`.
    static func sources(store: any TextFileSource) throws -> [(name: String, text: String)]? {
        if let bytes = try store.textFile("chat_template.jinja") {
            return [("default", try text(bytes, "chat_template.jinja"))]
        }
        let file = "tokenizer_config.json"
        guard let bytes = try store.textFile(file) else { return nil }
        let config = try JSONValue.parse(bytes, file: file)
        guard let value = try config.value("chat_template", in: file) else { return nil }
        if let source = value.string { return [("default", source)] }
        return try config.array("chat_template", in: file).map {
            (try $0.string("name", in: file), try $0.string("template", in: file))
        }
    }

    /// The text of a conversation.
    ///
    /// - Parameter addGenerationPrompt: end with what makes the model answer.
    /// - Throws: ``MeraserError`` `badInput` with the template's line; also when the template itself refuses the
    ///   conversation.
    public func render(_ conversation: Conversation, addGenerationPrompt: Bool = false) throws -> String {
        try output(conversation, addGenerationPrompt: addGenerationPrompt).text
    }

    /// The text of a conversation with the places of the parts that the template marks as generated.
    func output(_ conversation: Conversation, addGenerationPrompt: Bool) throws -> TemplateOutput {
        var variables: [String: TemplateValue] = ["tools": .none, "documents": .none]
        for (key, value) in specialTokens.members + conversation.variables.members {
            variables[key.string] = TemplateValue(value)
        }
        variables["messages"] = .list(conversation.messages.map { TemplateValue(.object($0.members)) })
        variables["add_generation_prompt"] = .bool(addGenerationPrompt)
        return try TemplateRun.render(statements, variables, file: file)
    }

    /// Refuses a conversation with a member that the template does not read, so that nothing of it vanishes silently.
    /// Members that hold nothing (`null`, an empty list or text) may be there, and so may the role.
    ///
    /// - Throws: a bad-input error that names the turn and the key.
    public func requireReading(_ conversation: Conversation) throws {
        func isUnread(_ key: JSONString, _ value: JSONValue) -> Bool {
            !Self.isEmpty(value) && key != "role" && !words.contains(key.string)
        }
        func refuse(_ key: JSONString, _ place: String, without other: Conversation) throws {
            // A template may also print a turn as a whole.
            guard try render(conversation) == render(other) else { return }
            throw MeraserError.badInput(
                "\(place)'\(key.string)', which the model's \(file) does not read; remove it, or use a template that does"
            )
        }
        for (key, value) in conversation.variables.members where isUnread(key, value) {
            let rest = conversation.variables.members.filter { $0.key != key }.map {
                (key: $0.key.string, value: $0.value)
            }
            try refuse(key, "there is ", without: Conversation(conversation.messages, variables: JSONObject(rest)))
        }
        for (index, message) in conversation.messages.enumerated() {
            for (key, value) in message.members.members where isUnread(key, value) {
                let rest = message.members.members.filter { $0.key != key }.map {
                    (key: $0.key.string, value: $0.value)
                }
                try refuse(
                    key, "turn \(index + 1) has ", without: conversation.with(ChatMessage(JSONObject(rest)), at: index))
            }
        }
    }

    private static func isEmpty(_ value: JSONValue) -> Bool {
        switch value {
        case .null: true
        case .string(let text): text.utf8.isEmpty
        case .array(let elements): elements.isEmpty
        case .object(let object): object.count == 0
        case .bool, .integer, .number: false
        }
    }

    private static func text(_ bytes: [UInt8], _ file: String) throws -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MeraserError.badInput("\(file) is not valid UTF-8")
        }
        return text
    }
}
