import Base
import Model

/// What completions and chats are asked for alike.
struct SamplingKeys {
    /// The number of the model.
    let model: Int
    /// New tokens at most, if the request says so.
    let maxTokens: Int?
    /// Temperature, nucleus, seed.
    let sampling: SamplingOptions
    /// Texts that end an answer, and are not part of it.
    let stop: [String]
    /// Answers to each prompt.
    let count: Int
    /// Tokens are sent as they come.
    let streams: Bool
    /// A stream ends with the numbers of tokens.
    let includesUsage: Bool

    /// Takes them out of a request; what OpenAI's API knows and this server does not do is refused by name, unless it asks for
    /// what is done anyway.
    init(_ settings: inout Settings, served: ServedModel) throws {
        model = try served.index(of: settings.text("model"))
        let old = try settings.int("max_tokens", in: 0...1 << 20)
        let new = try settings.int("max_completion_tokens", in: 0...1 << 20)
        guard old == nil || new == nil || old == new else {
            throw MeraserError.badInput("request: 'max_tokens' and 'max_completion_tokens' differ; give one")
        }
        maxTokens = new ?? old
        let temperature = try Self.number(&settings, "temperature", in: 0...100) ?? 1
        let topP = try Self.number(&settings, "top_p", in: 0...1) ?? 1
        guard topP > 0 else { throw MeraserError.badInput("request: 'top_p' is 0, expected more than 0, at most 1") }
        let topK = try settings.int("top_k", in: 0...1 << 20) ?? 0
        let seed = try settings.int("seed", in: Int.min...Int.max)
        sampling = SamplingOptions(
            temperature: temperature, topP: topP, topK: topK,
            seed: seed.map { UInt64(bitPattern: Int64($0)) } ?? UInt64.random(in: .min ... .max))
        stop = try settings.texts("stop") ?? []
        guard stop.count <= 16, stop.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 1024 }) else {
            throw MeraserError.badInput(
                "request: 'stop' has an empty text, one of over 1024 bytes, or more than 16 of them")
        }
        count = try settings.int("n", in: 1...64) ?? 1
        streams = try settings.flag("stream") ?? false
        var options = try settings.section("stream_options")
        includesUsage = try options?.flag("include_usage") ?? false
        try options?.requireNothingElse()
        for key in ["presence_penalty", "frequency_penalty"] {
            guard try settings.number(key) ?? 0 == 0 else { throw Self.unsupported(key) }
        }
        if let bias = settings.value("logit_bias"), bias.object?.count != 0 { throw Self.unsupported("logit_bias") }
    }

    private static func unsupported(_ key: String) -> MeraserError {
        .badInput("request: this server has no '\(key)'; leave it out")
    }

    private static func number(
        _ settings: inout Settings, _ key: String, in range: ClosedRange<Double>
    ) throws -> Double? {
        guard let number = try settings.number(key) else { return nil }
        guard range.contains(number) else {
            throw MeraserError.badInput(
                "request: '\(key)' is \(number), expected \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
