import Audit
import Base
import Model
import Quant

extension OpenedModel {
    /// Evaluates tasks with the model and its adapters.
    ///
    /// - Parameters:
    ///   - tasks: what to evaluate; names differ.
    ///   - groups: groups of them.
    ///   - data: the folder with the rows of tasks that do not name their own (`EvaluationTask`).
    ///   - onRequest: called with a task's name and the number of its requests done and of all.
    /// - Throws: usage and bad-input errors of options, data and tasks.
    public func evaluate(
        _ tasks: [TaskDefinition], groups: [TaskGroup] = [], data: String?, options: EvaluationOptions,
        onRequest: (String, Int, Int) -> Void = { _, _, _ in }
    ) throws -> EvaluationReport {
        try EvaluationReport(
            tasks, groups: groups, data: data, options: options, model: fileName(ofPath: transformer.store.path),
            adapters: adapterPaths.map(fileName), onRequest: onRequest
        ) {
            try TaskEvaluator(
                session: session(), tokenizer: tokenizer, options: options, chatTemplate: chatTemplate)
        }
    }
}

extension EvaluationReport {
    /// Evaluates tasks with the evaluator that is made once their data are read.
    ///
    /// - Parameters:
    ///   - data: the folder with the rows of tasks that do not name their own.
    ///   - onRequest: called with a task's name and the number of its requests done and of all.
    /// - Throws: usage and bad-input errors of options, data and tasks.
    public init(
        _ tasks: [TaskDefinition], groups: [TaskGroup], data: String?, options: EvaluationOptions, model: String,
        adapters: [String] = [], onRequest: (String, Int, Int) -> Void, evaluator: () throws -> TaskEvaluator
    ) throws {
        // All data are read first: a mistake in the last task shows before the first is scored.
        let loaded = try tasks.map { task in
            try EvaluationTask(task, data: data, needsExamples: options.numFewshot ?? task.numFewshot > 0)
        }
        let evaluator = try evaluator()
        let results = try loaded.map { task in
            try evaluator.evaluate(task) { onRequest(task.definition.name, $0, $1) }
        }
        self.init(results, groups: groups, options: options, model: model, adapters: adapters)
    }
}
