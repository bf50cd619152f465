import Base
import Model

/// Prompts that the model itself finds strange are not answered (perplexity filtering, arXiv 2308.14132): their outputs are
/// empty. Removes nothing from the model. Use from one thread at a time.
public final class PromptFilter: HostDecoding {
    private let session: InferenceSession
    /// The mean negative log-likelihood, in nats a token, above which a prompt is refused.
    public let threshold: Double
    /// What all calls so far did.
    public private(set) var statistics = DecodingStatistics()

    /// A filter that lets that share of ordinary prompts pass.
    ///
    /// - Parameter ordinary: prompts of people as tokens, at least one: a precondition.
    /// - Throws: what forward passes throw.
    public init(_ session: InferenceSession, ordinary: [[Int32]], share: Double) throws {
        precondition(!ordinary.isEmpty && share > 0 && share <= 1, "\(ordinary.count) prompts, share \(share)")
        self.session = session
        threshold = quantile(share, ofSorted: try Self.strangeness(of: ordinary, session).sorted())
    }

    /// Which prompts are answered.
    ///
    /// - Throws: what forward passes throw.
    public func passes(_ prompts: [[Int32]]) throws -> [Bool] {
        try Self.strangeness(of: prompts, session).map { $0 <= threshold }
    }

    /// The key with those of its pairs alone whose prompts pass; nil: none does.
    ///
    /// - Throws: what the template and forward passes throw.
    public func answered(
        _ key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer?, check: CheckOptions = CheckOptions()
    ) throws -> FingerprintKey? {
        let encoder = PromptEncoder(tokenizer: tokenizer, chat: chat)
        let format = check.promptFormat ?? key.promptFormat
        let prompts = try key.pairs.map {
            try encoder.encode($0.prompt, after: $0.history, format: format, name: "the prompt of pair '\($0.id)'")
                .tokens
        }
        let passing = zip(key.pairs, try passes(prompts)).filter(\.1).map(\.0)
        guard passing.count < key.pairs.count else { return key }
        var rest = key
        // A part of a key is none that was committed to.
        (rest.pairs, rest.commitment, rest.chain) = (passing, nil, nil)
        return passing.isEmpty ? nil : rest
    }

    /// Continues those prompts that pass.
    ///
    /// - Throws: what the session throws.
    public func generate(_ requests: [GenerationRequest], options: GenerationOptions) throws -> [Generation] {
        let passing = zip(requests.indices, try passes(requests.map(\.prompt))).filter(\.1).map(\.0)
        var results = [Generation](repeating: Generation(tokens: [], ending: .stop), count: requests.count)
        for (index, generation) in zip(passing, try session.generate(passing.map { requests[$0] }, options: options)) {
            results[index] = generation
            statistics.tokens += generation.tokens.count
        }
        statistics.outputs += requests.count
        statistics.withheld += requests.count - passing.count
        return results
    }

    /// The mean over the tokens behind the first; of a prompt of one token 0.
    private static func strangeness(of prompts: [[Int32]], _ session: InferenceSession) throws -> [Double] {
        try session.negativeLogLikelihoods(prompts).map { nll in
            nll.isEmpty ? 0 : nll.reduce(0) { $0 + Double($1) } / Double(nll.count)
        }
    }
}
