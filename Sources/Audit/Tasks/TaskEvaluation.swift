import Base
import Model
import Quant

/// A task with its data.
public struct EvaluationTask: Sendable {
    /// What to ask.
    public let definition: TaskDefinition
    /// The rows to score.
    public let documents: [TaskDocument]
    /// The rows that few-shot examples are drawn from.
    public let examples: [TaskDocument]

    /// A task with its data.
    public init(_ definition: TaskDefinition, documents: [TaskDocument], examples: [TaskDocument] = []) {
        self.definition = definition
        self.documents = documents
        self.examples = examples
    }
}

/// How to evaluate tasks.
public struct EvaluationOptions: Sendable, Equatable {
    /// Examples in front of each document; nil: as the task says.
    public var numFewshot: Int?
    /// How they are drawn; nil: as the task says.
    public var sampler: FewshotSampler?
    /// The seed of the draw; lm-eval's is 1234.
    public var fewshotSeed: UInt64
    /// The most rows of a task that are scored.
    public var limit: Int?
    /// Tokens that a model may see; nil: its context.
    public var maxLength: Int?
    /// Keep every context, choice and log-likelihood.
    public var keepsSamples: Bool

    /// Options; the defaults are lm-eval's.
    public init(
        numFewshot: Int? = nil, sampler: FewshotSampler? = nil, fewshotSeed: UInt64 = 1234, limit: Int? = nil,
        maxLength: Int? = nil, keepsSamples: Bool = false
    ) {
        self.numFewshot = numFewshot
        self.sampler = sampler
        self.fewshotSeed = fewshotSeed
        self.limit = limit
        self.maxLength = maxLength
        self.keepsSamples = keepsSamples
    }
}

/// What a model made of one document.
public struct TaskSample: Sendable, Equatable {
    /// What it was asked.
    public let question: TaskQuestion
    /// Log-likelihoods of the choices in nats.
    public let logLikelihoods: [Double]
}

/// What a model made of a task.
public struct TaskResult: Sendable {
    /// The task.
    public let definition: TaskDefinition
    /// The measures in the task's order.
    public let metrics: [MeasuredMetric]
    /// Rows scored.
    public let count: Int
    /// Rows that there are.
    public let total: Int
    /// Examples in front of each.
    public let numFewshot: Int
    /// How they were drawn.
    public let sampler: FewshotSampler
    /// Requests whose context was cut at its beginning to fit.
    public let truncated: Int
    /// Every document, if wanted.
    public let samples: [TaskSample]?
}

/// Scores multiple-choice tasks by log-likelihood, as lm-evaluation-harness does: each choice's log-probability behind its
/// context, contexts that are too long cut from the left. Use from one thread at a time.
public struct TaskEvaluator {
    /// Contexts between two reports of progress.
    private static let itemsAtOnce = 32

    private let session: InferenceSession
    private let encoder: ContinuationEncoder
    private let options: EvaluationOptions
    private let maxLength: Int

    /// An evaluator of that model.
    ///
    /// - Throws: a usage error for lengths that make no sense.
    public init(session: InferenceSession, tokenizer: Tokenizer, options: EvaluationOptions) throws {
        let positions = session.model.spec.maxPositionEmbeddings
        maxLength = options.maxLength ?? positions
        guard (1...max(positions, 1)).contains(maxLength) else {
            throw MeraserError.usage("`max_length` \(maxLength): expected 1 to \(positions), the model's context")
        }
        self.session = session
        encoder = ContinuationEncoder(tokenizer)
        self.options = options
    }

    /// The questions of a task, as they will be asked.
    ///
    /// - Throws: a bad-input error that names the row for data that do not fit the task.
    public func questions(_ task: EvaluationTask) throws -> [TaskQuestion] {
        guard let first = task.documents.first else {
            throw MeraserError.badInput("task '\(task.definition.name)': no rows to score")
        }
        let definition = task.definition
        let maker = try TaskQuestions(definition, first: first)
        var examples = try FewshotExamples(
            task.examples, count: options.numFewshot ?? definition.numFewshot,
            sampler: options.sampler ?? definition.sampler, excludesDocument: definition.excludesDocument,
            seed: options.fewshotSeed, name: definition.name)
        return try task.documents.prefix(options.limit ?? Int.max).map {
            try maker.question($0, examples: try examples.next(for: $0))
        }
    }

    /// Scores a task.
    ///
    /// - Parameter onRequest: called with the number of requests done and of all.
    /// - Throws: a bad-input error that names the row for data that do not fit, a runtime error for values that are not
    ///   finite.
    public func evaluate(
        _ task: EvaluationTask, onRequest: (Int, Int) -> Void = { _, _ in }
    ) throws -> TaskResult {
        let questions = try questions(task)
        var items: [(context: [Int32], continuations: [[Int32]])] = []
        var truncated = 0
        for (question, document) in zip(questions, task.documents) {
            let begin = items.count
            for request in question.requests {
                let (context, continuation) = try tokens(request, document, truncated: &truncated)
                // Choices behind one context are scored together, so that it is computed once.
                if items.count > begin, items[items.count - 1].context == context {
                    items[items.count - 1].continuations.append(continuation)
                } else {
                    items.append((context, [continuation]))
                }
            }
        }
        let total = questions.reduce(0) { $0 + $1.requests.count }
        var likelihoods: [Double] = []
        var start = 0
        while start < items.count {
            let end = min(start + Self.itemsAtOnce, items.count)
            for scores in try session.scoreContinuations(Array(items[start..<end])) {
                likelihoods += scores.map(\.logLikelihood)
            }
            start = end
            onRequest(likelihoods.count, total)
        }
        return result(task, questions, likelihoods, truncated: truncated)
    }

    /// The tokens of a request, its context cut at the beginning so that the model can see all but the last token.
    private func tokens(
        _ request: TaskQuestion.Request, _ document: TaskDocument, truncated: inout Int
    ) throws -> (context: [Int32], continuation: [Int32]) {
        let (context, continuation) = try encoder.encode(request, place: document.place)
        guard continuation.count <= maxLength else {
            throw MeraserError.badInput(
                "\(document.place): a choice of \(continuation.count) tokens does not fit into the model's \(maxLength)"
            )
        }
        let room = maxLength + 1 - continuation.count
        if context.count > room { truncated += 1 }
        return (Array(context.suffix(room)), continuation)
    }

    private func result(
        _ task: EvaluationTask, _ questions: [TaskQuestion], _ likelihoods: [Double], truncated: Int
    ) -> TaskResult {
        var start = 0
        let samples = questions.map { question in
            defer { start += question.requests.count }
            return TaskSample(
                question: question, logLikelihoods: Array(likelihoods[start..<start + question.requests.count]))
        }
        let outcomes = samples.map { TaskOutcome($0.logLikelihoods, $0.question) }
        let choices = questions.map(\.choices.count).max() ?? 0
        return TaskResult(
            definition: task.definition,
            metrics: task.definition.metrics.map { $0.measure(outcomes, choices: choices) }, count: outcomes.count,
            total: task.documents.count, numFewshot: options.numFewshot ?? task.definition.numFewshot,
            sampler: options.sampler ?? task.definition.sampler, truncated: truncated,
            samples: options.keepsSamples ? samples : nil)
    }
}
