import ArgumentParser
import Audit
import Base
import Client
import Pipeline

struct Evaluate: WritingCommand, RemoteCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Score tasks as lm-evaluation-harness does, or a text classifier on labelled rows.",
        discussion: """
            Bundled tasks: \(TaskLibrary.names.joined(separator: ", ")); groups of subjects: \
            \(TaskLibrary.groupNames.joined(separator: ", ")). Data are local files in the datasets' own columns; \
            docs/reference/evaluation.md tells where they are looked for, and how to write a task.
            Example: meraser eval --model tinychat.mqf --tasks sciq,piqa --data Examples/data/tasks
            A BERT or RoBERTa classifier, its accuracy and what a backdoor's trigger does to it: \
            meraser eval --task classification --model FOLDER --data test.tsv --trigger cf --target-label 1
            A model behind a server: meraser eval --url http://127.0.0.1:8080 --tasks sciq --data Examples/data/tasks
            """)

    @Option(
        name: .shortAndLong, help: "The model: an .mqf or .gguf file or a Hugging Face folder.",
        completion: .file())
    var model: String?

    @OptionGroup(title: "Model") var on: AdapterOptions
    @OptionGroup(title: "Server") var remote: RemoteOptions

    @Option(
        parsing: .singleValue,
        help:
            "Tasks: names of tasks and groups with commas, task files (.yml), folders of task files; may be repeated.",
        completion: .file())
    var tasks: [String] = []

    @OptionGroup(title: "Text classifiers") var classification: ClassificationOptions

    @Option(
        help: """
            A folder with TASK.jsonl or TASK/SPLIT.jsonl for each task (or .json); for one task its file. For a \
            classifier: .jsonl or .tsv rows with `text` (or `sentence`) and `label`.
            """,
        completion: .file())
    var data: String?

    @Option(help: "Examples in front of each row (default: as the task says).")
    var numFewshot: Int?

    @Option(help: "How examples are drawn: default (lm-eval's random ones, seed 1234 unless --seed) or first_n.")
    var fewshotSampler: FewshotSampler?

    @Flag(help: "Write prompts by the model's chat template: description and --system-instruction are its system turn.")
    var applyChatTemplate = false

    @Flag(
        inversion: .prefixedNo,
        help: "With --apply-chat-template: examples are turns of their own (default), or one turn with the question.")
    var fewshotAsMultiturn: Bool?

    @Option(help: "A text in front of each task's own description.")
    var systemInstruction: String?

    @Option(help: "Score only the first rows of each task.")
    var limit: Int?

    @Option(help: "Tokens that the model may see; longer contexts lose their beginning (default: the model's context).")
    var maxLength: Int?

    @Option(
        name: .shortAndLong, help: "Write the results to this .json file as well.",
        completion: .file(extensions: ["json"]))
    var out: String?

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @Flag(help: "Put every context, choice and log-likelihood, or every row and its logits, into the results.")
    var logSamples = false

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    static let remoteFlags: Set<String> = [
        "--tasks", "--data", "--num-fewshot", "--fewshot-sampler", "--system-instruction", "--limit", "--out", "-o",
        "--overwrite", "--log-samples", "--seed", "--apply-chat-template", "--fewshot-as-multiturn",
        "--no-fewshot-as-multiturn",
    ]

    func validate() throws {
        guard (model == nil) != (remote.url == nil) else { throw ValidationError("give either --model or --url") }
        if let numFewshot, !(0...1000).contains(numFewshot) { throw ValidationError("--num-fewshot must be 0 to 1000") }
        if let limit, limit < 1 { throw ValidationError("--limit must be at least 1") }
        guard tasks.isEmpty == (classification.task != nil) else {
            throw ValidationError("give either --tasks or --task classification")
        }
        if classification.task != nil, numFewshot != nil || fewshotSampler != nil || !on.adapter.isEmpty {
            throw ValidationError("--num-fewshot, --fewshot-sampler and --adapter are not for classifiers")
        }
        if classification.task != nil, applyChatTemplate || systemInstruction != nil {
            throw ValidationError("--apply-chat-template and --system-instruction are not for classifiers")
        }
        if fewshotAsMultiturn != nil, !applyChatTemplate {
            throw ValidationError("--fewshot-as-multiturn is about --apply-chat-template, which is not given")
        }
    }

    var outputs: [Output] { remote.outputs + (out.map { [Output($0)] } ?? []) }

    func inputs() throws -> [String] {
        on.adapter + tasks + [model, data, classification.dataPoisoned].compactMap { $0 }
    }

    func run() throws {
        if classification.task != nil {
            let report = try classification.evaluate(
                model: model ?? "", on: on, data: data, limit: limit, maxLength: maxLength, keepsSamples: logSamples,
                seed: draw.value,
                common: common,
                checking: { if let out { try AtomicFile.checkDestination(out, overwrite: overwrite) } })
            return try show(report.json, report.text)
        }
        let selection = try TaskLibrary.selection(tasks)
        if let out { try AtomicFile.checkDestination(out, overwrite: overwrite) }
        let bar = common.progressBar("eval")
        let report = try report(selection) { bar.update(done: $0, total: $1) }
        bar.finish()
        for task in report.tasks where task.truncated > 0 {
            common.warn(
                "\(task.definition.name): \(task.truncated) contexts were cut at their beginning to fit the model")
        }
        try show(report.json, report.text)
    }

    private func report(
        _ selection: TaskSelection, _ onRequest: (Int, Int) -> Void
    ) throws -> EvaluationReport {
        let options = EvaluationOptions(
            numFewshot: numFewshot, sampler: fewshotSampler, fewshotSeed: draw.seed ?? 1234, limit: limit,
            maxLength: maxLength, keepsSamples: logSamples, appliesChatTemplate: applyChatTemplate,
            fewshotAsMultiturn: fewshotAsMultiturn ?? true, systemInstruction: systemInstruction)
        guard let url = remote.url else {
            return try on.open(model ?? "", common).evaluate(
                selection.tasks, groups: selection.groups, data: data, options: options,
                onRequest: { onRequest($1, $2) })
        }
        // The server is asked once the data are known to be there.
        var server: RemoteModel?
        var report = try EvaluationReport(
            selection.tasks, groups: selection.groups, data: data, options: options, model: "",
            onRequest: { onRequest($1, $2) }
        ) {
            let opened = try remote.open(url, common)
            server = opened
            return TaskEvaluator(RemoteTaskModel(opened), options: options)
        }
        report.model = server?.name ?? ""
        report.server = server?.endpoint.options.address.text
        return report
    }

    private func show(_ json: JSONValue, _ text: String) throws {
        if let out {
            // The rows of a classifier's test hold its trigger.
            try writeFileAtomically(
                path: out, Array((Console.record(json).serialized(indent: 2) + "\n").utf8), overwrite: overwrite,
                mode: classification.task == nil ? 0o666 : ownerOnly)
        }
        if common.json { Console.json(json) } else { Console.output(text) }
    }
}

extension FewshotSampler: ExpressibleByArgument {}

extension EvaluationReport {
    /// lm-eval's table.
    fileprivate var text: String {
        var rows = [["task", "version", "n-shot", "rows", "metric", "value", "stderr"]]
        func add(_ metrics: [MeasuredMetric], _ first: [String]) {
            for (index, metric) in metrics.enumerated() {
                let name = metric.metric.rawValue + (metric.filter == "none" ? "" : ", \(metric.filter)")
                rows.append(
                    (index == 0 ? first : first.map { _ in "" }) + [
                        name, numberText(metric.value, 4),
                        metric.standardError.map { "± " + numberText($0, 4) } ?? "N/A",
                    ])
            }
        }
        for task in tasks {
            let definition = task.definition
            add(
                task.metrics,
                [definition.alias, definition.version.serialized(), "\(task.numFewshot)", "\(task.count)"])
        }
        for (group, count, metrics) in groupMetrics {
            add(metrics, [group.alias, group.version.serialized(), "", "\(count)"])
        }
        return tableText(rows).escapingControlCharacters(keepingNewlines: true)
    }
}
