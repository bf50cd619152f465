import Quant

/// One turn of a conversation.
public struct ChatMessage: Sendable, Equatable {
    /// `system`, `user`, `assistant`, or whatever else the template knows.
    public let role: String
    /// The text.
    public let content: String

    /// A turn with that role and text.
    public init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// A model's chat template: the subset of Jinja that such templates are written in, with the settings of Transformers
/// (`trim_blocks`, `lstrip_blocks`, loop controls).
///
/// Supported: output, `for` (with filter and `else`), `if`, `set` (namespaces and blocks too), `break`, `continue`,
/// comments, whitespace signs, expressions with Jinja's precedences, slices, common filters, tests and methods,
/// `raise_exception`, `namespace`, `range`, `dict`. Everything else (macros, includes, …) is refused by name.
/// Hostile templates end in an error: nesting, steps and output are bounded. Immutable and thread-safe.
public struct ChatTemplate: Sendable {
    private let statements: [TemplateStatement]
    private let file: String

    /// Parses a template. Throws ``MeraserError`` `badInput` as `file:line: …`, also for what is not supported yet.
    public init(source: String, file: String = "chat_template.jinja") throws {
        self.file = file
        statements = try TemplateParser.parse(source, file: file)
    }

    /// The template of a model: `chat_template.jinja`, else `chat_template` of tokenizer_config.json (of several, the
    /// one named `default`); nil if the model has none. Throws `badInput` for a malformed one.
    public static func load(store: any TextFileSource) throws -> ChatTemplate? {
        if let bytes = try store.textFile("chat_template.jinja") {
            return try ChatTemplate(source: try text(bytes, "chat_template.jinja"), file: "chat_template.jinja")
        }
        let file = "tokenizer_config.json"
        guard let bytes = try store.textFile(file) else { return nil }
        let config = try JSONValue.parse(bytes, file: file)
        guard let value = try config.value("chat_template", in: file) else { return nil }
        let name = "chat_template of \(file)"
        if let source = value.string { return try ChatTemplate(source: source, file: name) }
        for entry in try config.array("chat_template", in: file) where try entry.string("name", in: file) == "default" {
            return try ChatTemplate(source: try entry.string("template", in: file), file: name)
        }
        throw MeraserError.badInput("\(file): chat_template lists no template named 'default'")
    }

    /// The text of a conversation.
    /// - Parameters:
    ///   - messages: the turns in order.
    ///   - addGenerationPrompt: end with what makes the model answer.
    ///   - bosToken: the text of BOS, empty if there is none.
    ///   - eosToken: the text of EOS, empty if there is none.
    /// - Throws: ``MeraserError`` `badInput` with the template's line; also when the template itself refuses the
    ///   conversation.
    public func render(
        messages: [ChatMessage], addGenerationPrompt: Bool, bosToken: String, eosToken: String
    ) throws -> String {
        let turns = messages.map {
            TemplateValue.dictionary([("role", .string($0.role)), ("content", .string($0.content))])
        }
        return try TemplateRun.render(
            statements,
            [
                "messages": .list(turns), "add_generation_prompt": .bool(addGenerationPrompt),
                "bos_token": .string(bosToken), "eos_token": .string(eosToken), "tools": .none, "documents": .none,
            ], file: file)
    }

    private static func text(_ bytes: [UInt8], _ file: String) throws -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MeraserError.badInput("\(file) is not valid UTF-8")
        }
        return text
    }
}
