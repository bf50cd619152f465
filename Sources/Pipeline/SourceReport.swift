import Audit
import Base
import Kernels
import Model
import Quant

/// What the source of a quantized model shows, beside what the quantized model shows.
public struct SourceReport {
    /// The source's file or folder, without where it lies.
    public let name: String
    /// Whether it is what the quantized model was made from.
    public let identity: SourceModel.Identity
    /// Precision of the source's products.
    public let compute: Compute
    /// The source's answers to the key, if one was tried.
    public var check: CheckReport?
    /// The quantized model's perplexity and its divergence from the source, if a text was read.
    public var perplexity: PerplexityReport?

    /// `{"model", "identity", "compute", "check", "ppl"}`; what was not measured is null.
    var json: JSONValue {
        [
            "model": .text(name), "identity": .text(identity.rawValue), "compute": .text(compute.rawValue),
            "check": check?.json ?? .null, "ppl": perplexity?.json ?? .null,
        ]
    }

    /// Rows of a table: perplexity, divergence and top token of the quantized model, perplexity of the source.
    static func perplexityRows(_ report: PerplexityReport) -> [(name: String, model: String, source: String?)] {
        guard let kl = report.kl else { return [] }
        return [
            ("perplexity", Figures.number(report.ppl, 4), Figures.number(kl.basePPL, 4)),
            ("perplexity, ratio", Figures.number(kl.ratio, 4), nil),
            ("KL from the source", "\(Figures.number(kl.mean, 5)) ± \(Figures.number(kl.standardError, 5))", nil),
            ("same top token", Figures.percent(kl.sameTop), nil),
        ]
    }
}

extension SourceModel {
    /// Measures a key and a text on the source, and the quantized model's divergence from it on the text.
    ///
    /// - Parameters:
    ///   - key: nil: none is tried.
    ///   - options: how it is tried.
    ///   - data: a file of texts: rows (`sample`), or one plain text (`strided`); nil: none is read.
    ///   - quantized: the model that the source was converted to.
    ///   - onWindow: called with the number of windows done and of all.
    /// - Throws: what the measures throw.
    public func report(
        key: FingerprintKey?, options: CheckOptions = CheckOptions(), data: String?, quantized: OpenedModel,
        onWindow: ((Int, Int) -> Void)? = nil
    ) throws -> SourceReport {
        // Nobody needs it until it is measured again, perhaps after a training.
        defer { model.transformer.store.releasePages() }
        var report = SourceReport(
            name: name, identity: identity, compute: model.transformer.compute)
        report.check = try key.map { try model.check($0, options: options) }
        report.check?.model = report.name
        report.check?.adapters = model.adapterPaths.map(fileName)
        report.perplexity = try data.map { path in
            try perplexity(
                ofFile: path, session: quantized.session(), tokenizer: quantized.tokenizer,
                options: PerplexityOptions(path.hasSuffix(".jsonl") ? .sample : .strided), base: model.session(),
                onWindow: onWindow)
        }
        return report
    }
}
