import Base
import Model

/// Tokens as log-probabilities show them.
struct TokenText {
    let tokenizer: Tokenizer

    /// The bytes of a text that a token stands for.
    func bytes(_ token: Int32) -> [UInt8] { tokenizer.spelling(of: token) ?? tokenizer.tokenBytes(token) }

    /// The same as text; bytes that are none as OpenAI writes them.
    func text(_ token: Int32) -> String {
        let bytes = bytes(token)
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return "bytes:" + bytes.map { "\\x" + String(UInt16($0) + 256, radix: 16).dropFirst() }.joined()
    }

    /// `logprobs` of a completion: tokens, how likely they were, what was likeliest, and where each begins.
    ///
    /// - Parameters:
    ///   - first: a token that nothing foretold, in front.
    ///   - offset: where in the answer's text the tokens begin, in characters.
    func completion(first: Int32?, _ predictions: [TokenPrediction], offset: Int) -> JSONValue {
        let tokens = (first.map { [$0] } ?? []) + predictions.map(\.chosen.token)
        let nothing: [JSONValue] = first == nil ? [] : [.null]
        var offsets: [JSONValue] = []
        var place = offset
        for token in tokens {
            offsets.append(.integer(place))
            // Of bytes that end a character the first counts it.
            place += String(decoding: bytes(token), as: UTF8.self).unicodeScalars.count
        }
        return [
            "tokens": .array(tokens.map { .text(text($0)) }),
            "token_logprobs": .array(nothing + predictions.map { .number($0.chosen.logProbability) }),
            "top_logprobs": .array(nothing + predictions.map(likeliest)),
            "text_offset": .array(offsets),
        ]
    }

    /// The likeliest tokens by their text, and the one that came.
    private func likeliest(_ prediction: TokenPrediction) -> JSONValue {
        var object = JSONObject()
        for choice in prediction.likeliest + [prediction.chosen] {
            // Two tokens may have one text; the likelier one stands for it.
            _ = object.append(JSONString(text(choice.token)), .number(choice.logProbability))
        }
        return .object(object)
    }

    /// A token of a chat's `logprobs`.
    func chat(_ prediction: TokenPrediction) -> JSONValue {
        func entry(_ choice: TokenPrediction.Choice) -> [(key: String, value: JSONValue)] {
            [
                ("token", .text(text(choice.token))), ("logprob", .number(choice.logProbability)),
                ("bytes", .array(bytes(choice.token).map { .integer(Int($0)) })),
            ]
        }
        let top = prediction.likeliest.map { JSONValue.object(JSONObject(entry($0))) }
        return .object(JSONObject(entry(prediction.chosen) + [("top_logprobs", .array(top))]))
    }
}
