import Base

/// Prompts that are to be continued.
public struct GenerationQuestions: SharedQuestions {
    /// What tells them apart.
    public static let name = "generate"
    private let options: GenerationOptions

    init(options: GenerationOptions) { self.options = options }

    /// Reads what they have in common.
    public init(from message: inout MessageReader) throws {
        options = GenerationOptions(
            maxNewTokens: try message.number(),
            sampling: SamplingOptions(
                temperature: try message.number(), topP: try message.number(), topK: try message.number(),
                seed: try message.number()),
            stopTokens: Set(try message.numbers(Int32.self)), batchSize: try message.number(),
            sharesPrefixes: try message.bool())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(number: options.maxNewTokens)
        message.append(number: options.sampling.temperature)
        message.append(number: options.sampling.topP)
        message.append(number: options.sampling.topK)
        message.append(number: options.sampling.seed)
        message.append(numbers: options.stopTokens.sorted())
        message.append(number: options.batchSize)
        message.append(options.sharesPrefixes)
    }

    /// A new token costs many times what one costs that is read in a batch.
    public func cost(of request: GenerationRequest) -> Int {
        request.prompt.count + 8 * (request.maxNewTokens ?? options.maxNewTokens)
    }

    /// The continuations.
    public func answers(
        _ requests: [GenerationRequest], numbers: [Int], of sessions: [InferenceSession]
    ) throws -> [Generation] {
        try sessions[0].generateHere(requests, numbers: numbers, options: options)
    }
}

/// Continuations whose likelihood is asked.
public struct ContinuationQuestions: SharedQuestions {
    /// A context with continuations of it.
    public struct Question: Sent {
        let context: [Int32]
        let continuations: [[Int32]]

        init(context: [Int32], continuations: [[Int32]]) {
            (self.context, self.continuations) = (context, continuations)
        }

        /// Reads one.
        public init(from message: inout MessageReader) throws {
            context = try message.numbers()
            continuations = try (0..<max(0, message.number(Int.self))).map { _ in try message.numbers() }
        }

        /// Adds it.
        public func write(to message: inout Message) {
            message.append(numbers: context)
            message.append(number: continuations.count)
            for tokens in continuations { message.append(numbers: tokens) }
        }
    }

    /// The scores of a context's continuations.
    public struct Answer: Sent {
        let scores: [ContinuationScore]

        init(_ scores: [ContinuationScore]) { self.scores = scores }

        /// Reads one.
        public init(from message: inout MessageReader) throws {
            scores = try (0..<max(0, message.number(Int.self))).map { _ in
                ContinuationScore(
                    logLikelihood: try message.number(), tokens: try message.number(), isGreedy: try message.bool())
            }
        }

        /// Adds it.
        public func write(to message: inout Message) {
            message.append(number: scores.count)
            for score in scores {
                message.append(number: score.logLikelihood)
                message.append(number: score.tokens)
                message.append(score.isGreedy)
            }
        }
    }

    /// What tells them apart.
    public static let name = "continuations"
    private let sharesPrefix: Bool

    init(sharesPrefix: Bool) { self.sharesPrefix = sharesPrefix }

    /// Reads what they have in common.
    public init(from message: inout MessageReader) throws { sharesPrefix = try message.bool() }

    /// Adds it.
    public func write(to message: inout Message) { message.append(sharesPrefix) }

    /// What has to be read.
    public func cost(of question: Question) -> Int {
        question.continuations.reduce(question.context.count) { $0 + $1.count }
    }

    /// The scores.
    public func answers(
        _ questions: [Question], numbers: [Int], of sessions: [InferenceSession]
    ) throws -> [Answer] {
        try sessions[0].scoreContinuationsHere(
            questions.map { ($0.context, $0.continuations) }, sharesPrefix: sharesPrefix
        ).map(Answer.init)
    }
}

/// Sequences whose tokens' likelihoods are asked.
public struct LikelihoodQuestions: SharedQuestions {
    /// What tells them apart.
    public static let name = "likelihoods"

    init() {}

    /// They have nothing in common.
    public init(from message: inout MessageReader) throws {}

    /// Adds nothing.
    public func write(to message: inout Message) {}

    /// What has to be read.
    public func cost(of sequence: SentNumbers<Int32>) -> Int { sequence.values.count }

    /// The negative log-likelihoods.
    public func answers(
        _ sequences: [SentNumbers<Int32>], numbers: [Int], of sessions: [InferenceSession]
    ) throws -> [SentNumbers<Float>] {
        try sessions[0].negativeLogLikelihoodsHere(sequences.map(\.values)).map(SentNumbers.init)
    }
}

/// A list of numbers as a value of a message.
public struct SentNumbers<Number: BitwiseCopyable>: Sent {
    let values: [Number]

    init(_ values: [Number]) { self.values = values }

    /// Reads one.
    public init(from message: inout MessageReader) throws { values = try message.numbers() }

    /// Adds it.
    public func write(to message: inout Message) { message.append(numbers: values) }
}

extension GenerationRequest: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        self.init(prompt: try message.numbers(), maxNewTokens: try message.optional())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(numbers: prompt)
        message.append(optional: maxNewTokens)
    }
}

extension Generation: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        let (tokens, name) = (try message.numbers(Int32.self), try message.text())
        guard let ending = Ending(rawValue: name) else {
            throw MeraserError.runtime("a rank's output ended by \(quoted(name)), which this rank does not know")
        }
        self.init(tokens: tokens, ending: ending)
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(numbers: tokens)
        message.append(ending.rawValue)
    }
}
