import Base

/// The results of several tasks, as lm-evaluation-harness writes them: its table tools read `json`.
public struct EvaluationReport: Sendable {
    /// The tasks in the order they were asked for.
    public let tasks: [TaskResult]
    /// Groups of them.
    public let groups: [TaskGroup]
    /// How they were evaluated.
    public let options: EvaluationOptions
    /// The model's name, without its folder; for `config`.
    public var model: String
    /// The adapters' names; for `config`.
    public var adapters: [String]
    /// Where the model was asked, in lm-eval's words `local-completions`; nil: it was at hand. For `config`.
    public var server: String?

    /// A report on those tasks and groups of them, whose names must differ.
    public init(
        _ tasks: [TaskResult], groups: [TaskGroup] = [], options: EvaluationOptions, model: String = "",
        adapters: [String] = []
    ) {
        self.tasks = tasks
        self.groups = groups
        self.options = options
        self.model = model
        self.adapters = adapters
    }

    /// The tasks in a group and in the groups in it.
    private func tasks(in group: TaskGroup) -> [TaskResult] {
        group.children.flatMap { child in
            if let inner = groups.first(where: { $0.name == child }) { return tasks(in: inner) }
            return tasks.filter { $0.definition.name == child }
        }
    }

    /// The measures of the groups that have some, in the order of `groups`.
    public var groupMetrics: [(group: TaskGroup, count: Int, metrics: [MeasuredMetric])] {
        groups.map { GroupResult($0, tasks: tasks(in: $0)) }.filter { !$0.metrics.isEmpty }
            .map { ($0.group, $0.count, $0.metrics) }
    }

    /// `eval --json`: lm-eval's members `results`, `groups` where there are some, `group_subtasks`, `configs`, `versions`,
    /// `n-shot`, `higher_is_better`, `n-samples` and `config`; `samples` only where they were kept.
    public var json: JSONValue {
        func byName(_ value: (TaskResult) -> JSONValue) -> JSONValue {
            .object(JSONObject(tasks.map { (key: $0.definition.name, value: value($0)) }))
        }
        let whole = groups.map { (key: $0.name, value: GroupResult($0, tasks: tasks(in: $0)).json) }
        let subtasks = groups.map { (key: $0.name, value: JSONValue.array($0.children.map { .text($0) })) }
        let versions = groups.map { (key: $0.name, value: $0.version) }
        var members: [(key: String, value: JSONValue)] = [
            ("results", .object(JSONObject(whole + Self.members(byName(\.json)))))
        ]
        if !groups.isEmpty { members.append(("groups", .object(JSONObject(whole)))) }
        members += [
            ("group_subtasks", .object(JSONObject(subtasks))), ("configs", byName(\.definition.config)),
            ("versions", .object(JSONObject(versions + Self.members(byName(\.definition.version))))),
            ("n-shot", byName { .integer($0.numFewshot) }),
            (
                "higher_is_better",
                byName { task in
                    .object(
                        JSONObject(
                            task.definition.metrics.map { (key: $0.rawValue, value: .bool($0.higherIsBetter)) }))
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

    private static func members(_ value: JSONValue) -> [(key: String, value: JSONValue)] {
        value.object?.members.map { (key: $0.key.string, value: $0.value) } ?? []
    }

    private var config: JSONValue {
        [
            "model": .text(server == nil ? "meraser" : "local-completions"),
            "model_args": server.map { ["base_url": .text($0), "model": .text(model)] }
                ?? ["pretrained": .text(model), "peft": .array(adapters.map { .text($0) })],
            "max_length": options.maxLength.map { .integer($0) } ?? .null,
            "limit": options.limit.map { .integer($0) } ?? .null,
            "fewshot_seed": .integer(Int(clamping: options.fewshotSeed)),
            "fewshot_sampler": options.sampler.map { .text($0.rawValue) } ?? .null,
            "system_instruction": options.systemInstruction.map { .text($0) } ?? .null,
            "apply_chat_template": .bool(options.appliesChatTemplate),
            "fewshot_as_multiturn": .bool(options.appliesChatTemplate && options.fewshotAsMultiturn),
            "truncated_requests": .integer(tasks.reduce(0) { $0 + $1.truncated }),
        ]
    }

    /// A document with lm-eval's names for its parts.
    private static func sample(_ index: Int, _ sample: TaskSample) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [("doc_id", .integer(index))]
        switch sample.question.answer {
        case .choice(_, let gold): members.append(("target", .integer(gold[0])))
        case .target, .text: members.append(("target", .text(sample.question.requests[0].continuation)))
        case .written(let targets): members.append(("target", .array(targets.map { .text($0) })))
        }
        members.append(
            (
                "arguments",
                .array(sample.question.requests.map { .array([.text($0.context), .text($0.continuation)]) })
            ))
        if let written = sample.written {
            members += [
                ("resps", .array([.text(written.text)])),
                ("filtered_resps", .array(written.filtered.map { .text($0) })),
            ]
        } else {
            members.append(("filtered_resps", .array(sample.logLikelihoods.map { .number($0) })))
        }
        return .object(JSONObject(members))
    }
}

extension TaskResult {
    /// lm-eval's entry of a task: `acc,none`, `acc_stderr,none` and so on; a standard error that cannot be told is "N/A".
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("name", .text(definition.name)), ("alias", .text(definition.alias)), ("sample_len", .integer(count)),
        ]
        members += metrics.flatMap(\.members)
        return .object(JSONObject(members))
    }
}
