import Base
import Model

/// What a zero-shot task measures, by lm-evaluation-harness's names.
public enum TaskMetric: String, Sendable, CaseIterable {
    /// Share of documents whose likeliest choice is the right one.
    case acc
    /// The same with each log-likelihood divided by the choice's length in characters (code points).
    case accNorm = "acc_norm"
    /// The same with each log-likelihood divided by the choice's length in UTF-8 bytes.
    case accBytes = "acc_bytes"
    /// The mean over the choices' indices of the F1 score of that index against all others.
    case f1
}

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

/// A multiple-choice task as lm-evaluation-harness declares it: which splits, what text, which choices, what is right.
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
    /// The right choice.
    public var docToTarget: Target
    /// The choices.
    public var docToChoice: Choices
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
    /// Data files by split, if the task names its own.
    public var dataFiles: [String: [String]]
    /// The task file, for results.
    public var config: JSONValue

    /// A task with lm-eval's defaults.
    public init(
        name: String, docToText: TaskField, docToTarget: Target, docToChoice: Choices,
        metrics: [TaskMetric] = [.acc, .accNorm], config: JSONValue = .null
    ) {
        self.name = name
        alias = name
        version = .text("Yaml")
        self.docToText = docToText
        self.docToTarget = docToTarget
        self.docToChoice = docToChoice
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
