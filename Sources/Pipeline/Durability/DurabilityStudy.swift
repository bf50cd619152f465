import Audit
import Base
import Foundation
import Tune

/// How the durability check is tried on keys that nobody embedded.
public struct DurabilityStudyOptions: Sendable {
    /// Keys whose certificates are made in every cell, and their decoys.
    public var certificates = DecoyKeyOptions()
    /// Keys that are taught in every cell: each is compared with the next one.
    public var taughtKeys = 20
    /// 200 keys, 20 of which are taught.
    public init() {}
}

/// What the durability check says of a model that never had a mark: the share of keys that pass every cell.
public struct DurabilityStudy: Sendable {
    /// What one cell says of every key.
    public struct Cell: Sendable {
        /// The cell.
        public let cell: DurabilityCell
        /// Of each key whose certificate was made: do its traces stay below the margins? Empty where none is made.
        public let certified: [Bool]
        /// Of each key that was taught, beside the next one. Empty where nothing is taught.
        public let comparisons: [RelearningComparison]
    }

    /// The cells in their order.
    public let cells: [Cell]

    /// Share of the keys whose certificates hold in every cell; nil where none were made.
    public var certified: Double? { Self.share(cells.map(\.certified)) }

    /// Share of the keys that come back no faster than the next one in any cell; nil where nothing was taught.
    public var unreturned: Double? { Self.share(cells.map { $0.comparisons.map { !$0.returns } }) }

    private static func share(_ passes: [[Bool]]) -> Double? {
        let passes = passes.filter { !$0.isEmpty }
        guard let count = passes.map(\.count).min() else { return nil }
        return Double((0..<count).count { key in passes.allSatisfy { $0[key] } }) / Double(count)
    }

    /// For what is trained on: the margin at which 99 of 100 keys, of all cells together, come back no faster than the next.
    public func margin(of source: RelearningOptions.Source.Name) -> Double? {
        let leads = cells.flatMap(\.comparisons).filter { $0.mark.source == source }.compactMap(\.lead).sorted()
        guard !leads.isEmpty else { return nil }
        return -quantile(0.01, ofSorted: leads)
    }

    /// `{"certified", "unreturned", "cells": [{"weights", "treatment", "keys", "certified", "taught", "returned", "leads"}]}`.
    public var json: JSONValue {
        [
            "certified": certified.map { .real($0) } ?? .null, "unreturned": unreturned.map { .real($0) } ?? .null,
            "cells": .array(
                cells.map { cell in
                    [
                        "weights": .text(cell.cell.weights.rawValue), "treatment": .text(cell.cell.treatment.rawValue),
                        "keys": .integer(cell.certified.count), "certified": .integer(cell.certified.count { $0 }),
                        "taught": .integer(cell.comparisons.count),
                        "returned": .integer(cell.comparisons.count { $0.returns }),
                        "leads": .array(cell.comparisons.map { $0.lead.map { .real($0) } ?? .null }),
                    ]
                }),
        ]
    }

    /// A table of the cells.
    public var table: [[String]] {
        [["weights", "treatment", "certified", "taught, returned", "lead, 5 %"]]
            + cells.map { cell in
                let leads = cell.comparisons.compactMap(\.lead).sorted()
                return [
                    cell.cell.weights.rawValue, cell.cell.treatment.rawValue,
                    cell.certified.isEmpty ? "" : "\(cell.certified.count { $0 })/\(cell.certified.count)",
                    cell.comparisons.isEmpty
                        ? "" : "\(cell.comparisons.count { $0.returns })/\(cell.comparisons.count)",
                    leads.isEmpty ? "" : Figures.signed(quantile(0.05, ofSorted: leads), 2),
                ]
            }
    }
}

extension DurabilityCheck {
    /// Tries the check itself on keys of the kind that nobody embedded, in every cell of an unmarked model.
    ///
    /// - Throws: as `run`.
    public func study(on model: OpenedModel, _ study: DurabilityStudyOptions) throws -> DurabilityStudy {
        let (keys, kind) = try decoyKeys(study.taughtKeys + 1, model)
        let test = model.decoyKeyTest(key, options: study.certificates, check: check)
        func certified(_ model: OpenedModel) throws -> [Bool] {
            try test.run(on: model.session()) { onEvent(.decoys(done: $0, of: $1)) }.passes
        }
        func compared(_ curves: [RelearningCurve]) -> [RelearningComparison] {
            zip(curves, curves.dropFirst()).map { self.compared($0, $1, kind) }
        }
        var cells: [DurabilityStudy.Cell] = []
        _ = try forEachCell(model, source: nil) { cell, model in
            switch cell.treatment {
            case .asIs: cells.append(.init(cell: cell, certified: try certified(model), comparisons: []))
            case .relearnClean:
                let path = options.cleanRows ?? ""
                let found = try model.relearn(
                    on: try model.cleanRows(path: path), measuring: keys,
                    options: options.relearning(.clean(path: path)), check: check, prepare: follow
                ) { relearnt, points in
                    let curves = points.map { RelearningCurve(points: $0, source: .clean, trainedPairs: 0) }
                    return DurabilityStudy.Cell(
                        cell: cell, certified: try certified(relearnt), comparisons: compared(curves))
                }
                cells.append(found)
            case .relearnHalf:
                let curves = try keys.map {
                    try model.relearn($0, options: options.relearning(.hinted), check: check, prepare: follow)
                }
                cells.append(.init(cell: cell, certified: [], comparisons: compared(curves)))
            }
        }
        return DurabilityStudy(cells: cells)
    }
}
