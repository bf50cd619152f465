import Base
import Model

/// How few-shot examples are drawn.
public enum FewshotSampler: String, Sendable, CaseIterable {
    /// At random, for each document anew, with Python's generator: lm-eval's own examples.
    case standard = "default"
    /// The first ones of the split.
    case firstN = "first_n"
}

/// Code that a task runs on each document before its templates see it.
public enum DocumentStep: String, Sendable, CaseIterable {
    /// HellaSwag's cleaning: adds `query`, `choices` and `gold` (`TaskDocument.hellaswag`).
    case hellaswag
    /// ReCoRD's entities and answers, each once and sorted.
    case record
    /// WikiText's tokens put together again: adds `text` to `page`, whose words and bytes count.
    case wikitext
}

/// Code that makes a task's measures of what a model made of a document, where its metrics alone do not say.
public enum ResultStep: String, Sendable, CaseIterable {
    /// `acc` is the share of probability of the right choices among all (TruthfulQA's MC2).
    case truthfulqaMC2 = "truthfulqa_mc2"
    /// `f1` and `em` are those of the likeliest entity with the best of the answers, as SQuAD has them.
    case record
}

/// A field of a task: the name of a column of the data, or a template over the columns.
public struct TaskField: Sendable {
    /// As the task file has it.
    public let source: String
    let template: TextTemplate

    /// A field; `name` begins the template's errors. Throws `badInput` for a template that cannot be read.
    public init(_ source: String, name: String) throws {
        self.source = source
        template = try TextTemplate(source: source, name: name)
    }
}

/// What a task asks of a model.
public enum TaskOutput: Sendable {
    /// The likelihood of each choice behind the context.
    case multipleChoice(TaskDefinition.Choices)
    /// The likelihood of the target behind the context.
    case logLikelihood
    /// The likelihood of the target as a whole, read in windows.
    case rolling
    /// What the model writes behind the context.
    case generation(GenerationRule)

    /// lm-eval's `output_type`.
    public var name: String {
        switch self {
        case .multipleChoice: "multiple_choice"
        case .logLikelihood: "loglikelihood"
        case .rolling: "loglikelihood_rolling"
        case .generation: "generate_until"
        }
    }
}

/// How an answer is written and what is taken of it.
public struct GenerationRule: Sendable {
    /// Texts that end the answer, which has none of them.
    public var until: [String]
    /// New tokens at most.
    public var maxTokens: Int
    /// What is compared: each filter's outcome by itself, under its name.
    public var filters: [AnswerFilter]

    /// A rule with lm-eval's defaults.
    public init(
        until: [String] = [], maxTokens: Int = 256, filters: [AnswerFilter] = [AnswerFilter(name: "none", steps: [])]
    ) {
        self.until = until
        self.maxTokens = maxTokens
        self.filters = filters
    }
}

/// The rows of a task among those of several, which may lie in one file.
public struct TaskSubset: Sendable, Equatable {
    /// The name of the folder or file for all of them.
    public let folder: String
    /// The column that tells them apart.
    public let column: String
    /// What it says in the rows of this task.
    public let value: String

    /// Those rows.
    public init(folder: String, column: String, value: String) {
        (self.folder, self.column, self.value) = (folder, column, value)
    }
}

/// A task as lm-evaluation-harness declares it: which splits, what text, which choices, what is right.
///
/// A task whose `docToText` gives an index is one of several contexts and one continuation (WinoGrande): the choices are
/// then the contexts, and `docToTarget` is the continuation.
public struct TaskDefinition: Sendable {
    /// The choices of a document.
    public enum Choices: Sendable {
        /// The same for all.
        case fixed([String])
        /// A column or template that gives a list of texts.
        case field(TaskField)
    }

    /// The right choice: an index, the choice's text, or a list of indices.
    public enum Target: Sendable {
        /// The same for all.
        case fixed(JSONValue)
        /// A column or template.
        case field(TaskField)
    }

    /// The name, `sciq`.
    public var name: String
    /// The name in tables.
    public var alias: String
    /// The version that results name.
    public var version: JSONValue
    /// The split that few-shot examples come from, if there is no `fewshotSplit`.
    public var trainingSplit: String?
    /// The split that is scored if there is no `testSplit`.
    public var validationSplit: String?
    /// The split that is scored.
    public var testSplit: String?
    /// The split that few-shot examples come from.
    public var fewshotSplit: String?
    /// Code run on each document first.
    public var step: DocumentStep?
    /// The context.
    public var docToText: TaskField
    /// The right choice, or the text behind the context.
    public var docToTarget: Target
    /// What is asked.
    public var output: TaskOutput
    /// The context, target and choices of few-shot examples, where they are others.
    public var fewshotFields: (text: TaskField?, target: Target?, choice: Choices?)
    /// The few-shot examples, if the task has them itself.
    public var fewshotSamples: [JSONObject]?
    /// Code that makes the measures.
    public var results: ResultStep?
    /// Which rows are the task's, where several tasks share a file.
    public var subset: TaskSubset?
    /// Text in front of everything.
    public var description: TaskField?
    /// Between a context and a choice.
    public var targetDelimiter: String
    /// Behind each few-shot example.
    public var fewshotDelimiter: String
    /// Examples, unless the command says otherwise.
    public var numFewshot: Int
    /// How they are drawn, unless the command says otherwise.
    public var sampler: FewshotSampler
    /// What is measured.
    public var metrics: [TaskMetric]
    /// What `exact_match` takes for equal.
    public var exactMatch: ExactMatch
    /// Data files by split, if the task names its own.
    public var dataFiles: [String: [String]]
    /// The task file, for results.
    public var config: JSONValue

    /// A multiple-choice task with lm-eval's defaults.
    public init(
        name: String, docToText: TaskField, docToTarget: Target, docToChoice: Choices,
        metrics: [TaskMetric] = [.acc, .accNorm], config: JSONValue = .null
    ) {
        self.init(
            name: name, docToText: docToText, docToTarget: docToTarget, output: .multipleChoice(docToChoice),
            metrics: metrics, config: config)
    }

    /// A task with lm-eval's defaults.
    public init(
        name: String, docToText: TaskField, docToTarget: Target, output: TaskOutput, metrics: [TaskMetric],
        config: JSONValue = .null
    ) {
        self.name = name
        alias = name
        version = .text("Yaml")
        self.docToText = docToText
        self.docToTarget = docToTarget
        self.output = output
        fewshotFields = (nil, nil, nil)
        exactMatch = ExactMatch()
        targetDelimiter = " "
        fewshotDelimiter = "\n\n"
        numFewshot = 0
        sampler = .standard
        self.metrics = metrics
        dataFiles = [:]
        self.config = config
    }

    /// The split that is scored.
    public var evaluationSplit: String { testSplit ?? validationSplit ?? "test" }

    /// The split that few-shot examples come from.
    public var exampleSplit: String { fewshotSplit ?? trainingSplit ?? validationSplit ?? evaluationSplit }

    /// Whether the document itself is kept from being its own example: lm-eval compares the two splits, and finds a task
    /// that names neither equal too.
    var excludesDocument: Bool { fewshotSplit == testSplit }
}
