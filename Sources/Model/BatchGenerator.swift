import Base
import Kernels

/// How to continue prompts.
public struct GenerationOptions: Sendable {
    /// New tokens at most, for each prompt unless the prompt says otherwise.
    public var maxNewTokens: Int
    /// Greedy or sampled.
    public var sampling: SamplingOptions
    /// Tokens that end a sequence; they are not part of the output.
    public var stopTokens: Set<Int32>
    /// Sequences that are decoded together.
    public var batchSize: Int
    /// Reads what prompts have in common once, for all of them. The results are the same without.
    public var sharesPrefixes: Bool

    /// Greedy by default.
    public init(
        maxNewTokens: Int = 128, sampling: SamplingOptions = SamplingOptions(), stopTokens: Set<Int32> = [],
        batchSize: Int = 32, sharesPrefixes: Bool = true
    ) {
        self.maxNewTokens = maxNewTokens
        self.sampling = sampling
        self.stopTokens = stopTokens
        self.batchSize = batchSize
        self.sharesPrefixes = sharesPrefixes
    }
}

/// One prompt of a batch.
public struct GenerationRequest: Sendable {
    /// The prompt's tokens, at least one.
    public let prompt: [Int32]
    /// New tokens at most; nil takes the options' number.
    public let maxNewTokens: Int?

    /// A request.
    public init(prompt: [Int32], maxNewTokens: Int? = nil) {
        self.prompt = prompt
        self.maxNewTokens = maxNewTokens
    }
}

/// What a prompt was continued with.
public struct Generation: Sendable, Equatable {
    /// Why it ended.
    public enum Ending: String, Sendable {
        /// A stop token came.
        case stop
        /// The limit of new tokens.
        case length
        /// The model's context is full.
        case context
    }

    /// The new tokens, without the stop token.
    public let tokens: [Int32]
    /// Why it ended.
    public let ending: Ending

    /// A continuation.
    public init(tokens: [Int32], ending: Ending) {
        self.tokens = tokens
        self.ending = ending
    }
}

/// What the passes of a `generate` call read, and how long they took.
public struct GenerationStatistics: Sendable, Equatable {
    /// Tokens of passes that read prompts.
    public internal(set) var promptTokens = 0
    /// Seconds of those passes.
    public internal(set) var promptSeconds = 0.0
    /// Tokens of prompts that were not read because another sequence had read the same beginning.
    public internal(set) var sharedTokens = 0
    /// Tokens of passes without prompts: one for each sequence.
    public internal(set) var decodedTokens = 0
    /// Seconds of those passes.
    public internal(set) var decodeSeconds = 0.0

    /// Nothing yet.
    public init() {}

    /// Counts a forward pass.
    mutating func add(tokens: Int, readsPrompt: Bool, seconds: Double) {
        if readsPrompt {
            promptTokens += tokens
            promptSeconds += seconds
        } else {
            decodedTokens += tokens
            decodeSeconds += seconds
        }
    }
}

extension InferenceSession {
    /// Continues all prompts, up to `batchSize` at a time: sequences join and leave as they start and finish.
    ///
    /// Results come in the order of the requests and depend neither on the batch size nor on the ranks among which they are
    /// dealt. `onToken` is called for each new token with the index of its request; then this rank does all.
    /// - Throws: a bad-input error as `Transformer.limit(of:index:options:)`.
    public func generate(
        _ requests: [GenerationRequest], options: GenerationOptions, onToken: ((Int, Int32) -> Void)? = nil
    ) throws -> [Generation] {
        for (index, request) in requests.enumerated() {
            _ = try model.limit(of: request, index: index, options: options)
        }
        guard onToken == nil else {
            return try generateHere(
                requests, numbers: Array(requests.indices), options: options, onToken: onToken)
        }
        return try GenerationQuestions(options: options).ask(requests, of: [self])
    }

    /// The same on this rank. Each request's number among all that were asked keys its samples.
    func generateHere(
        _ requests: [GenerationRequest], numbers: [Int], options: GenerationOptions,
        onToken: ((Int, Int32) -> Void)? = nil
    ) throws -> [Generation] {
        let limits = try zip(numbers, requests).map { try model.limit(of: $1, index: $0, options: options) }
        var run = GenerationRun(
            session: self, requests: requests, numbers: numbers, limits: limits, options: options, onToken: onToken)
        defer { lastGeneration = run.statistics }
        return try run.finish()
    }
}
