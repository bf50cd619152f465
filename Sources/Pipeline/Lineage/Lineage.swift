import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import Tune

/// Whether one model was made from another: MLP channels keep their places when a model is tuned, merged or quantized, and
/// of models that were trained apart no order of channels is likelier than another (Zhu et al. 2025, Independence Tests for
/// Language Models).
///
/// **Plain**: `up_proj`'s rows of both are matched by cosine, with the largest sum; the correlation of the matching with
/// the identity. If the two are independent and the training of one does not care for the order of its channels, every
/// matching is equally likely: the p-value is exact but for Student's approximation. Somebody who permutes channels, which
/// changes nothing that a model computes, hides from it.
/// **Robust**: matched once by `up_proj` and once by `gate_proj`; the correlation of the two matchings, which no
/// permutation of one model's channels changes. Its null distribution rests on gates and ups of unlike models agreeing by
/// chance alone.
public struct Lineage: Sendable {
    /// What is compared of a model with channels: one layer's matrices of both are in memory at a time.
    public let layers: [LayerMatching]
    /// Seconds that it took.
    public let seconds: Double

    /// The natural logarithm of the p-value over all layers, by Fisher's combination.
    public var plainLogPValue: Double { logFisher(layers.map(\.plain.logPValue)) }
    /// The same of the robust form; nil: the models have no gates.
    public var robustLogPValue: Double? {
        let values = layers.compactMap(\.robust?.logPValue)
        return values.isEmpty ? nil : logFisher(values)
    }

    /// What is said of two models.
    public enum Verdict: String, Sendable, CaseIterable {
        /// One was made from the other, or both from a third.
        case related
        /// That is not shown.
        case notShown = "not_shown"
    }

    /// The p-value below which models are related; each form has half of it.
    public static let threshold = 1e-6

    /// What the two forms together say.
    public var verdict: Verdict {
        min(plainLogPValue, robustLogPValue ?? 0) <= log(Self.threshold / 2) ? .related : .notShown
    }

    /// The names of numbers that conditions may hold, and of words.
    public static let metricNames = ["plain_log10_p", "robust_log10_p"]
    /// The words that conditions may hold.
    public static let conditionWords = ["verdict": Verdict.allCases.map(\.rawValue)]
    /// What conditions are held against.
    public var metrics: [String: Double?] {
        ["plain_log10_p": plainLogPValue / ln10, "robust_log10_p": robustLogPValue.map { $0 / ln10 }]
    }

    /// Compares two models.
    ///
    /// - Parameters:
    ///   - adapters: PEFT folders or GGUF adapters that belong to the second, written into its weights.
    ///   - layers: only these; nil: all.
    ///   - onLayer: called behind each layer with layers done and in all.
    /// - Throws: bad input for models whose layers or widths differ, usage for layers that are not there, what reading
    ///   throws, `interrupted`.
    public init(
        _ first: String, _ second: String, adapters: [String] = [], transfer: Bool = false,
        layers: ClosedRange<Int>? = nil, kernels: KernelContext, interrupt: InterruptFlag? = nil,
        onLayer: (Int, Int) -> Void = { _, _ in }
    ) throws {
        let start = ContinuousClock().now
        let store = try openWeightStore(path: first)
        try store.verify()
        let fused = try FusedModel(path: second, adapterPaths: adapters, transfer: transfer)
        let (a, b) = (
            ChannelRows(store, try DecoderSpec(of: store)),
            ChannelRows(
                fused.adapters.isEmpty
                    ? fused.store
                    : try FusedWeights(store: fused.store, adapters: fused.adapters, type: nil, kernels: kernels),
                try DecoderSpec(of: fused.store))
        )
        guard a.count == b.count, a.width == b.width else {
            throw MeraserError.badInput(
                "\(first) has \(a.count) layers of width \(a.width), \(second) has \(b.count) of \(b.width): neither was made "
                    + "from the other by tuning, merging, pruning channels or quantizing")
        }
        let range = layers ?? 0...max(0, a.count - 1)
        guard range.lowerBound >= 0, range.upperBound < a.count else {
            throw MeraserError.usage(
                "`layers` \(range.lowerBound)-\(range.upperBound) are not in models of \(a.count) layers")
        }
        var found: [LayerMatching] = []
        for layer in range {
            found.append(
                try LayerMatching(layer: layer, a, b, kernels: kernels) {
                    if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
                })
            onLayer(found.count, range.count)
        }
        self.layers = found
        let took = (ContinuousClock().now - start).components
        seconds = Double(took.seconds) + Double(took.attoseconds) * 1e-18
    }

    /// `{"verdict", "plain_log10_p", "robust_log10_p", "seconds", "layers": […]}`.
    public var json: JSONValue {
        [
            "verdict": .text(verdict.rawValue), "plain_log10_p": .real(plainLogPValue / ln10),
            "robust_log10_p": robustLogPValue.map { .real($0 / ln10) } ?? .null, "seconds": .real(seconds),
            "layers": .array(layers.map(\.json)),
        ]
    }

    /// A table of the layers.
    public var table: [[String]] {
        func p(_ value: RankCorrelation?) -> String { value.map { Self.pValue($0.logPValue) } ?? "–" }
        return [["layer", "channels", "plain", "p", "robust", "p"]]
            + layers.map { layer in
                [
                    String(layer.layer), String(layer.plain.n), Figures.signed(layer.plain.value, 3), p(layer.plain),
                    layer.robust.map { Figures.signed($0.value, 3) } ?? "–", p(layer.robust),
                ]
            }
    }

    /// What is said of it in a sentence.
    public var sentence: String {
        let robust = robustLogPValue.map { ", robust p \(Self.pValue($0))" } ?? ""
        return "Is one made from the other, or both from one? \(verdict == .related ? "Yes" : "Not shown"): plain p "
            + "\(Self.pValue(plainLogPValue))\(robust)."
    }

    /// `0.031`, or a power of ten where that is too small.
    static func pValue(_ logarithm: Double) -> String {
        let decimal = logarithm / ln10
        return decimal > -4 ? Figures.number(pow(10, decimal), 4) : "10^\(Figures.number(decimal, 0))"
    }
}
