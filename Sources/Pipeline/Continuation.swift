import Audit
import Base
import Model

/// A prompt and what the model made of it.
public struct Continuation: Sendable, Equatable {
    /// The prompt as given.
    public let prompt: String
    /// The decoded continuation, special tokens kept.
    public let output: String
    /// New tokens.
    public let tokens: Int
    /// Why it ended.
    public let ending: Generation.Ending

    /// As `generate --json` prints it.
    public var json: JSONValue {
        [
            "prompt": .text(prompt), "output": .text(output), "tokens": .integer(tokens),
            "ending": .text(ending.rawValue),
        ]
    }
}

extension OpenedModel {
    /// Continues prompts with the model and its adapters.
    ///
    /// - Parameters:
    ///   - prompts: texts; with `chat` a user's messages that the model's chat template is put around.
    ///   - chat: apply the chat template.
    ///   - options: sampling and limits.
    ///   - defence: what continues the prompts in place of the model alone; nothing streams then.
    ///   - onText: the text of a single prompt's continuation as it grows.
    ///   - onStatistics: what was read and how long it took, at the end.
    /// - Throws: a usage error for `chat` without a template, a bad-input error for an empty prompt.
    public func generate(
        _ prompts: [String], chat: Bool, options: GenerationOptions, defence: (any SequenceGenerator)? = nil,
        onText: @escaping (String) -> Void = { _ in },
        onStatistics: (GenerationStatistics) -> Void = { _ in }
    ) throws -> [Continuation] {
        let requests = try prompts.enumerated().map { index, prompt in
            let tokens =
                try chat
                ? tokenizer.encode(
                    render([ChatMessage(role: "user", content: prompt)], addGenerationPrompt: true),
                    addSpecialTokens: false)
                : tokenizer.encode(prompt)
            guard !tokens.isEmpty else { throw MeraserError.badInput("prompt \(index) has no tokens") }
            return GenerationRequest(prompt: tokens)
        }
        var decoder = tokenizer.streamingDecoder()
        let session = session()
        // A single prompt streams; others are dealt among the ranks.
        let onToken: ((Int, Int32) -> Void)? =
            prompts.count > 1
            ? nil : { _, token in if !options.stopTokens.contains(token) { onText(decoder.append(token)) } }
        let generations =
            try defence?.generate(requests, options: options)
            ?? session.generate(requests, options: options, onToken: onToken)
        onText(decoder.finish())
        onStatistics(session.lastGeneration)
        return zip(prompts, generations).map { prompt, generation in
            Continuation(
                prompt: prompt, output: tokenizer.decode(generation.tokens), tokens: generation.tokens.count,
                ending: generation.ending)
        }
    }
}
