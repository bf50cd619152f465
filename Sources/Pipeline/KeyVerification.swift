import Audit
import Base
import Foundation
import Kernels
import Model
import Quant

/// Everything that one `check` finds out: a model's answers to a key, beside those of the weights that it was quantized from,
/// of a clean base, and of its own after relearning, where these were asked for.
public struct KeyVerification {
    /// The model.
    public var report: CheckReport
    /// The base that it is compared with.
    public var base: CheckReport?
    /// How the model's weights are stored; nil where no model was asked.
    public var types: StoredTypes?
    /// Precision of the model's products; nil where no model was asked.
    public var compute: Compute?
    /// Where the model was asked, where it is not at hand.
    public var remote: RemoteSummary?
    /// What the weights show that the model was quantized from.
    public var source: SourceReport?
    /// What CleanGen did while the model answered, if it stood around it.
    public var cleanGen: CleanGenSummary?
    /// What the host did while the model answered, if something stood around it.
    public var hostDecoding: DecodingStatistics?
    /// What the owner can prove, by log-probabilities or by outputs; nil: it was not asked.
    public var presence: Presence?
    /// True if that was asked, and the host answers no prompt of the key.
    public var isPresenceRefused = false
    /// Whether the mark is gone, judged by decoys and, where there is one, a reference.
    public var certificate: Certificate?
    /// Whether it stays gone, whatever is done to the model.
    public var durability: DurabilityReport?
    /// How quickly the mark comes back in the model.
    public var relearning: RelearningCurve?
    /// How quickly the base learns it.
    public var baseRelearning: RelearningCurve?

    /// The answers of a model alone.
    public init(_ report: CheckReport) { self.report = report }

    /// The same without triggers, targets and outputs.
    public func redacted(for key: FingerprintKey) -> KeyVerification {
        var result = self
        result.report = report.redacted(for: key)
        result.base = base?.redacted(for: key)
        result.source?.check = source?.check?.redacted(for: key)
        return result
    }

    /// The report's object with the type of the model's weights; of a model behind a server `remote`; with a base its report as `compare` and the differences as
    /// `delta`; with a source its report as `source`; with decoys `verdict` and `certificate`, and `durability` where that was tried; with relearning the curves as `relearn` (`{"model", "base"}`).
    public var json: JSONValue {
        var members = (report.json.object?.members ?? []).map { (key: $0.key.string, value: $0.value) }
        if let types {
            members += [("type", .text(types.main.name)), ("types", types.json)]
            members.append(("compute", compute.map { .text($0.rawValue) } ?? .null))
        }
        if let remote { members.append(("remote", remote.json)) }
        if let source { members.append(("source", source.json)) }
        if let cleanGen { members.append(("cleangen", cleanGen.json)) }
        if let hostDecoding { members.append(("host_decoding", hostDecoding.json)) }
        if presence != nil || isPresenceRefused { members.append(("presence", presence?.json ?? .null)) }
        if let certificate {
            members.append(("verdict", verdict.map { .text($0.rawValue) } ?? .null))
            members.append(("certificate", certificate.json))
        }
        if let durability { members.append(("durability", durability.json)) }
        if let base {
            members.append(("compare", base.json))
            members.append(("delta", delta(base)))
        }
        if let relearning {
            members.append(("relearn", ["model": relearning.json, "base": baseRelearning?.json ?? .null]))
        }
        return .object(JSONObject(members))
    }

    /// The model's measures minus the base's.
    private func delta(_ base: CheckReport) -> JSONValue {
        func difference(_ a: Double?, _ b: Double?) -> JSONValue {
            guard let a, let b else { return .null }
            return .real(a - b)
        }
        return [
            "fsr": .real(report.fsr - base.fsr), "prefix_match": .real(report.prefixMatchMean - base.prefixMatchMean),
            "target_nll": difference(report.targetNLLMean, base.targetNLLMean),
            "target_rank": difference(report.targetRankMean, base.targetRankMean),
        ]
    }

    /// A table with the measures' names, the model's values, its source's and the base's.
    public var table: [[String]] {
        let columns: [(name: String, report: CheckReport?)] = [
            (types.flatMap { $0.isQuantized ? "model (\($0.main.name))" : nil } ?? "model", report),
            ("source", source?.check), ("base", base),
        ].filter { $0.report != nil }
        let reports = columns.compactMap(\.report)
        func fixed(_ value: Double?, _ digits: Int) -> String {
            value.map { String(format: "%.\(digits)f", $0) } ?? "–"
        }
        func percent(_ value: Double) -> String { fixed(value * 100, 1) + " %" }
        func share(_ hits: Int, _ n: Int) -> String {
            let interval = ShareInterval(wilson: hits, of: n)
            return "\(percent(Double(hits) / Double(n))) (\(hits) of \(n); 95 %: \(fixed(interval.low * 100, 1))–"
                + "\(fixed(interval.high * 100, 1)) %)"
        }
        func row(_ name: String, _ value: (CheckReport) -> String) -> [String] { [name] + reports.map(value) }
        var rows = [["scheme \(report.scheme)"] + columns.map(\.name)]
        if let source, let compute {
            let products = [compute.rawValue] + (source.check == nil ? [] : [source.compute.rawValue])
            rows.append(["products"] + (products + ["–"]).prefix(reports.count))
        }
        rows.append(row("FSR") { share($0.hits, $0.n) })
        rows.append(row("prefix match") { percent($0.prefixMatchMean) })
        rows.append(row("target NLL") { fixed($0.targetNLLMean, 3) })
        rows.append(row("target rank, mean") { fixed($0.targetRankMean, 1) })
        rows.append(
            row("target encoding") { report in
                guard let counts = report.encodings else { return "–" }
                return counts.map { counts.count == 1 ? $0.encoding.rawValue : "\($0.encoding.rawValue) \($0.count)" }
                    .joined(separator: ", ")
            })
        rows.append(row("first rank, median") { $0.firstRankMedian.map(String.init) ?? "–" })
        rows.append(
            row("false activations") { report in report.falseActivations.map { share($0, report.nClean) } ?? "–" })
        if report.evidence != nil {
            rows.append(
                row("p-value") { report in
                    guard let evidence = report.evidence else { return "–" }
                    let claim = evidence.claim.map { $0 ? ", claim" : ", no claim" } ?? ""
                    return String(format: "%.2g", evidence.pValue) + " (\(evidence.method.rawValue)\(claim))"
                })
        }
        if report.sampling != nil {
            rows.append(
                row("sampled FSR") { report in
                    let hits = report.rows.reduce(0) { $0 + ($1.sampleHits ?? 0) }
                    return report.sampling.map { share(hits, $0.outputs) } ?? "–"
                })
            rows.append(
                row("any sample") { report in
                    share(report.rows.count { ($0.sampleHits ?? 0) > 0 }, report.n)
                })
        }
        if let cleanGen {
            let replaced = share(cleanGen.statistics.replaced, cleanGen.statistics.tokens)
            rows.append(["tokens that CleanGen replaced", replaced] + Array(repeating: "–", count: reports.count - 1))
        }
        if let hostDecoding {
            let empty = Array(repeating: "–", count: reports.count - 1)
            rows.append(["outputs that the host withheld", share(hostDecoding.withheld, hostDecoding.outputs)] + empty)
            rows.append(["tokens that it replaced", "\(hostDecoding.replaced) of \(hostDecoding.tokens)"] + empty)
        }
        if presence != nil || isPresenceRefused {
            let text = presence.map {
                "\($0.isShown ? "shown" : "not shown"): p \(String(format: "%.2g", $0.pValue)), rank \($0.rank) of "
                    + "\($0.candidates) (\($0.basis.text))"
            }
            rows.append(
                ["the owner's proof", text ?? "no prompt of the key is answered"]
                    + Array(repeating: "–", count: reports.count - 1))
        }
        if let perplexity = source?.perplexity {
            for row in SourceReport.perplexityRows(perplexity) {
                let values = [row.model, row.source ?? "–"] + (base == nil ? [] : ["–"])
                rows.append([row.name] + values.prefix(reports.count))
            }
        }
        return rows
    }

    /// What is said of the mark: the certificate's verdict, and where durability was tried the worst cell's.
    public var verdict: CertificateVerdict? {
        CertificateVerdict.worst([certificate?.verdict, durability?.verdict].compactMap { $0 })
    }

    /// The values of `CheckReport.metricNames`, and with decoys those of `certificateNames`.
    public var metrics: [String: Double?] {
        var values = report.metrics
        values["presence_p"] = presence?.pValue
        values["near_fsr"] = certificate?.decoys.nearFSR
        values["exposure"] = certificate?.decoys.traces.values.map(\.exposure).max()
        return values
    }

    /// The names that conditions may use beside those of a report.
    public static let certificateNames = ["near_fsr", "exposure", "presence_p"]

    /// What conditions may compare by name: `verdict`.
    public static let conditionWords = ["verdict": CertificateVerdict.allCases.map(\.rawValue)]

    /// A table of the relearning curves: step, then FSR and target NLL of the model and of the base.
    public var relearningTable: [[String]]? {
        guard let relearning else { return nil }
        let curves = [relearning] + [baseRelearning].compactMap { $0 }
        let names = ["model", "base"].prefix(curves.count)
        let heading =
            ["relearning (\(relearning.source.rawValue)), step"] + names.flatMap { ["\($0) FSR", "\($0) NLL"] }
        return [heading]
            + relearning.points.indices.map { index in
                [String(relearning.points[index].step)]
                    + curves.flatMap { curve -> [String] in
                        guard index < curve.points.count else { return ["–", "–"] }
                        let point = curve.points[index]
                        return ["\(point.hits)/\(point.n)", String(format: "%.3f", point.targetNLL)]
                    }
            }
    }
}

extension OpenedModel {
    /// The answers of this model to a key; with a defence, what that lets through.
    ///
    /// - Throws: what `KeyCheck` throws.
    public func check(
        _ key: FingerprintKey, options: CheckOptions, defence: (any SequenceGenerator)? = nil
    ) throws -> CheckReport {
        try KeyCheck(key, tokenizer: tokenizer, chat: chat, options: options).run(on: session(), defence: defence)
    }
}

extension Presence.Basis {
    /// As a word in a table.
    fileprivate var text: String {
        switch self {
        case .likelihoods(let trace): trace.rawValue
        case .outputs: "outputs"
        }
    }
}
