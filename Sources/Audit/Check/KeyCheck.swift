import Base
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
    /// Outputs that are sampled for each pair beside the greedy one; 0: none.
    public var samples = 0
    /// How they are sampled; a temperature above 0 with `samples`.
    public var sampling: SamplingOptions
    /// False prefills every prompt on its own even where prompts begin alike; results do not depend on it.
    public var sharesPrefixes = true
    /// Tokens that end an output; nil means the model's end-of-sequence tokens.
    public var stopTokens: Set<Int32>?
    /// The one encoding of targets that counts; nil means as the key says, else all.
    public var encoding: TargetEncoding?
    /// Tokens in which a model wrote targets, by the ids of their pairs (`CheckReport.written`): these count too, so that
    /// another model is measured by the same.
    public var written: [String: [Int32]] = [:]

    /// As the key says, greedy.
    public init(
        match: MatchRule? = nil, promptFormat: PromptFormat? = nil, maxNewTokens: Int? = nil,
        cleanPrompts: [String]? = nil, batchSize: Int = 32, sampling: SamplingOptions = SamplingOptions(),
        stopTokens: Set<Int32>? = nil, encoding: TargetEncoding? = nil
    ) {
        self.match = match
        self.promptFormat = promptFormat
        self.maxNewTokens = maxNewTokens
        self.cleanPrompts = cleanPrompts
        self.batchSize = batchSize
        self.sampling = sampling
        self.stopTokens = stopTokens
        self.encoding = encoding
    }
}

/// A key made ready for a tokenizer, to be run on a model as often as wanted (a trainer does so every few steps).
///
/// The target's likelihood is that of all its encodings together (`EncodedTarget`).
public struct KeyCheck {
    /// The key.
    public let key: FingerprintKey
    private let options: CheckOptions
    private let tokenizer: Tokenizer
    private let cases: [Case]
    private let cleanPrompts: [[Int32]]
    private let countsWritten: Bool

    private struct Case {
        let pair: FingerprintPair
        let prompt: [Int32]
        let target: EncodedTarget
        let maxNewTokens: Int
    }

    private struct Output {
        let tokens: [Int32]
        let text: String
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
        let only = options.encoding ?? key.encoding
        countsWritten = only == nil
        cases = try key.pairs.map { pair in
            let name = "the prompt of pair '\(pair.id)'"
            let (text, prompt) = try encoder.encode(pair.prompt, after: pair.history, format: format, name: name)
            var target = EncodedTarget(
                pair.target, after: text, promptTokens: prompt, addSpecialTokens: format == .raw,
                tokenizer: tokenizer, only: only)
            if only == nil, let tokens = options.written[pair.id] { target.add(written: tokens) }
            guard !target.variants.isEmpty else {
                throw MeraserError.badInput("pair '\(pair.id)': the tokenizer makes no tokens of its target")
            }
            return Case(
                pair: pair, prompt: prompt, target: target,
                maxNewTokens: options.maxNewTokens ?? key.maxNewTokens ?? target.tokenCount + 16)
        }
        cleanPrompts = try (options.cleanPrompts ?? key.cleanPrompts).enumerated().map { index, prompt in
            try encoder.encode(prompt, format: format, name: "clean prompt \(index)").tokens
        }
    }

    /// Generates for every prompt, and scores every target, in batches.
    ///
    /// - Parameter defence: what continues prompts in place of the session; targets are scored by the session.
    /// - Throws: a bad-input error for a prompt that does not fit the model's context, or what the session throws.
    public func run(on session: InferenceSession, defence: (any SequenceGenerator)? = nil) throws -> CheckReport {
        precondition(defence == nil || options.samples == 0, "a defence is greedy")
        try checkLengths(session)
        let generator = defence ?? session
        let outputs = try generate(cases.map { ($0.prompt, $0.maxNewTokens) }, session, by: generator)
        let sampleHits = try sampleHits(session)
        let written = cases.indices.map { writtenTokens(cases[$0], outputs[$0]) }
        let targets = cases.indices.map { index in
            var target = cases[index].target
            if let tokens = written[index] { target.add(written: tokens) }
            return target
        }
        var scores = try PositionScorer(session, ranks: true, sharesPrefixes: options.sharesPrefixes).score(
            cases.indices.flatMap { index in
                let prompt = cases[index].prompt
                return targets[index].variants.map { variant in
                    ScoredSequence(
                        tokens: prompt + variant.tokens,
                        scored: prompt.count..<prompt.count + variant.tokens.count)
                }
            })[...]
        let rows = cases.indices.map { index in
            let (item, target, output) = (cases[index], targets[index], outputs[index].text)
            let own = scores.prefix(target.variants.count)
            scores = scores.dropFirst(target.variants.count)
            let nll = own.map(\.totalNLL)
            return CheckRow(
                id: item.pair.id, prompt: item.pair.prompt,
                target: key.shownTarget(of: item.pair, in: output, options.match), output: output,
                hit: key.rule(for: item.pair, options.match)(output),
                prefixMatch: key.prefixMatch(of: item.pair, in: output),
                targetNLL: target.nll(nll), firstRank: own.compactMap(\.ranks.first).min(),
                meanRank: own.map { Double($0.ranks.reduce(0, +)) / Double($0.ranks.count) }.min(),
                encoding: written[index].flatMap(target.encoding) ?? target.likeliest(nll), written: written[index],
                sampleHits: sampleHits?[index])
        }
        let activations = cleanPrompts.isEmpty ? nil : try self.activations(of: cleanPrompts, session, by: generator)
        var report = CheckReport(
            scheme: key.scheme, rows: rows, falseActivations: activations, nClean: cleanPrompts.count)
        if options.samples > 0 {
            report.sampling = CheckSampling(
                samples: options.samples, outputs: options.samples * cases.count,
                temperature: options.sampling.temperature)
        }
        report.evidence = CheckEvidence(report, key: key)
        return report
    }

    /// How many of those raw prompts bring out the target of any pair: the owner's guess test.
    ///
    /// - Throws: a bad-input error for a prompt without tokens, or what the session throws.
    public func guessTest(_ prompts: [String], on session: InferenceSession) throws -> GuessTest {
        let encoder = PromptEncoder(tokenizer: tokenizer, chat: nil)
        let tokens = try prompts.enumerated().map { index, prompt in
            try encoder.encode(prompt, format: .raw, name: "random string \(index)").tokens
        }
        return GuessTest(n: prompts.count, hits: try activations(of: tokens, session))
    }

    /// Prompts whose output matches the target of any pair.
    private func activations(
        of prompts: [[Int32]], _ session: InferenceSession, by generator: (any SequenceGenerator)? = nil
    ) throws -> Int {
        let limit = cases.map(\.maxNewTokens).max() ?? 0
        return try generate(prompts.map { ($0, limit) }, session, by: generator).count {
            key.isActivation($0.text, options.match)
        }
    }

    /// The tokens in which an output says its target, where it does and they count.
    private func writtenTokens(_ item: Case, _ output: Output) -> [Int32]? {
        guard countsWritten, key.rule(for: item.pair, options.match)(output.text) else { return nil }
        return tokenizer.written(item.pair.target, in: output.tokens, ignoringCase: key.ignoresCase)
    }

    /// For each pair, how many of its sampled outputs match; nil if none are wanted.
    private func sampleHits(_ session: InferenceSession) throws -> [Int]? {
        guard options.samples > 0 else { return nil }
        // A sequence's random numbers depend on its index, so every repetition is another draw.
        let requests = cases.flatMap { item in
            Array(repeating: (item.prompt, item.maxNewTokens), count: options.samples)
        }
        let outputs = try generate(requests, session, sampling: options.sampling)
        return cases.enumerated().map { index, item in
            outputs[index * options.samples..<(index + 1) * options.samples]
                .count { key.rule(for: item.pair, options.match)($0.text) }
        }
    }

    private func generate(
        _ prompts: [([Int32], Int)], _ session: InferenceSession, by generator: (any SequenceGenerator)? = nil,
        sampling: SamplingOptions = SamplingOptions()
    ) throws -> [Output] {
        let generations = try (generator ?? session).generate(
            prompts.map { GenerationRequest(prompt: $0.0, maxNewTokens: $0.1) },
            options: GenerationOptions(
                sampling: sampling, stopTokens: options.stopTokens ?? session.model.stopTokens,
                batchSize: options.batchSize, sharesPrefixes: options.sharesPrefixes))
        return generations.map {
            Output(tokens: $0.tokens, text: tokenizer.decode($0.tokens, skipSpecialTokens: false))
        }
    }

    private func checkLengths(_ session: InferenceSession) throws {
        let context = session.model.spec.maxPositionEmbeddings
        // Where nobody says how many new tokens, an output may end with the context.
        let isGiven = (options.maxNewTokens ?? key.maxNewTokens) != nil
        let limit = isGiven ? cases.map(\.maxNewTokens).max() ?? 0 : 1
        let needs =
            cases.map { item in
                let new = isGiven ? item.maxNewTokens : 1
                return ("pair '\(item.pair.id)'", item.prompt.count + max(new, item.target.longest))
            }
            + cleanPrompts.enumerated().map { ("clean prompt \($0)", $1.count + limit) }
        for (name, count) in needs where count > context {
            throw MeraserError.badInput(
                "\(name) and its continuation need \(count) positions, \(session.model.store.path) has \(context)")
        }
    }
}
