import Base
import Foundation
import Model

/// How answers are written: the one thing that completions and chats do not have in common once they are decoded.
struct AnswerShape {
    /// The two routes.
    enum Route {
        /// `/v1/completions`; with `echo` each answer begins with its prompt.
        case completion(prompts: [CompletionRequest.Prompt], echo: Bool)
        /// `/v1/chat/completions`.
        case chat
    }

    let route: Route
    let keys: SamplingKeys
    /// Log-probabilities are given out.
    let shows: Bool
    let tokens: TokenText
    private let id: String
    private let created = Int(Date().timeIntervalSince1970)
    private let name: String

    init(_ route: Route, keys: SamplingKeys, shows: Bool, served: ServedModel) {
        self.route = route
        self.keys = keys
        self.shows = shows
        tokens = TokenText(tokenizer: served.tokenizer)
        name = served.names[keys.model]
        let number = UUID().uuidString.lowercased().replacing("-", with: "")
        switch route {
        case .completion: id = "cmpl-" + number
        case .chat: id = "chatcmpl-" + number
        }
    }

    /// The whole answer; the pieces are those of each sequence.
    func whole(_ pieces: [Reply.Piece], usage: Usage) -> JSONValue {
        let choices = pieces.enumerated().map { index, piece -> JSONValue in
            switch route {
            case .completion: return completion(index, piece, isFirst: true)
            case .chat:
                return choice(index, piece, ("message", ["role": .text("assistant"), "content": .text(piece.text)]))
            }
        }
        return envelope(choices, usage: usage.json, isChunk: false)
    }

    /// What is sent before the first token of a sequence; nil: nothing.
    func opening(_ index: Int) -> JSONValue? {
        guard case .chat = route else { return nil }
        return envelope(
            [choice(index, Reply.Piece(), ("delta", ["role": .text("assistant"), "content": .text("")]))], usage: nil,
            isChunk: true)
    }

    /// A piece of a stream; `isFirst`: of its sequence.
    func chunk(_ index: Int, _ piece: Reply.Piece, isFirst: Bool) -> JSONValue {
        switch route {
        case .completion: return envelope([completion(index, piece, isFirst: isFirst)], usage: nil, isChunk: true)
        case .chat:
            let delta: JSONValue = piece.finish != nil && piece.text.isEmpty ? [:] : ["content": .text(piece.text)]
            return envelope([choice(index, piece, ("delta", delta))], usage: nil, isChunk: true)
        }
    }

    /// The last piece of a stream whose request wants the numbers of tokens.
    func closing(_ usage: Usage) -> JSONValue { envelope([], usage: usage.json, isChunk: true) }

    private func completion(_ index: Int, _ piece: Reply.Piece, isFirst: Bool) -> JSONValue {
        guard case .completion(let prompts, let echo) = route else { return .null }
        let prompt = prompts[index / keys.count]
        let echoes = echo && isFirst
        let text = (echoes ? prompt.text : "") + piece.text
        let logprobs =
            shows
            ? tokens.completion(first: echoes ? prompt.tokens.first : nil, piece.predictions, in: text) : .null
        return [
            "index": .integer(index), "text": .text(text), "logprobs": logprobs,
            "finish_reason": finish(piece),
        ]
    }

    private func choice(_ index: Int, _ piece: Reply.Piece, _ content: (key: String, value: JSONValue)) -> JSONValue {
        let logprobs: JSONValue = shows ? ["content": .array(piece.predictions.map(tokens.chat))] : .null
        return .object(
            JSONObject([
                ("index", .integer(index)), content, ("logprobs", logprobs), ("finish_reason", finish(piece)),
            ]))
    }

    private func finish(_ piece: Reply.Piece) -> JSONValue { piece.finish.map { .text($0.rawValue) } ?? .null }

    private func envelope(_ choices: [JSONValue], usage: JSONValue?, isChunk: Bool) -> JSONValue {
        let object: String
        switch route {
        case .completion: object = "text_completion"
        case .chat: object = isChunk ? "chat.completion.chunk" : "chat.completion"
        }
        var members: [(key: String, value: JSONValue)] = [
            ("id", .text(id)), ("object", .text(object)), ("created", .integer(created)), ("model", .text(name)),
            ("choices", .array(choices)),
        ]
        if let usage { members.append(("usage", usage)) }
        return .object(JSONObject(members))
    }
}
