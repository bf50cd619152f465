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
        // All data are read first: a mistake in the last task shows before the first is scored.
        let loaded = try tasks.map { task in
            try EvaluationTask(task, data: data, needsExamples: options.numFewshot ?? task.numFewshot > 0)
        }
        let evaluator = try TaskEvaluator(
            session: session(), tokenizer: tokenizer, options: options,
            chatTemplate: chatTemplate)
        let results = try loaded.map { task in
            try evaluator.evaluate(task) { onRequest(task.definition.name, $0, $1) }
        }
        return EvaluationReport(
            results, groups: groups, options: options, model: fileName(ofPath: transformer.store.path),
            adapters: adapterPaths.map(fileName))
    }
}
