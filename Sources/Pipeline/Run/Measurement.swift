import Audit
import Base
import Kernels
import Model
import Quant

/// What the pipeline measures of a model after each stage: its answers to the key, its perplexity, and tasks.
struct Measurement {
    /// The key.
    let key: FingerprintKey
    /// Prompts that must not fire; nil: the key's.
    let cleanPrompts: [String]?
    /// How perplexity is measured; nil: not at all.
    let perplexity: Recipe.PerplexityStage?
    /// Which tasks are scored; nil: none.
    let evaluation: Recipe.EvaluationStage?
    /// Put hashes in place of triggers, targets and outputs.
    let redact: Bool

    /// `{"type", "compute", "check", "ppl", "eval"}`; `ppl` and `eval` are null if they are not measured. With a model that was
    /// quantized from this one `quantized` is the perplexity of that, with its divergence from this one.
    func measure(_ model: OpenedModel, quantized: OpenedModel? = nil) throws -> JSONValue {
        let check = try KeyCheck(
            key, tokenizer: model.tokenizer, chat: model.chat, options: CheckOptions(cleanPrompts: cleanPrompts))
        var report = try check.run(on: model.session())
        if redact { report = report.redacted(for: key) }
        var members: [(key: String, value: JSONValue)] = [
            ("type", .text(try StoredTypes(model.transformer.store).main.name)),
            ("compute", .text(model.transformer.compute.rawValue)), ("check", report.json),
            ("ppl", try perplexity.map { try measure(model, $0) } ?? .null),
            (
                "eval",
                try evaluation.map { try model.evaluate($0.tasks, data: $0.data, options: $0.options).json } ?? .null
            ),
        ]
        if let quantized, let perplexity {
            members.append(("quantized", try measure(quantized, perplexity, base: model)))
        }
        return .object(JSONObject(members))
    }

    /// The hashes of what the measures are made with, but for the model and the key.
    func inputs() throws -> [(key: String, value: JSONValue)] {
        let perplexity = try perplexity.map { stage -> JSONValue in
            [
                "sha256": .text(try sha256Hex(ofFile: stage.data)), "protocol": .text(stage.options.scheme.rawValue),
                "max_length": .integer(stage.options.maxLength ?? PerplexityOptions.standardLength),
            ]
        }
        let evaluation = try evaluation.map { stage -> JSONValue in
            .object(JSONObject(try stage.tasks.map { (key: $0.name, value: try inputs($0, stage)) }))
        }
        return [("ppl", perplexity ?? .null), ("eval", evaluation ?? .null)]
    }

    private func inputs(_ task: TaskDefinition, _ stage: Recipe.EvaluationStage) throws -> JSONValue {
        let shots = stage.options.numFewshot ?? task.numFewshot
        let splits = [task.evaluationSplit] + (shots > 0 ? [task.exampleSplit] : [])
        let files = try splits.flatMap { try EvaluationTask.files(task, split: $0, data: stage.data) }
        return [
            "config": .text(sha256Hex(task.config.serialized().utf8)),
            "data": .array(try files.map { .text(try sha256Hex(ofFile: $0)) }), "num_fewshot": .integer(shots),
            "limit": stage.options.limit.map { .integer($0) } ?? .null,
        ]
    }

    private func measure(
        _ model: OpenedModel, _ stage: Recipe.PerplexityStage, base: OpenedModel? = nil
    ) throws -> JSONValue {
        try Audit.perplexity(
            ofFile: stage.data, session: model.session(), tokenizer: model.tokenizer, options: stage.options,
            base: base?.session()
        ).json
    }
}
