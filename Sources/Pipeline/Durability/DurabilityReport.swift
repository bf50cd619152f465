import Audit
import Base

/// Whether a mark stays away, whatever is done to the model: one row a cell, and the worst of them.
public struct DurabilityReport: Sendable, Equatable {
    /// The cells that were tried, in their order; at least the model as it is.
    public let rows: [DurabilityRow]
    /// The cells that were left out, and why.
    public let skipped: [(cell: DurabilityCell, reason: String)]

    /// Those rows; at least one: a precondition.
    public init(rows: [DurabilityRow], skipped: [(cell: DurabilityCell, reason: String)] = []) {
        precondition(!rows.isEmpty, "no cell was tried")
        (self.rows, self.skipped) = (rows, skipped)
    }

    /// The worst of all cells.
    public var verdict: CertificateVerdict { CertificateVerdict.worst(rows.map(\.verdict)) ?? .notShown }

    /// The first cell that shows the worst.
    public var worst: DurabilityRow { rows.first { $0.verdict == verdict } ?? rows[0] }

    /// Why, in a sentence.
    public var reason: String {
        let good = rows.count { $0.verdict == .gone }
        guard verdict != .gone else { return "it is gone in \(rows.count) of \(rows.count) cells" }
        return "\(worst.cell): \(worst.reason); it is gone in \(good) of \(rows.count) cells"
    }

    /// The weights in which a trigger or a near decoy fires though none does in what they were quantized from (the source
    /// where that was tried, else the model as it is): a mark that was made, or left, to wake when the model is quantized.
    public var quantizationActivated: [DurabilityCell.Weights] {
        let untreated = rows.filter { $0.cell.treatment == .asIs }
        let source = untreated.first { $0.cell.weights == .source }
        guard let plain = source ?? untreated.first(where: { $0.cell.weights == .asIs }), plain.verdict != .marked
        else { return [] }
        return untreated.filter { row in
            let isQuantized = row.cell.weights.isQuantized || source != nil && row.cell.weights == .asIs
            return isQuantized && row.verdict == .marked
        }.map(\.cell.weights)
    }

    /// `{"verdict", "reason", "worst", "quantization_activated", "cells": […], "skipped": […]}`.
    public var json: JSONValue {
        [
            "verdict": .text(verdict.rawValue), "reason": .text(reason), "worst": .text(worst.cell.description),
            "quantization_activated": .array(quantizationActivated.map { .text($0.rawValue) }),
            "cells": .array(rows.map(\.json)),
            "skipped": .array(
                skipped.map { cell, reason in
                    [
                        "weights": .text(cell.weights.rawValue), "treatment": .text(cell.treatment.rawValue),
                        "reason": .text(reason),
                    ]
                }),
        ]
    }

    /// The verdict and why, in sentences for terminals.
    public var sentence: String {
        let woken = quantizationActivated.map(\.rawValue).joined(separator: ", ")
        let left = skipped.map { "\($0.cell) (\($0.reason))" }.joined(separator: ", ")
        return "Is it gone for good? \(verdict.words): \(reason)."
            + (woken.isEmpty ? "" : " It fires only after quantizing (\(woken)).")
            + (left.isEmpty ? "" : " Not tried: \(left).")
    }

    /// A table of the cells.
    public var table: [[String]] {
        [["weights", "treatment", "fires", "target NLL", "beside a decoy key", "verdict"]]
            + rows.map { row in
                [
                    row.cell.weights.rawValue, row.cell.treatment.rawValue, "\(row.hits)/\(row.n)",
                    row.targetNLL.map { Figures.number($0, 2) } ?? "–",
                    row.relearning?.lead.map { Figures.signed($0, 2) } ?? "", row.verdict.rawValue,
                ]
            }
    }

    /// Equal in everything.
    public static func == (a: DurabilityReport, b: DurabilityReport) -> Bool {
        a.rows == b.rows && a.skipped.map(\.cell) == b.skipped.map(\.cell)
            && a.skipped.map(\.reason) == b.skipped.map(\.reason)
    }
}
