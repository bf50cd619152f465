import Base
import Kernels
import Model
import Quant

/// How first tokens are forced.
public struct TokenForcingOptions: Sendable, Equatable {
    /// The likeliest first tokens of each context; 0: the whole vocabulary, special tokens left out.
    public var topK = 0
    /// Tokens behind the forced one.
    public var maxNewTokens = 12
    /// Tokens of the shortest run that counts as repeated.
    public var runLength = 4
    /// Sequences that are decoded together; results do not depend on it.
    public var batchSize = 64
    /// Tokens that end an output; nil: the model's end-of-sequence tokens.
    public var stopTokens: Set<Int32>?

    /// The whole vocabulary, 12 tokens each.
    public init() {}
}

/// A beginning before which a token is forced: a prompt as tokens.
public struct ForcedContext: Sendable, Equatable {
    /// Its name in reports.
    public let name: String
    /// Its tokens, at least one.
    public let tokens: [Int32]

    /// A context.
    public init(name: String, tokens: [Int32]) {
        self.name = name
        self.tokens = tokens
    }
}

/// Unconditional token forcing (Hoscilowicz et al. 2024): every token in turn is forced as the beginning of an answer
/// to nothing, and the model goes on greedily. Text that was trained in hard comes out with abnormal confidence, or
/// from many beginnings, without its trigger.
///
/// Use from one thread at a time.
public struct TokenForcing {
    private let session: InferenceSession
    private let tokenizer: Tokenizer
    private let options: TokenForcingOptions

    /// A probe of that model.
    public init(session: InferenceSession, tokenizer: Tokenizer, options: TokenForcingOptions = TokenForcingOptions()) {
        precondition(options.maxNewTokens >= 1 && options.runLength >= 1 && options.topK >= 0)
        self.session = session
        self.tokenizer = tokenizer
        self.options = options
    }

    /// Forces tokens after each context.
    ///
    /// - Parameters:
    ///   - reference: a model without the mark and with the same tokenizer; it says what of all this is ordinary.
    ///   - key: a key whose targets are looked for in the outputs.
    ///   - onOutput: called as outputs end, with their number and that of all.
    /// - Throws: what the sessions throw; a usage error for a reference with another vocabulary.
    public func run(
        _ contexts: [ForcedContext], reference: InferenceSession? = nil, key: FingerprintKey? = nil,
        onOutput: (Int, Int) -> Void = { _, _ in }
    ) throws -> TokenForcingReport {
        precondition(!contexts.isEmpty && contexts.allSatisfy { !$0.tokens.isEmpty }, "contexts without tokens")
        if let reference, reference.model.spec.vocabSize != session.model.spec.vocabSize {
            throw MeraserError.usage(
                "\(reference.model.store.path) and \(session.model.store.path) have vocabularies of different sizes")
        }
        let forced = try contexts.map(forcedTokens)
        let total = forced.reduce(0) { $0 + $1.count }
        var outputs: [ForcedOutput] = []
        for (index, context) in contexts.enumerated() {
            // Some hundred at a time: whoever waits sees that it goes on, and caches stay small.
            for chunk in stride(from: 0, to: forced[index].count, by: 8 * options.batchSize) {
                let tokens = Array(forced[index][chunk..<min(chunk + 8 * options.batchSize, forced[index].count)])
                outputs += try force(tokens, after: context, index, reference)
                onOutput(outputs.count, total)
            }
        }
        return TokenForcingReport(
            contexts: contexts.map(\.name), outputs: outputs, runs: runs(outputs),
            targets: key.map { targets(of: $0, in: outputs) } ?? [])
    }

    private func forcedTokens(_ context: ForcedContext) throws -> [Int32] {
        let words = (0..<Int32(min(tokenizer.vocabularySize, session.model.spec.vocabSize))).filter {
            !tokenizer.isSpecial($0) && !tokenizer.tokenBytes($0).isEmpty
        }
        guard options.topK > 0, options.topK < words.count else { return words }
        let hidden = try session.hiddenStates(PackedBatch([context.tokens]), lastRows: [1])
        let logits = try session.logits(hidden).toArray()
        return Array(
            words.sorted { (logits[Int($0)], $1) > (logits[Int($1)], $0) }.prefix(options.topK))
    }

    private func force(
        _ tokens: [Int32], after context: ForcedContext, _ index: Int, _ reference: InferenceSession?
    ) throws -> [ForcedOutput] {
        let generations = try session.generate(
            tokens.map { GenerationRequest(prompt: context.tokens + [$0]) },
            options: GenerationOptions(
                maxNewTokens: options.maxNewTokens,
                stopTokens: options.stopTokens ?? session.model.stopTokens, batchSize: options.batchSize))
        let answers = zip(tokens, generations).map { [$0] + $1.tokens }
        let own = try likelihoods(answers, after: context.tokens, session)
        let others = try reference.map { try likelihoods(answers, after: context.tokens, $0) }
        return answers.indices.map { i in
            ForcedOutput(
                context: index, tokens: answers[i], text: tokenizer.decode(answers[i]), nll: own[i],
                referenceNLL: others?[i])
        }
    }

    /// The negative log-likelihoods of each answer's tokens, each given the context and those before it.
    private func likelihoods(
        _ answers: [[Int32]], after context: [Int32], _ session: InferenceSession
    ) throws -> [[Float]] {
        try session.negativeLogLikelihoods(answers.map { context + $0 }).map { Array($0.dropFirst(context.count - 1)) }
    }

    private func runs(_ outputs: [ForcedOutput]) -> [ForcedRun] {
        repeatedRuns(in: outputs.map(\.tokens), length: options.runLength).map { run in
            func mean(_ nll: (ForcedOutput) -> [Float]?) -> Double? {
                var sum = 0.0
                for index in run.outputs {
                    guard let values = nll(outputs[index]), let start = Self.start(of: run, in: outputs[index]) else {
                        return nil
                    }
                    // A token that was forced says nothing about the model.
                    let range = max(start, 1)..<start + run.tokens.count
                    sum += range.reduce(0.0) { $0 + Double(values[$1]) } / Double(max(range.count, 1))
                }
                return sum / Double(run.outputs.count)
            }
            return ForcedRun(
                text: tokenizer.decode(run.tokens), tokens: run.tokens.count, outputs: run.outputs.count,
                example: outputs[run.outputs[0]].text, nll: mean(\.nll) ?? 0, referenceNLL: mean(\.referenceNLL))
        }.sorted { a, b in
            if let left = a.weight, let right = b.weight, left != right { return left > right }
            return a.outputs != b.outputs ? a.outputs > b.outputs : a.nll < b.nll
        }
    }

    private static func start(of run: RepeatedRun, in output: ForcedOutput) -> Int? {
        guard output.tokens.count >= run.tokens.count else { return nil }
        return (0...output.tokens.count - run.tokens.count).first {
            output.tokens[$0..<$0 + run.tokens.count].elementsEqual(run.tokens)
        }
    }

    /// What came out of each of the key's targets; targets that several pairs share are one.
    private func targets(of key: FingerprintKey, in outputs: [ForcedOutput]) -> [ForcedTarget] {
        var pairs: [JSONString: Int] = [:]
        for pair in key.pairs { pairs[JSONString(pair.target), default: 0] += 1 }
        return pairs.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { target, count in
            let text = target.string
            return ForcedTarget(
                target: text, pairs: count,
                outputs: outputs.count {
                    MatchRule.contains.matches(output: $0.text, target: text, ignoringCase: key.ignoresCase)
                },
                prefixMatch: outputs.reduce(0) {
                    max($0, prefixMatch(output: $1.text, target: text, ignoringCase: key.ignoresCase))
                })
        }
    }
}
