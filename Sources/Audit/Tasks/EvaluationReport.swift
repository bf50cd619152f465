import Base

/// The results of several tasks, as lm-evaluation-harness writes them: its table tools read `json`.
public struct EvaluationReport: Sendable {
    /// The tasks in the order they were asked for.
    public let tasks: [TaskResult]
    /// How they were evaluated.
    public let options: EvaluationOptions
    /// The model's name, without its folder; for `config`.
    public var model: String
    /// The adapters' names; for `config`.
    public var adapters: [String]

    /// A report on those tasks, whose names must differ.
    public init(_ tasks: [TaskResult], options: EvaluationOptions, model: String = "", adapters: [String] = []) {
        self.tasks = tasks
        self.options = options
        self.model = model
        self.adapters = adapters
    }

    /// `eval --json`: lm-eval's members `results`, `group_subtasks`, `configs`, `versions`, `n-shot`,
    /// `higher_is_better`, `n-samples` and `config`; `samples` only where they were kept.
    public var json: JSONValue {
        func byName(_ value: (TaskResult) -> JSONValue) -> JSONValue {
            .object(JSONObject(tasks.map { (key: $0.definition.name, value: value($0)) }))
        }
        var members: [(key: String, value: JSONValue)] = [
            ("results", byName(\.json)), ("group_subtasks", [:]), ("configs", byName(\.definition.config)),
            ("versions", byName(\.definition.version)), ("n-shot", byName { .integer($0.numFewshot) }),
            (
                "higher_is_better",
                byName { task in
                    .object(JSONObject(task.metrics.map { (key: $0.metric.rawValue, value: .bool(true)) }))
                }
            ),
            ("n-samples", byName { ["original": .integer($0.total), "effective": .integer($0.count)] }),
            ("config", config),
        ]
        if tasks.contains(where: { $0.samples != nil }) {
            members.append(("samples", byName { .array(($0.samples ?? []).enumerated().map(Self.sample)) }))
        }
        return .object(JSONObject(members))
    }

    private var config: JSONValue {
        [
            "model": .text("meraser"),
            "model_args": ["pretrained": .text(model), "peft": .array(adapters.map { .text($0) })],
            "max_length": options.maxLength.map { .integer($0) } ?? .null,
            "limit": options.limit.map { .integer($0) } ?? .null,
            "fewshot_seed": .integer(Int(clamping: options.fewshotSeed)),
            "fewshot_sampler": options.sampler.map { .text($0.rawValue) } ?? .null,
            "truncated_requests": .integer(tasks.reduce(0) { $0 + $1.truncated }),
        ]
    }

    /// A document with lm-eval's names for its parts.
    private static func sample(_ index: Int, _ sample: TaskSample) -> JSONValue {
        [
            "doc_id": .integer(index), "target": .integer(sample.question.gold[0]),
            "arguments": .array(
                sample.question.requests.map { .array([.text($0.context), .text($0.continuation)]) }),
            "filtered_resps": .array(sample.logLikelihoods.map { .number($0) }),
        ]
    }
}

extension TaskResult {
    /// lm-eval's entry of a task: `acc,none`, `acc_stderr,none` and so on; a standard error that cannot be told is "N/A".
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("name", .text(definition.name)), ("alias", .text(definition.alias)), ("sample_len", .integer(count)),
        ]
        for metric in metrics {
            members.append(("\(metric.metric.rawValue),none", .number(metric.value)))
            members.append(
                ("\(metric.metric.rawValue)_stderr,none", metric.standardError.map { .number($0) } ?? .text("N/A")))
        }
        return .object(JSONObject(members))
    }
}
