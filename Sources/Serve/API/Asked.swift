import Base
import Model

/// What the body of a posted request asks for.
enum Asked {
    /// `/apply-template`: a chat as text.
    case text(String)
    /// `/tokenize`.
    case tokens([Int32])
    /// Completions and chats: sequences, and how they are answered.
    case answer(Answer)

    /// Sequences that a model decodes, and how they are written.
    struct Answer {
        let sequences: [DecodingRequest]
        let shape: AnswerShape
        /// How many of the likeliest tokens stand beside each.
        let top: Int
        let promptTokens: Int
    }

    /// Where it was posted; the first two as llama-server has them.
    enum Path: String, CaseIterable {
        case template = "/apply-template"
        case tokenize = "/tokenize"
        case completions = "/v1/completions"
        case chats = "/v1/chat/completions"
    }

    /// Reads a body.
    ///
    /// - Throws: a bad-input error for what is no JSON or names a key, and what the four requests throw.
    init(_ path: Path, _ bytes: [UInt8], served: ServedModel) throws {
        let body = try JSONValue.parse(bytes, file: "request")
        switch path {
        case .template: self = .text(try TemplateRequest(body, served: served).text)
        case .tokenize: self = .tokens(try TokenizeRequest(body, served: served).tokens)
        case .completions:
            let asked = try CompletionRequest(body, served: served)
            let route = AnswerShape.Route.completion(prompts: asked.prompts, echo: asked.echo)
            self = .answer(
                Answer(
                    sequences: try asked.sequences(served),
                    shape: AnswerShape(route, keys: asked.keys, shows: asked.logprobs != nil, served: served),
                    top: asked.logprobs ?? 0, promptTokens: asked.prompts.reduce(0) { $0 + $1.tokens.count }))
        case .chats:
            let asked = try ChatRequest(body, served: served)
            self = .answer(
                Answer(
                    sequences: try asked.sequences(served),
                    shape: AnswerShape(.chat, keys: asked.keys, shows: asked.logprobs != nil, served: served),
                    top: asked.logprobs ?? 0, promptTokens: asked.tokens.count))
        }
    }
}
