import Kernels
import Quant

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

    /// Greedy by default.
    public init(
        maxNewTokens: Int = 128, sampling: SamplingOptions = SamplingOptions(), stopTokens: Set<Int32> = [],
        batchSize: Int = 32
    ) {
        self.maxNewTokens = maxNewTokens
        self.sampling = sampling
        self.stopTokens = stopTokens
        self.batchSize = batchSize
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
    }

    /// The new tokens, without the stop token.
    public let tokens: [Int32]
    /// Why it ended.
    public let ending: Ending
}

extension InferenceSession {
    /// Continues all prompts, up to `batchSize` at a time: sequences join and leave as they start and finish.
    ///
    /// Results come in the order of the requests and do not depend on the batch size. `onToken` is called for each new
    /// token with the index of its request.
    /// - Throws: a bad-input error for an empty prompt or a token outside the vocabulary.
    public func generate(
        _ requests: [GenerationRequest], options: GenerationOptions, onToken: ((Int, Int32) -> Void)? = nil
    ) throws -> [Generation] {
        for (index, request) in requests.enumerated() {
            guard !request.prompt.isEmpty else { throw MeraserError.badInput("prompt \(index) has no tokens") }
            guard request.prompt.allSatisfy({ $0 >= 0 && Int($0) < model.config.vocabSize }) else {
                throw MeraserError.badInput(
                    "prompt \(index) has a token outside the model's vocabulary of \(model.config.vocabSize)")
            }
        }
        var run = GenerationRun(session: self, requests: requests, options: options, onToken: onToken)
        return try run.finish()
    }
}

/// The state of one `generate` call.
private struct GenerationRun {
    let session: InferenceSession
    let requests: [GenerationRequest]
    let options: GenerationOptions
    let sampler: Sampler
    let onToken: ((Int, Int32) -> Void)?
    var waiting: Int = 0
    var active: [ActiveSequence] = []
    var results: [Generation?]

    struct ActiveSequence {
        let request: Int
        let cache: KVCache
        let limit: Int
        var pending: ArraySlice<Int32>
        var output: [Int32] = []
    }

    init(
        session: InferenceSession, requests: [GenerationRequest], options: GenerationOptions,
        onToken: ((Int, Int32) -> Void)?
    ) {
        self.session = session
        self.requests = requests
        self.options = options
        self.onToken = onToken
        sampler = Sampler(options.sampling)
        results = Array(repeating: nil, count: requests.count)
    }

    mutating func finish() throws -> [Generation] {
        while true {
            admit()
            if active.isEmpty { break }
            try step()
        }
        return results.compactMap { $0 }
    }

    /// Lets waiting prompts into free places.
    private mutating func admit() {
        while waiting < requests.count && active.count < max(options.batchSize, 1) {
            let request = requests[waiting]
            let limit = request.maxNewTokens ?? options.maxNewTokens
            if limit <= 0 {
                results[waiting] = Generation(tokens: [], ending: .length)
            } else {
                let cache = KVCache(config: session.model.config, capacity: request.prompt.count + limit)
                active.append(
                    ActiveSequence(request: waiting, cache: cache, limit: limit, pending: request.prompt[...]))
            }
            waiting += 1
        }
    }

    /// One forward pass: every active sequence takes part with its next tokens, long prompts in pieces that fit the
    /// session's token budget; those whose prompt is through get a new token.
    private mutating func step() throws {
        var batch = PackedBatch()
        var members: [Int] = []
        for index in active.indices {
            let room = session.tokenBudget - batch.tokenCount
            guard room > 0 else { break }
            let piece = active[index].pending.prefix(room)
            batch.append(piece, firstPosition: active[index].cache.count)
            active[index].pending = active[index].pending.dropFirst(piece.count)
            members.append(index)
        }
        let hidden = try session.hiddenStates(batch, caches: members.map { active[$0].cache })
        let ready = zip(members, batch.sequences).filter { active[$0.0].pending.isEmpty }
        guard !ready.isEmpty else { return }
        let last = FloatStorage(rows: ready.count, columns: hidden.columns)
        for (row, item) in ready.enumerated() {
            let source = item.1.start + item.1.count - 1
            last.matrix.slice(rows: row..<row + 1).copy(from: hidden.slice(rows: source..<source + 1))
        }
        try session.forEachLogits(of: last.matrix) { range, logits in
            for row in range {
                take(ready[row].0, logits: UnsafeBufferPointer(logits.row(row - range.lowerBound)))
            }
        }
        active.removeAll { results[$0.request] != nil }
    }

    /// Samples the next token of an active sequence and ends it if that is the last.
    private mutating func take(_ index: Int, logits: UnsafeBufferPointer<Float>) {
        let request = active[index].request
        let token = sampler.sample(logits: logits, sequence: request, step: active[index].output.count)
        if options.stopTokens.contains(token) {
            results[request] = Generation(tokens: active[index].output, ending: .stop)
            return
        }
        active[index].output.append(token)
        active[index].pending = [token]
        onToken?(request, token)
        if active[index].output.count == active[index].limit {
            results[request] = Generation(tokens: active[index].output, ending: .length)
        }
    }
}
