import Base
import Model

/// A prompt, and targets whose likelihoods behind it are wanted.
struct DecoyQuestion: Sendable, Equatable {
    let prompt: String
    let targets: [String]
}

/// Questions made ready for a tokenizer.
struct EncodedQuestions {
    fileprivate var items: [(context: [Int32], continuations: [[Int32]])] = []
    fileprivate var targets: [[EncodedTarget]] = []

    /// Tokens that a model reads to answer them, what all contexts begin with counted for each.
    var tokenCount: Int {
        items.reduce(0) { sum, item in
            sum + item.context.count + item.continuations.reduce(0) { $0 + $1.count - 1 }
        }
    }
}

/// Scores targets behind prompts, whatever their encoding, in nats a token: the higher, the likelier.
struct DecoyScorer {
    let encoder: PromptEncoder
    let format: PromptFormat
    /// The one encoding that counts; nil: all.
    let encoding: TargetEncoding?

    /// Tokenises questions.
    ///
    /// - Throws: a bad-input error for a prompt or a target without tokens, what the template throws.
    func encode(_ questions: [DecoyQuestion]) throws -> EncodedQuestions {
        var result = EncodedQuestions()
        for question in questions {
            let (text, tokens) = try encoder.encode(question.prompt, format: format, name: "a decoy's prompt")
            let targets = try question.targets.map { target in
                let encoded = EncodedTarget(
                    target, after: text, promptTokens: tokens, addSpecialTokens: format == .raw,
                    tokenizer: encoder.tokenizer, only: encoding)
                guard !encoded.variants.isEmpty else { throw MeraserError.badInput("a decoy's target has no tokens") }
                return encoded
            }
            result.items.append((tokens, targets.flatMap { $0.variants.map(\.tokens) }))
            result.targets.append(targets)
        }
        return result
    }

    /// The scores of each question's targets, in their order.
    ///
    /// - Parameter onProgress: called with the tokens that were read of all; what it throws ends the work.
    /// - Throws: what a forward pass throws.
    func score(
        _ questions: EncodedQuestions, on session: InferenceSession, onProgress: (Int, Int) throws -> Void = { _, _ in }
    ) throws -> [[Double]] {
        let total = questions.tokenCount
        var (result, done, start) = ([[Double]](), 0, 0)
        while start < questions.items.count {
            // Pieces of the work, so that its progress can be shown.
            var (end, tokens) = (start, 0)
            while end < questions.items.count, end == start || tokens < 8192 {
                let item = questions.items[end]
                tokens += item.context.count + item.continuations.reduce(0) { $0 + $1.count - 1 }
                end += 1
            }
            let scores = try session.scoreContinuations(Array(questions.items[start..<end]), sharesPrefix: true)
            for (scores, targets) in zip(scores, questions.targets[start..<end]) {
                var rest = scores[...]
                result.append(
                    targets.map { target in
                        let own = rest.prefix(target.variants.count)
                        rest = rest.dropFirst(target.variants.count)
                        return -target.nll(own.map { -$0.logLikelihood })
                    })
            }
            done += tokens
            start = end
            try onProgress(done, total)
        }
        return result
    }
}
