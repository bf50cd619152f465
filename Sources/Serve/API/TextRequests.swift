import Base
import Model

/// The body of an `/apply-template`: what a chat would be asked, as text.
struct TemplateRequest {
    let text: String

    /// Reads a body. Errors: as `ChatRequest`.
    init(_ body: JSONValue, served: ServedModel) throws {
        var settings = try Settings(body, place: "request")
        let model = try served.index(of: settings.text("model"))
        text = try served.prompt(&settings, model: model)
        try settings.requireNothingElse()
    }
}

/// The body of a `/tokenize`.
struct TokenizeRequest {
    let tokens: [Int32]

    /// Reads a body. Error: a bad-input error that names the key.
    init(_ body: JSONValue, served: ServedModel) throws {
        var settings = try Settings(body, place: "request")
        _ = try served.index(of: settings.text("model"))
        guard let content = try settings.text("content") else {
            throw MeraserError.badInput("request: 'content' is missing, expected a text")
        }
        let special = try settings.flag("add_special") ?? false
        try settings.requireNothingElse()
        tokens = served.tokenizer.encode(content, addSpecialTokens: special)
    }
}
