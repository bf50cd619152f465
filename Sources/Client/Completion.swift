import Base
import Model

/// What a server is to go on with.
enum RemotePrompt: Sendable {
    /// A text, by `/completions`; special tokens are added as the server's tokenizer adds them.
    case text(String)
    /// A conversation, by `/chat/completions`; the server's own template is applied.
    case messages([ChatMessage])
}

/// What a model is to write.
struct CompletionRequest: Sendable {
    var prompt: RemotePrompt
    var maxTokens: Int
    /// 0: greedy.
    var temperature = 0.0
    /// Of what is drawn; nil: none is sent.
    var seed: Int?
    /// Texts that end an answer.
    var stop: [String] = []
    /// Repeat the prompt with its log-probabilities.
    var echoes = false
    /// The likeliest tokens whose log-probabilities are wanted at each place; nil: no log-probabilities.
    var logProbabilities: Int?

    /// The most texts in `stop` that OpenAI's servers take.
    static let mostStops = 4

    var path: String {
        switch prompt {
        case .text: "/completions"
        case .messages: "/chat/completions"
        }
    }

    /// The body, `model` being the name that the server knows.
    func body(model: String) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [("model", .text(model))]
        switch prompt {
        case .text(let text): members.append(("prompt", .text(text)))
        case .messages(let turns): members.append(("messages", .array(turns.map { .object($0.members) })))
        }
        members += [("max_tokens", .integer(maxTokens)), ("temperature", .real(temperature))]
        if let seed { members.append(("seed", .integer(seed))) }
        if !stop.isEmpty { members.append(("stop", .array(stop.prefix(Self.mostStops).map { .text($0) }))) }
        if echoes { members.append(("echo", .bool(true))) }
        if let logProbabilities {
            switch prompt {
            case .text: members.append(("logprobs", .integer(logProbabilities)))
            case .messages:
                members += [("logprobs", .bool(true)), ("top_logprobs", .integer(logProbabilities))]
            }
        }
        return .object(JSONObject(members))
    }
}

/// What a server wrote.
struct Completion: Sendable {
    /// The text.
    let text: String
    /// Log-probabilities; nil: it gave none.
    let tokens: [RemoteToken]?

    /// Reads the first choice of an answer.
    ///
    /// - Throws: a bad-input error for what is not there or of another type.
    init(_ answer: JSONValue, place: String) throws {
        guard let choice = try answer.array("choices", in: place).first, choice.object != nil else {
            throw MeraserError.badInput("\(place): 'choices' has no object in it")
        }
        if let message = try choice.objectIfPresent("message", in: place) {
            text = try JSONValue.object(message).stringIfPresent("content", in: place) ?? ""
        } else {
            text = try choice.string("text", in: place)
        }
        let logprobs = try choice.objectIfPresent("logprobs", in: place).map { JSONValue.object($0) }
        tokens = try logprobs.flatMap { try RemoteToken.list($0, place: place) }
    }
}

/// A token of an answer, or of the prompt that it repeats.
struct RemoteToken: Sendable, Equatable {
    /// Its text.
    let text: String
    /// ln p; nil: it is not known, as of a text's first token.
    let logProbability: Double?
    /// ln p of the likeliest token in its place; nil: it is not known.
    let best: Double?
    /// Where it begins in the text, in the server's unit; nil: the server does not say.
    let offset: Int?

    /// The tokens of a `logprobs` of either endpoint; nil where it has none.
    ///
    /// - Throws: a bad-input error for lists of different lengths, other types, and numbers that are no log-probabilities.
    static func list(_ logprobs: JSONValue, place: String) throws -> [RemoteToken]? {
        if let content = try logprobs.arrayIfPresent("content", in: place) {
            return try content.map { entry in
                let top = try entry.arrayIfPresent("top_logprobs", in: place)?.compactMap {
                    try number($0.value("logprob", in: place), place)
                }
                return RemoteToken(
                    text: try entry.string("token", in: place),
                    logProbability: try number(entry.value("logprob", in: place), place), best: top?.max(), offset: nil)
            }
        }
        guard let tokens = try logprobs.arrayIfPresent("tokens", in: place) else { return nil }
        let values = try logprobs.array("token_logprobs", in: place)
        let top = try logprobs.arrayIfPresent("top_logprobs", in: place)
        let offsets = try logprobs.arrayIfPresent("text_offset", in: place)
        guard values.count == tokens.count, top.map({ $0.count == tokens.count }) ?? true,
            offsets.map({ $0.count == tokens.count }) ?? true
        else {
            throw MeraserError.badInput(
                "\(place): \(tokens.count) tokens with \(values.count) token_logprobs, \(top?.count ?? 0) top_logprobs and "
                    + "\(offsets?.count ?? 0) text_offset; expected as many")
        }
        return try tokens.indices.map { index in
            guard let text = tokens[index].string else {
                throw MeraserError.badInput("\(place): a token is \(tokens[index].kind), expected a string")
            }
            let likeliest = try top?[index].object?.members.compactMap { try number($0.value, place) }.max()
            return RemoteToken(
                text: text, logProbability: try number(values[index], place), best: likeliest,
                offset: offsets?[index].int)
        }
    }

    private static func number(_ value: JSONValue?, _ place: String) throws -> Double? {
        guard let value, !value.isNull else { return nil }
        guard let number = value.double, number <= 0.01 else {
            throw MeraserError.badInput(
                "\(place): a log-probability is \(value.double.map { "\($0)" } ?? value.kind), expected a number up to 0"
            )
        }
        return min(number, 0)
    }
}
