import Base
import Model
import Quant

/// The body of a `/v1/completions`.
struct CompletionRequest {
    /// What all requests have.
    let keys: SamplingKeys
    /// The prompts, each as a text or as tokens.
    let prompts: [Prompt]
    /// The answer begins with the prompt.
    let echo: Bool
    /// How many of the likeliest tokens stand beside each; nil: no log-probabilities.
    let logprobs: Int?

    /// A prompt as it was given.
    struct Prompt {
        /// Its text.
        let text: String
        /// Its tokens, special ones included.
        let tokens: [Int32]
    }

    private static let maximumPrompts = 256

    /// Reads a body.
    ///
    /// - Throws: a bad-input error that names the key, an `APIError` for a model that is not there.
    init(_ body: JSONValue, served: ServedModel) throws {
        var settings = try Settings(body, place: "request")
        keys = try SamplingKeys(&settings, served: served)
        let value = settings.value("prompt")
        prompts = try Self.prompts(value, served.tokenizer)
        echo = try settings.flag("echo") ?? false
        logprobs = try settings.int("logprobs", in: 0...20)
        if let best = try settings.int("best_of", in: 1...64), best != keys.count {
            throw MeraserError.badInput(
                "request: 'best_of' is \(best), expected what 'n' is; this server ranks no answers")
        }
        try settings.requireNothingElse()
        guard prompts.count * keys.count <= Self.maximumPrompts else {
            throw MeraserError.badInput(
                "request: \(prompts.count) prompts × \(keys.count) answers, expected \(Self.maximumPrompts) in all at most"
            )
        }
    }

    /// The sequences that it asks for, the answers to a prompt behind each other.
    func sequences(_ served: ServedModel) throws -> [DecodingRequest] {
        let wanted = keys.maxTokens ?? 16
        let shown: DecodingRequest.Shown = logprobs == nil ? .nothing : echo ? .everything : .output
        return try prompts.enumerated().flatMap { index, prompt in
            try served.sequences(
                of: prompt.tokens, index: index, maxTokens: wanted, keys: keys, shown: shown)
        }
    }

    /// A text, several, tokens, or several lists of them.
    private static func prompts(_ value: JSONValue?, _ tokenizer: Tokenizer) throws -> [Prompt] {
        func spelled(_ tokens: [Int32]) -> Prompt { Prompt(text: tokenizer.decode(tokens), tokens: tokens) }
        func text(_ text: String) -> Prompt { Prompt(text: text, tokens: tokenizer.encode(text)) }
        func tokens(_ list: [JSONValue]) throws -> [Int32] {
            try list.map {
                guard let id = $0.int.flatMap(Int32.init(exactly:)) else {
                    throw MeraserError.badInput("request: a token of 'prompt' is \($0.kind), expected a token id")
                }
                return id
            }
        }
        switch value {
        case .string(let single)?: return [text(single.string)]
        case .array(let list)? where list.first?.int != nil: return [spelled(try tokens(list))]
        case .array(let list)? where !list.isEmpty:
            return try list.map {
                if let single = $0.string { return text(single) }
                guard let ids = $0.array else {
                    throw MeraserError.badInput(
                        "request: 'prompt' has \($0.kind), expected texts or lists of token ids")
                }
                return spelled(try tokens(ids))
            }
        default:
            throw MeraserError.badInput(
                "request: 'prompt' is \(value?.kind ?? "missing"), expected a text, token ids, or a list of either")
        }
    }
}

extension ServedModel {
    /// A prompt's sequences, as many as answers are wanted; the answer's number keys its samples.
    func sequences(
        of tokens: [Int32], index: Int, maxTokens: Int?, keys: SamplingKeys, shown: DecodingRequest.Shown
    ) throws -> [DecodingRequest] {
        let options = GenerationOptions(maxNewTokens: maxTokens ?? transformer.spec.maxPositionEmbeddings)
        let limit = try transformer.limit(of: GenerationRequest(prompt: tokens), index: index, options: options)
        return (0..<keys.count).map {
            DecodingRequest(
                prompt: tokens, limit: limit, stopTokens: transformer.stopTokens, sampler: Sampler(keys.sampling),
                number: $0, shown: shown)
        }
    }
}
