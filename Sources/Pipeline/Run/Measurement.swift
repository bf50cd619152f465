import Audit
import Quant

/// What the pipeline measures of a model after each stage: its answers to the key, and its perplexity.
struct Measurement {
    /// The key.
    let key: FingerprintKey
    /// Prompts that must not fire; nil: the key's.
    let cleanPrompts: [String]?
    /// How perplexity is measured; nil: not at all.
    let perplexity: Recipe.PerplexityStage?
    /// Put hashes in place of triggers, targets and outputs.
    let redact: Bool

    /// `{"check": …, "ppl": …}`; `ppl` is null if it is not measured.
    func measure(_ model: OpenedModel) throws -> JSONValue {
        let check = try KeyCheck(
            key, tokenizer: model.tokenizer, chat: model.chat, options: CheckOptions(cleanPrompts: cleanPrompts))
        var report = try check.run(on: model.session())
        if redact { report = report.redacted(for: key) }
        return ["check": report.json, "ppl": try perplexity.map { try measure(model, $0) } ?? .null]
    }

    private func measure(_ model: OpenedModel, _ stage: Recipe.PerplexityStage) throws -> JSONValue {
        try Audit.perplexity(
            of: try loadTextRows(path: stage.data), session: model.session(), tokenizer: model.tokenizer,
            options: stage.options
        ).json
    }
}
