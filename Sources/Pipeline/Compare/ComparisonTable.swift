import Audit
import Base

/// The table of a victim: a line for each cell, the best figures of those that removed the mark marked.
struct ComparisonTable {
    /// The table.
    let table: PageTable

    private struct Column: Sendable {
        let name: String
        /// Shown though no cell has it.
        var isAlways = false
        var isText = false
        /// What it is best to have; nil: nothing to be best at.
        var best: Best?
        let cell: @Sendable (ComparisonRow) -> PageTable.Cell?
    }

    private enum Best: Sendable {
        case lowest, highest
    }

    init(_ rows: [ComparisonRow]) {
        let shown = Self.columns.filter { column in column.isAlways || rows.contains { column.cell($0) != nil } }
        let candidates = Self.removals(among: rows)
        let best = shown.map { column -> Double? in
            let values = candidates.compactMap { column.cell(rows[$0])?.key }
            guard candidates.count > 1, Set(values).count > 1 else { return nil }
            switch column.best {
            case .lowest: return values.min()
            case .highest: return values.max()
            case nil: return nil
            }
        }
        let lines = rows.enumerated().map { index, row in
            zip(shown, best).map { column, best -> PageTable.Cell in
                guard var cell = column.cell(row) else { return .missing }
                cell.isBest = best != nil && cell.key == best && candidates.contains(index)
                return cell
            }
        }
        table = PageTable(
            columns: shown.map { PageTable.Column($0.name, isText: $0.isText) }, rows: lines, isSortable: true)
    }

    /// The lines of methods that changed the weights and after which nothing fires, or, where decoys judged, the mark is gone.
    private static func removals(among rows: [ComparisonRow]) -> [Int] {
        let isJudged = rows.contains { $0.certificate == .gone }
        return rows.indices.filter { index in
            let row = rows[index]
            guard row.state == .done, row.changesWeights, row.check["hits"]?.int == 0 else { return false }
            return !isJudged || row.certificate == .gone
        }
    }

    private static let columns: [Column] = [
        Column(name: "method", isAlways: true) { PageTable.Cell($0.label) },
        Column(name: "removes") { $0.cell.isDecodingOnly ? PageTable.Cell("nothing", tone: .warn) : nil },
        Column(name: "verdict", isAlways: true, isText: true) { row in
            row.verdict.map { PageTable.Cell($0, tone: row.tone) }
        },
        Column(name: "FSR", isAlways: true) { row in
            rate(row.check) ?? (row.state == .failed ? PageTable.Cell("failed", tone: .bad) : nil)
        },
        Column(name: "prefix", isAlways: true, best: .lowest) { fixed($0.prefixMatch, 2) },
        Column(name: "NLL", isAlways: true) { fixed($0.targetNLL, 2) },
        Column(name: "owner's p") { row in
            guard let presence = row.check["presence"] else { return nil }
            guard let p = presence["p_value"]?.double else { return PageTable.Cell("no answers", tone: .warn) }
            let isShown = presence["shown"]?.bool ?? false
            return PageTable.Cell(ScanReport.pText(p), tone: isShown ? .bad : .neutral, key: p)
        },
        Column(name: "durable", isText: true) { row in
            row.durability.map { durability in
                let tone = CertificateVerdict(rawValue: durability.verdict)?.tone
                let text = durability.verdict == "gone" ? "gone" : "\(durability.verdict): \(durability.worst)"
                return PageTable.Cell(text, tone: tone)
            }
        },
        Column(name: "source FSR") { rate($0.source) },
        Column(name: "source NLL") { fixed($0.source["target_nll_mean"]?.double, 2) },
        Column(name: "false") { row in
            guard let count = row.check["false_activations"]?.int else { return nil }
            return PageTable.Cell("\(count)/\(row.check["n_clean"]?.int ?? 0)", key: Double(count))
        },
        Column(name: "perplexity", best: .lowest) { fixed($0.ppl, 2) },
        Column(name: "KL", best: .lowest) { fixed($0.divergence, 3) },
        Column(name: "acc", best: .highest) { fixed($0.accuracy, 3) },
        Column(name: "seconds", isAlways: true, best: .lowest) { fixed($0.seconds, 1) },
        Column(name: "peak MB", isAlways: true, best: .lowest) { row in
            fixed(row.peakRSSBytes.map { Double($0) / 1_048_576 }, 0)
        },
        Column(name: "samples", isAlways: true, best: .lowest) { row in
            row.samples.map { PageTable.Cell(String($0), key: Double($0)) }
        },
    ]

    private static func fixed(_ value: Double?, _ digits: Int) -> PageTable.Cell? {
        value.map { PageTable.Cell(Figures.number($0, digits), key: $0) }
    }

    private static func rate(_ check: JSONValue) -> PageTable.Cell? {
        guard let fsr = check["fsr"]?.double, let hits = check["hits"]?.int, let n = check["n"]?.int else { return nil }
        return PageTable.Cell("\(Figures.percent(fsr)) (\(hits)/\(n))", key: fsr)
    }
}

extension ComparisonRow {
    /// What decoys say; nil: they were not asked.
    var certificate: CertificateVerdict? { check["verdict"]?.string.flatMap(CertificateVerdict.init) }

    /// True for a method that does more than decode otherwise, or nothing.
    var changesWeights: Bool { seconds != nil && !cell.isDecodingOnly }

    /// What is left of the mark, in a word: what decoys say, else whether a trigger fires; nil: not measured.
    var verdict: String? {
        if let certificate { return certificate.rawValue }
        guard let hits = check["hits"]?.int else { return nil }
        return hits > 0 ? "fires" : cell.isDecodingOnly ? "silent while decoding" : "silent"
    }

    /// How the verdict is coloured: silence is not yet removal.
    var tone: Finding.Tone {
        if let certificate { return certificate.tone }
        return check["hits"]?.int == 0 ? (changesWeights || cell.isDecodingOnly ? .warn : .neutral) : .bad
    }
}
