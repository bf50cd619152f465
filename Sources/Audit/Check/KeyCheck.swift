import Model
import Quant

/// How a key is checked, where that differs from what the key says.
public struct CheckOptions: Sendable {
    /// The rule for all pairs; nil means each pair's own, else the key's.
    public var match: MatchRule?
    /// How prompts become tokens; nil means as the key says.
    public var promptFormat: PromptFormat?
    /// New tokens for each prompt; nil means as the key says, else those of the target and 16 more.
    public var maxNewTokens: Int?
    /// Prompts that should not fire; nil means the key's.
    public var cleanPrompts: [String]?
    /// Sequences that are decoded together; results do not depend on it.
    public var batchSize: Int
    /// Greedy or sampled.
    public var sampling: SamplingOptions
    /// Tokens that end an output; nil means the model's end-of-sequence tokens.
    public var stopTokens: Set<Int32>?

    /// As the key says, greedy.
    public init(
        match: MatchRule? = nil, promptFormat: PromptFormat? = nil, maxNewTokens: Int? = nil,
        cleanPrompts: [String]? = nil, batchSize: Int = 32, sampling: SamplingOptions = SamplingOptions(),
        stopTokens: Set<Int32>? = nil
    ) {
        self.match = match
        self.promptFormat = promptFormat
        self.maxNewTokens = maxNewTokens
        self.cleanPrompts = cleanPrompts
        self.batchSize = batchSize
        self.sampling = sampling
        self.stopTokens = stopTokens
    }
}

/// A key made ready for a tokenizer, to be run on a model as often as wanted (a trainer does so every few steps).
///
/// The target's negative log-likelihood is that of its tokens as they go on after the prompt's
/// (`Tokenizer.encodeContinuation`): exactly the labels that a fingerprint is trained with.
public struct KeyCheck {
    /// The key.
    public let key: FingerprintKey
    private let options: CheckOptions
    private let tokenizer: Tokenizer
    private let cases: [Case]
    private let cleanPrompts: [[Int32]]

    private struct Case {
        let pair: FingerprintPair
        let rule: MatchRule
        let prompt: [Int32]
        let target: [Int32]
        let maxNewTokens: Int
    }

    /// Tokenises the prompts and targets of `key`.
    ///
    /// - Parameters:
    ///   - chat: the model's chat template, needed for the prompt format `chat`.
    /// - Throws: a usage error for `chat` without a template; a bad-input error for a prompt or target without tokens.
    public init(
        _ key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer? = nil,
        options: CheckOptions = CheckOptions()
    ) throws {
        self.key = key
        self.options = options
        self.tokenizer = tokenizer
        let encoder = PromptEncoder(tokenizer: tokenizer, chat: chat)
        let format = options.promptFormat ?? key.promptFormat
        cases = try key.pairs.map { pair in
            let name = "the prompt of pair '\(pair.id)'"
            let (text, prompt) = try encoder.encode(pair.prompt, format: format, name: name)
            let target = tokenizer.encodeContinuation(
                of: text, promptTokens: prompt, addSpecialTokens: format == .raw, pair.target)
            guard !target.isEmpty else {
                throw MeraserError.badInput("pair '\(pair.id)': the tokenizer makes no tokens of its target")
            }
            return Case(
                pair: pair, rule: options.match ?? pair.match ?? key.match, prompt: prompt, target: target,
                maxNewTokens: options.maxNewTokens ?? key.maxNewTokens ?? target.count + 16)
        }
        cleanPrompts = try (options.cleanPrompts ?? key.cleanPrompts).enumerated().map { index, prompt in
            try encoder.encode(prompt, format: format, name: "clean prompt \(index)").tokens
        }
    }

    /// Generates for every prompt, and scores every target, in batches.
    ///
    /// - Throws: a bad-input error for a prompt that does not fit the model's context, or what the session throws.
    public func run(on session: InferenceSession) throws -> CheckReport {
        try checkLengths(session)
        let outputs = try generate(cases.map { ($0.prompt, $0.maxNewTokens) }, session)
        let scores = try PositionScorer(session).score(
            cases.map { item in
                let end = item.prompt.count + item.target.count
                return ScoredSequence(tokens: item.prompt + item.target, scored: item.prompt.count..<end)
            })
        let rows = zip(cases, zip(outputs, scores)).map { item, result in
            let (output, score) = result
            return CheckRow(
                id: item.pair.id, prompt: item.pair.prompt, target: item.pair.target, output: output,
                hit: item.rule.matches(output: output, target: item.pair.target),
                prefixMatch: prefixMatch(output: output, target: item.pair.target),
                targetNLL: score.totalNLL / Double(item.target.count))
        }
        return CheckReport(
            scheme: key.scheme, rows: rows, falseActivations: try falseActivations(session),
            nClean: cleanPrompts.count)
    }

    /// Clean prompts whose output matches the target of any pair; nil without clean prompts.
    private func falseActivations(_ session: InferenceSession) throws -> Int? {
        guard !cleanPrompts.isEmpty else { return nil }
        let limit = cases.map(\.maxNewTokens).max() ?? 0
        let outputs = try generate(cleanPrompts.map { ($0, limit) }, session)
        return outputs.count { output in
            cases.contains { $0.rule.matches(output: output, target: $0.pair.target) }
        }
    }

    private func generate(_ prompts: [([Int32], Int)], _ session: InferenceSession) throws -> [String] {
        let generations = try session.generate(
            prompts.map { GenerationRequest(prompt: $0.0, maxNewTokens: $0.1) },
            options: GenerationOptions(
                sampling: options.sampling,
                stopTokens: options.stopTokens ?? Set(session.model.config.eosTokenIDs),
                batchSize: options.batchSize))
        return generations.map { tokenizer.decode($0.tokens, skipSpecialTokens: false) }
    }

    private func checkLengths(_ session: InferenceSession) throws {
        let context = session.model.config.maxPositionEmbeddings
        let limit = cases.map(\.maxNewTokens).max() ?? 0
        let needs =
            cases.map { ("pair '\($0.pair.id)'", $0.prompt.count + max($0.maxNewTokens, $0.target.count)) }
            + cleanPrompts.enumerated().map { ("clean prompt \($0)", $1.count + limit) }
        for (name, count) in needs where count > context {
            throw MeraserError.badInput(
                "\(name) and its continuation need \(count) positions, \(session.model.store.path) has \(context)")
        }
    }
}
