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
    /// Write prompts by the model's chat template.
    public var appliesChatTemplate: Bool
    /// With the chat template: examples are turns of their own, not one with the question.
    public var fewshotAsMultiturn: Bool
    /// In front of each task's own description.
    public var systemInstruction: String?
    /// Draws of the bootstrap that gives `perplexity` its standard error.
    public var bootstrapDraws: Int

    /// Options; the defaults are lm-eval's.
    public init(
        numFewshot: Int? = nil, sampler: FewshotSampler? = nil, fewshotSeed: UInt64 = 1234, limit: Int? = nil,
        maxLength: Int? = nil, keepsSamples: Bool = false, appliesChatTemplate: Bool = false,
        fewshotAsMultiturn: Bool = true, systemInstruction: String? = nil, bootstrapDraws: Int = 100_000
    ) {
        self.numFewshot = numFewshot
        self.sampler = sampler
        self.fewshotSeed = fewshotSeed
        self.limit = limit
        self.maxLength = maxLength
        self.keepsSamples = keepsSamples
        self.appliesChatTemplate = appliesChatTemplate
        self.fewshotAsMultiturn = fewshotAsMultiturn
        self.systemInstruction = systemInstruction
        self.bootstrapDraws = bootstrapDraws
    }
}

/// What a model made of one document.
public struct TaskSample: Sendable, Equatable {
    /// What it was asked.
    public let question: TaskQuestion
    /// How likely it found each choice, or the target; nothing where it wrote.
    public let scores: [ContinuationScore]
    /// What it wrote, and what each filter takes of that; nil where it did not write.
    public let written: Written?

    /// A text and what is taken of it.
    public struct Written: Sendable, Equatable {
        /// The answer up to the first text that ends it.
        public let text: String
        /// By the filters' order.
        public let filtered: [String]
    }

    init(question: TaskQuestion, scores: [ContinuationScore] = [], written: Written? = nil) {
        (self.question, self.scores, self.written) = (question, scores, written)
    }

    /// Log-likelihoods of the choices in nats.
    public var logLikelihoods: [Double] { scores.map(\.logLikelihood) }
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

/// Evaluates tasks as lm-evaluation-harness does: each choice's log-probability behind its context, contexts that are too
/// long cut from the left; texts in windows; answers written greedily. Use from one thread at a time.
public struct TaskEvaluator {
    private let model: any TaskModel
    private let options: EvaluationOptions
    private let prompts: TaskPrompts

    /// An evaluator of that model; `chatTemplate` is its own, for options that apply it.
    ///
    /// - Throws: a usage error for lengths that make no sense, and where the model lacks the template that it needs.
    public init(
        session: InferenceSession, tokenizer: Tokenizer, options: EvaluationOptions,
        chatTemplate: ChatTemplate? = nil
    ) throws {
        let positions = session.model.spec.maxPositionEmbeddings
        let maxLength = options.maxLength ?? positions
        guard (1...max(positions, 1)).contains(maxLength) else {
            throw MeraserError.usage("`max_length` \(maxLength): expected 1 to \(positions), the model's context")
        }
        guard !options.appliesChatTemplate || chatTemplate != nil else {
            throw MeraserError.usage("`apply_chat_template`: \(session.model.store.path) has no chat template")
        }
        model = TaskAsker(session: session, tokenizer: tokenizer, maxLength: maxLength)
        self.options = options
        prompts = TaskPrompts(
            template: options.appliesChatTemplate ? chatTemplate : nil, isMultiturn: options.fewshotAsMultiturn,
            systemInstruction: options.systemInstruction)
    }

    /// An evaluator of a model that is asked in texts; with the option of a chat template in conversations, which it is to
    /// apply its template to.
    public init(_ model: any TaskModel, options: EvaluationOptions) {
        (self.model, self.options) = (model, options)
        prompts = TaskPrompts(
            givesTurns: options.appliesChatTemplate, isMultiturn: options.fewshotAsMultiturn,
            systemInstruction: options.systemInstruction)
    }

    /// The questions of a task, as they will be asked.
    ///
    /// - Throws: a bad-input error that names the row for data that do not fit the task.
    public func questions(_ task: EvaluationTask) throws -> [TaskQuestion] {
        guard let first = task.documents.first else {
            throw MeraserError.badInput("task '\(task.definition.name)': no rows to score")
        }
        let definition = task.definition
        if prompts.givesTurns {
            guard case .generation = definition.output else {
                throw MeraserError.usage(
                    "`apply_chat_template`: conversations can only be answered by a server; task '\(definition.name)' is of "
                        + "the type \(definition.output.name)")
            }
        }
        let maker = try TaskQuestions(definition, first: first, prompts: prompts)
        var examples = try FewshotExamples(
            task.examples, count: numFewshot(definition), sampler: options.sampler ?? definition.sampler,
            excludesDocument: definition.excludesDocument, seed: options.fewshotSeed, name: definition.name)
        return try task.documents.prefix(options.limit ?? Int.max).map {
            try maker.question($0, examples: try examples.next(for: $0))
        }
    }

    /// A text that is read as a whole has nothing in front of it.
    private func numFewshot(_ definition: TaskDefinition) -> Int {
        if case .rolling = definition.output { return 0 }
        return options.numFewshot ?? definition.numFewshot
    }

    /// Evaluates a task.
    ///
    /// - Parameter onRequest: called with the number of requests done and of all.
    /// - Throws: a bad-input error that names the row for data that do not fit, a runtime error for values that are not
    ///   finite.
    public func evaluate(
        _ task: EvaluationTask, onRequest: (Int, Int) -> Void = { _, _ in }
    ) throws -> TaskResult {
        let questions = try questions(task)
        let places = task.documents.prefix(questions.count).map(\.place)
        let (samples, truncated) = try samples(task.definition, questions, places, onRequest)
        let definition = task.definition
        return TaskResult(
            definition: definition,
            metrics: try TaskMeasures(definition, draws: options.bootstrapDraws).measured(samples),
            count: samples.count, total: task.documents.count, numFewshot: numFewshot(definition),
            sampler: options.sampler ?? definition.sampler, truncated: truncated,
            samples: options.keepsSamples ? samples : nil)
    }

    private func samples(
        _ definition: TaskDefinition, _ questions: [TaskQuestion], _ places: [String], _ onRequest: (Int, Int) -> Void
    ) throws -> (samples: [TaskSample], truncated: Int) {
        switch definition.output {
        case .multipleChoice, .logLikelihood:
            let (scores, truncated) = try model.scores(questions, places: places, onRequest: onRequest)
            return (zip(questions, scores).map { TaskSample(question: $0, scores: $1) }, truncated)
        case .rolling:
            let scores = try model.textScores(questions, places: places, onRequest: onRequest)
            return (zip(questions, scores).map { TaskSample(question: $0, scores: [$1]) }, 0)
        case .generation(let rule):
            let (texts, truncated) = try model.answers(questions, places: places, rule: rule, onRequest: onRequest)
            let samples = try zip(zip(questions, texts), places).map { pair, place -> TaskSample in
                do {
                    let filtered = try rule.filters.map { try $0.applied(to: pair.1) }
                    return TaskSample(question: pair.0, written: .init(text: pair.1, filtered: filtered))
                } catch let error as MeraserError {
                    throw MeraserError(error.kind, "\(place): \(error.message)")
                }
            }
            return (samples, truncated)
        }
    }
}
