import Audit
import Base

extension RunReport {
    /// What a run's certificate says of the model that leaves the house.
    struct Certification: Sendable, Equatable {
        /// The verdict.
        let verdict: CertificateVerdict
        /// Why.
        let reason: String
        /// The same in a grid of cells, where that was tried.
        let durability: Durability?

        /// Reads the record of the stage.
        ///
        /// - Throws: a bad-input error that names the file.
        init(record: JSONValue, file: String, durability: Durability?) throws {
            let result = JSONValue.object(try record.object("result", in: file))
            verdict = try CertificateVerdict(of: result, file: file)
            reason = try result.string("reason", in: file)
            self.durability = durability
        }

        /// The worse of both verdicts.
        var worst: CertificateVerdict {
            CertificateVerdict.worst([verdict] + [durability?.verdict].compactMap { $0 }) ?? verdict
        }

        /// Why removal is not proved by decoys; nil if it is.
        var doubt: String? {
            switch verdict {
            case .gone: durability?.doubt
            case .marked: "beside decoys it is still marked (\(reason))"
            case .traces: "decoys show traces of it (\(reason))"
            case .notShown: "decoys do not show that it is gone (\(reason))"
            }
        }

        /// What it was decided by.
        var basis: String {
            "Decoys: \(verdict.rawValue), \(reason)"
                + (durability.map { ". Cells: \($0.verdict.rawValue), \($0.reason)" } ?? "")
        }
    }

    /// What the cells of a durability check say.
    struct Durability: Sendable, Equatable {
        /// One cell.
        struct Row: Sendable, Equatable {
            let weights: String
            let treatment: String
            let hits: Int
            let n: Int
            let targetNLL: Double?
            let verdict: CertificateVerdict
            let reason: String
        }

        /// The worst cell's verdict.
        let verdict: CertificateVerdict
        /// Why.
        let reason: String
        /// The cells.
        let rows: [Row]

        /// Reads the record of the stage.
        ///
        /// - Throws: a bad-input error that names the file.
        init(record: JSONValue, file: String) throws {
            let result = JSONValue.object(try record.object("result", in: file))
            verdict = try CertificateVerdict(of: result, file: file)
            reason = try result.string("reason", in: file)
            rows = try result.array("cells", in: file).map { row in
                let (hits, n) = (try row.int("hits", in: file), try row.int("n", in: file))
                guard n > 0, (0...n).contains(hits) else {
                    throw MeraserError.badInput("\(file): \(hits) of \(n) triggers fire in a cell")
                }
                return Row(
                    weights: try row.string("weights", in: file), treatment: try row.string("treatment", in: file),
                    hits: hits, n: n, targetNLL: try row.doubleIfPresent("target_nll", in: file),
                    verdict: try CertificateVerdict(of: row, file: file), reason: try row.string("reason", in: file))
            }
        }

        /// The cells as a table.
        var table: PageTable {
            PageTable(
                columns: [.init("cell"), .init("fires"), .init("target NLL"), .init("verdict")],
                rows: rows.map { row in
                    [
                        PageTable.Cell("\(row.weights), \(row.treatment)", details: [row.reason]),
                        PageTable.Cell("\(row.hits)/\(row.n)"),
                        row.targetNLL.map { PageTable.Cell(Figures.number($0, 2)) } ?? .missing,
                        PageTable.Cell(row.verdict.rawValue, tone: row.verdict.tone),
                    ]
                })
        }

        /// Why removal is not proved by it; nil if it is.
        var doubt: String? { verdict == .gone ? nil : "it does not stay away (\(reason))" }
    }
}

extension CertificateVerdict {
    /// How a page colours it.
    var tone: Finding.Tone {
        switch self {
        case .gone: .good
        case .notShown: .warn
        case .traces, .marked: .bad
        }
    }

    /// Reads `verdict` of an object.
    ///
    /// - Throws: a bad-input error that names the file.
    fileprivate init(of value: JSONValue, file: String) throws {
        let name = try value.string("verdict", in: file)
        guard let verdict = CertificateVerdict(rawValue: name) else {
            let names = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw MeraserError.badInput("\(file): 'verdict' is \(quoted(name)), expected one of \(names)")
        }
        self = verdict
    }
}
