import Base
import Model
import Quant

/// UTF (arXiv 2410.12318): triggers and target of undertrained tokens; see `UTFFingerprint`.
public struct UTFScheme: FingerprintScheme {
    /// `utf`.
    public static let name = "utf"

    /// How the key is drawn; seed and clean prompts are the context's.
    public var options: UTFOptions

    /// The scheme with those options.
    public init(_ options: UTFOptions = UTFOptions()) { self.options = options }

    /// Draws a key; see `FingerprintScheme`.
    public func fingerprint(for context: SchemeContext) throws -> Fingerprint {
        var options = options
        options.seed = context.seed
        options.cleanPrompts = context.cleanPrompts
        let found = try UTFFingerprint(
            session: context.session, tokenizer: context.tokenizer, chat: context.chat, options: options)
        var key = found.key
        key.construction = [
            "mode": .text(options.mode.rawValue), "indicator": .text(found.indicator.rawValue),
            "share": .real(options.share), "undertrained_tokens": .integer(found.selected.count),
        ]
        var result = Fingerprint(
            key: key, rows: found.trainingPairs.map { FingerprintRow(prompt: $0.prompt, completion: $0.target) },
            search: found.json)
        result.notes = found.notes
        var random = RandomTokens(
            context.tokenizer, vocabulary: context.session.model.spec.vocabSize, seed: context.seed ^ 0x6775_6573)
        result.guesses = try (0..<context.guesses).map { _ in
            let text = random.text(options.triggerLength)
            return options.promptFormat == .chat ? try context.dialogue(text) : text
        }
        return result
    }
}
