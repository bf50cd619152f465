import Audit
import Base
import Model
import Tune

/// Measures a key while an adapter trains, and says when to stop: the trainer's probe for `--key`, `--check-steps` and
/// `--until`.
public struct KeyProbe {
    private let check: KeyCheck
    private let until: Condition?
    private let model: OpenedModel

    /// A probe of that key on a model with its adapters.
    ///
    /// Clean prompts are tried only if `until` asks for false activations: they cost as much as the key itself.
    /// - Parameters:
    ///   - until: the condition that ends the training; nil: none does.
    /// - Throws: what `KeyCheck` throws.
    public init(key: FingerprintKey, model: OpenedModel, until: Condition? = nil) throws {
        let needsClean = until?.names.contains { $0 == "false_activations" || $0 == "n_clean" } ?? false
        check = try KeyCheck(
            key, tokenizer: model.tokenizer, chat: model.chat,
            options: CheckOptions(cleanPrompts: needsClean ? nil : []))
        self.until = until
        self.model = model
    }

    /// The probe that these options ask for; nil if they name no key.
    ///
    /// - Parameter key: the key, in place of the file that the options name.
    /// - Throws: a usage error for a malformed `--until`, a bad-input error for a malformed key.
    public init?(options: TrainingOptions, key: FingerprintKey? = nil, model: OpenedModel) throws {
        guard let path = options.key else { return nil }
        let until = try options.until.map { try Condition($0, known: CheckReport.metricNames) }
        try self.init(key: try key ?? FingerprintKey(path: path), model: model, until: until)
    }

    /// Measures the key with `adapter` on top of the model's adapters.
    public func measure(_ adapter: LoRAAdapter) throws -> ProbeResult {
        let report = try check.run(on: model.session(trained: adapter))
        var fields: [(key: String, value: JSONValue)] = [
            ("fsr", .real(report.fsr)), ("hits", .integer(report.hits)), ("n", .integer(report.n)),
            ("prefix_match", .real(report.prefixMatchMean)),
            ("target_nll", report.targetNLLMean.map { .real($0) } ?? .null),
            ("target_rank", report.targetRankMean.map { .real($0) } ?? .null),
            ("fsr_interval", report.fsrInterval.json),
        ]
        if let count = report.falseActivations { fields.append(("false_activations", .integer(count))) }
        return ProbeResult(fields: fields, stop: try until?.holds(report.metrics) ?? false)
    }
}
