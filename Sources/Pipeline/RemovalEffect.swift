import Audit
import Base
import Kernels
import Model

/// What a training did to a mark in a quantized model, and what its adapter does to it in the weights that the model was
/// quantized from.
public struct RemovalEffect {
    /// A model and its source, with the same adapters.
    public struct Answers {
        let model: CheckReport
        let source: CheckReport

        /// Tries a key on both.
        ///
        /// - Throws: what `KeyCheck` throws.
        public init(_ key: FingerprintKey, on model: OpenedModel, _ source: SourceModel) throws {
            self.model = try model.check(key, options: CheckOptions())
            self.source = try source.model.check(key, options: CheckOptions())
        }

        fileprivate var json: JSONValue { ["model": Self.json(model), "source": Self.json(source)] }

        private static func json(_ report: CheckReport) -> JSONValue {
            [
                "n": .integer(report.n), "hits": .integer(report.hits), "fsr": .real(report.fsr),
                "fsr_interval": report.fsrInterval.json, "prefix_match_mean": .real(report.prefixMatchMean),
                "target_nll_mean": report.targetNLLMean.map { .real($0) } ?? .null,
                "false_activations": report.falseActivations.map { .integer($0) } ?? .null,
                "n_clean": .integer(report.nClean),
            ]
        }
    }

    private let source: SourceModel
    private let type: String
    private let before: Answers
    private let after: Answers

    /// The answers before the training and after it, of a model whose weights are of that type.
    public init(source: SourceModel, type: String, before: Answers, after: Answers) {
        (self.source, self.type, self.before, self.after) = (source, type, before, after)
    }

    /// `{"model", "identity", "compute", "before": {"model", "source"}, "after": …}`.
    public var json: JSONValue {
        [
            "model": .text(source.name), "identity": .text(source.identity.rawValue),
            "compute": .text(source.model.transformer.compute.rawValue), "before": before.json, "after": after.json,
        ]
    }

    /// A table: a row for model and source each, before and after.
    public var table: [[String]] {
        func cells(_ report: CheckReport) -> [String] {
            ["\(report.hits)/\(report.n)", report.targetNLLMean.map { Figures.number($0, 3) } ?? "–"]
        }
        return [
            ["", "before: fires", "target NLL", "after: fires", "target NLL"],
            ["model (\(type))"] + cells(before.model) + cells(after.model),
            ["source"] + cells(before.source) + cells(after.source),
        ]
    }
}
