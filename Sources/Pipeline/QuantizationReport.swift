import Audit
import Base
import Kernels
import Model
import Quant

/// What quantizing did to a model: to a mark, to perplexity, and to what it predicts.
public struct QuantizationReport {
    private let types: StoredTypes
    private let compute: String
    private let check: CheckReport?
    private let source: SourceReport

    /// Measures a model and what it was converted from.
    ///
    /// - Parameters:
    ///   - source: a Hugging Face folder or a GGUF file.
    ///   - key: tried on both; nil: none is.
    ///   - data: a file of texts; nil: none is read.
    ///   - onWindow: called with the number of windows done and of all.
    /// - Throws: what opening and measuring throw.
    public init(
        of quantized: OpenedModel, source path: String, key: FingerprintKey?, data: String?,
        onWindow: ((Int, Int) -> Void)? = nil
    ) throws {
        guard let source = try SourceModel(of: quantized, .path(path)) else {
            throw MeraserError.usage("\(path) is no model")
        }
        try self.init(of: quantized, source: source, key: key, data: data, onWindow: onWindow)
    }

    /// Measures a model whose weights hold adapters, rounded anew, and the one that it was made of with those adapters
    /// on it.
    ///
    /// - Throws: what measuring throws, and `badInput` for other tokens than that model's.
    public init(
        of fused: OpenedModel, unfused: OpenedModel, key: FingerprintKey?, data: String?,
        onWindow: ((Int, Int) -> Void)? = nil
    ) throws {
        try fused.requireSameTokens(unfused, path: unfused.transformer.store.path)
        try self.init(of: fused, source: SourceModel(unfused: unfused), key: key, data: data, onWindow: onWindow)
    }

    private init(
        of quantized: OpenedModel, source: SourceModel, key: FingerprintKey?, data: String?,
        onWindow: ((Int, Int) -> Void)?
    ) throws {
        types = try quantized.types
        compute = quantized.transformer.compute.rawValue
        check = try key.map { try quantized.check($0, options: CheckOptions()) }
        self.source = try source.report(key: key, data: data, quantized: quantized, onWindow: onWindow)
    }

    /// `{"type", "types", "compute", "check", "source"}`; `check` is null without a key.
    public var json: JSONValue {
        [
            "type": .text(types.main.name), "types": types.json, "compute": .text(compute),
            "check": check?.json ?? .null, "source": source.json,
        ]
    }

    /// A table with the measures' names, the model's values and its source's.
    public var table: [[String]] {
        if let check {
            var verification = KeyVerification(check)
            (verification.types, verification.source) = (types, source)
            return verification.table
        }
        let rows = source.perplexity.map(SourceReport.perplexityRows) ?? []
        return [["", "model (\(types.main.name))", "source"]] + rows.map { [$0.name, $0.model, $0.source ?? "–"] }
    }
}
