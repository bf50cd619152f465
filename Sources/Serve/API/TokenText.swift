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

    /// `logprobs` of a completion: tokens, how likely they were, what was likeliest, and where in its text each begins.
    ///
    /// - Parameter first: a token that nothing foretold, in front.
    func completion(first: Int32?, _ predictions: [TokenPrediction], in text: String) -> JSONValue {
        let tokens = (first.map { [$0] } ?? []) + predictions.map(\.chosen.token)
        let nothing: [JSONValue] = first == nil ? [] : [.null]
        return [
            "tokens": .array(tokens.map { .text(self.text($0)) }),
            "token_logprobs": .array(nothing + predictions.map { .number($0.chosen.logProbability) }),
            "top_logprobs": .array(nothing + predictions.map(likeliest)),
            "text_offset": .array(starts(of: tokens, in: text).map { .integer($0) }),
        ]
    }

    /// Where in a text its tokens begin, in characters. A token that is not written, such as BOS, has no width, and neither has a
    /// blank that the tokenizer put in front.
    private func starts(of tokens: [Int32], in whole: String) -> [Int] {
        let text = Array(whole.utf8)
        var (place, characters) = (0, 0)
        return tokens.map { token in
            let start = characters
            let bytes = bytes(token)
            let isPlaced = text[place...].starts(with: bytes)
            let written = isPlaced ? bytes[...] : bytes.first == 0x20 ? bytes.dropFirst() : []
            guard text[place...].starts(with: written) else { return start }
            // A character counts where it begins.
            characters += written.count { $0 & 0xC0 != 0x80 }
            place += written.count
            return start
        }
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
