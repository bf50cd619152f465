import Audit
import Base
import Kernels
import Model

extension OpenedModel {
    /// The decoys of a key, drawn for this model's tokenizer and template; the model is not asked yet.
    ///
    /// - Throws: what `DecoyTest` throws.
    public func decoyTest(
        _ key: FingerprintKey, options: DecoyOptions, check: CheckOptions = CheckOptions()
    ) throws -> DecoyTest {
        try DecoyTest(key, tokenizer: tokenizer, chat: chat, options: options, check: check)
    }

    /// Whether a key's mark is gone from this model, judged by decoys and, where there is one, a reference.
    ///
    /// - Throws: what checks and decoys throw.
    public func certificate(
        _ key: FingerprintKey, options: DecoyOptions, reference: OpenedModel? = nil
    ) throws -> Certificate {
        let check = try check(key, options: CheckOptions(cleanPrompts: []))
        let decoys = try decoyTest(key, options: options).run(on: session())
        let twin = try reference?.check(key, options: CheckOptions(cleanPrompts: []))
        return Certificate(
            check, decoys: decoys, reference: twin.flatMap { ReferenceComparison(model: check, reference: $0) })
    }

    /// A test of the certificate itself, on keys like that one that nobody embedded.
    public func decoyKeyTest(
        _ key: FingerprintKey, options: DecoyKeyOptions, check: CheckOptions = CheckOptions()
    ) -> DecoyKeyTest {
        DecoyKeyTest(key, tokenizer: tokenizer, chat: chat, options: options, check: check)
    }
}

extension Certificate {
    /// The verdict and why, in a sentence for terminals.
    public var sentence: String {
        let scar =
            scars.isEmpty
            ? ""
            : " A scar: the target is unlikelier than chance makes it (\(scars.map(\.rawValue).joined(separator: ", ")))."
        let held = decoys.isHeldOut ? "" : " The key has one pair: if it steered the removal, it judges itself."
        return "Is it gone? \(verdict.words): \(reason).\(scar)\(held)"
    }

    /// A table of the traces with their margins.
    public var table: [[String]] {
        [["decoys (\(decoys.kind.rawValue))", "effect", "upper bound", "margin", "p", "exposure"]]
            + DecoyTrace.allCases.compactMap { trace in
                decoys.traces[trace].map { found in
                    [
                        trace.rawValue, Figures.signed(found.effect, 3), Figures.signed(found.upperBound, 3),
                        Figures.number(margins[trace], 2), Figures.number(found.pValue, 4),
                        Figures.number(found.exposure, 1) + " bits",
                    ]
                }
            } + [
                ["near decoys that fire", "\(decoys.near.hits)/\(decoys.near.n)", "", "", "", ""]
            ]
            + (reference.map { reference in
                [
                    [
                        "reference", Figures.signed(reference.effect, 3),
                        reference.upperBound.isFinite ? Figures.signed(reference.upperBound, 3) : "–",
                        Figures.number(reference.margin, 2), "", "",
                    ]
                ]
            } ?? [])
    }
}

extension CertificateVerdict {
    /// The verdict as an answer.
    public var words: String {
        switch self {
        case .marked: "No"
        case .traces: "No, traces are left"
        case .notShown: "Not shown"
        case .gone: "Yes"
        }
    }
}

extension DecoyKeyStudy {
    /// A table of the traces.
    public var table: [[String]] {
        [["decoy keys (\(kind.rawValue))", "KS p", "p <= 0.05", "effect, 95 %", "margin"]]
            + rows.map { trace, row in
                [
                    trace.rawValue, Figures.number(row.pValue, 3), Figures.percent(row.rejected),
                    Figures.signed(row.effect95, 3), Figures.signed(row.margin, 3),
                ]
            }
    }
}
