import ArgumentParser
import Audit
import Base
import Pipeline

struct Evaluate: WritingCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Score multiple-choice tasks as lm-evaluation-harness does, or a text classifier on labelled rows.",
        discussion: """
            Bundled tasks: \(TaskLibrary.names.joined(separator: ", ")). Data are local files in the datasets' own \
            columns; docs/reference/evaluation.md tells where they are looked for, and how to write a task.
            Example: meraser eval --model tinychat.mqf --tasks sciq,piqa --data Examples/data/tasks
            A BERT or RoBERTa classifier, its accuracy and what a backdoor's trigger does to it: \
            meraser eval --task classification --model FOLDER --data test.tsv --trigger cf --target-label 1
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(
        parsing: .singleValue,
        help: "Tasks: names with commas, task files (.yml), folders of task files; may be repeated.",
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

    func validate() throws {
        if let numFewshot, !(0...1000).contains(numFewshot) { throw ValidationError("--num-fewshot must be 0 to 1000") }
        if let limit, limit < 1 { throw ValidationError("--limit must be at least 1") }
        guard tasks.isEmpty == (classification.task != nil) else {
            throw ValidationError("give either --tasks or --task classification")
        }
        if classification.task != nil, numFewshot != nil || fewshotSampler != nil || !model.adapter.isEmpty {
            throw ValidationError("--num-fewshot, --fewshot-sampler and --adapter are not for classifiers")
        }
    }

    var outputs: [Output] { out.map { [Output($0)] } ?? [] }

    func inputs() throws -> [String] { model.inputs + tasks + [data, classification.dataPoisoned].compactMap { $0 } }

    func run() throws {
        if classification.task != nil {
            let report = try classification.evaluate(
                model: model, data: data, limit: limit, maxLength: maxLength, keepsSamples: logSamples, seed: draw.value,
                common: common,
                checking: { if let out { try AtomicFile.checkDestination(out, overwrite: overwrite) } })
            return try show(report.json, report.text)
        }
        let definitions = try TaskLibrary.tasks(tasks)
        if let out { try AtomicFile.checkDestination(out, overwrite: overwrite) }
        let opened = try model.open(common)
        let bar = common.progressBar("eval")
        let report = try opened.evaluate(
            definitions, data: data,
            options: EvaluationOptions(
                numFewshot: numFewshot, sampler: fewshotSampler, fewshotSeed: draw.seed ?? 1234, limit: limit,
                maxLength: maxLength, keepsSamples: logSamples),
            onRequest: { bar.update(done: $1, total: $2) })
        bar.finish()
        for task in report.tasks where task.truncated > 0 {
            common.warn(
                "\(task.definition.name): \(task.truncated) contexts were cut at their beginning to fit the model")
        }
        try show(report.json, report.text)
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
        for task in tasks {
            for (index, metric) in task.metrics.enumerated() {
                let first = [
                    task.definition.alias, task.definition.version.serialized(), "\(task.numFewshot)", "\(task.count)",
                ]
                rows.append(
                    (index == 0 ? first : first.map { _ in "" }) + [
                        metric.metric.rawValue, numberText(metric.value, 4),
                        metric.standardError.map { "± " + numberText($0, 4) } ?? "N/A",
                    ])
            }
        }
        return tableText(rows).escapingControlCharacters(keepingNewlines: true)
    }
}
