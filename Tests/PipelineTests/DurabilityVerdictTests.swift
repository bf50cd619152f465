import Base
import Testing

@testable import Audit
@testable import Pipeline

/// A model's answers to a key of eight pairs.
private func report(hits: Int = 0, nll: Double = 5) -> CheckReport {
    let rows = (0..<8).map { index in
        CheckRow(
            id: "\(index)", prompt: "p", target: "t", output: "o", hit: index < hits, prefixMatch: 0, targetNLL: nll)
    }
    return CheckReport(scheme: "pairs", rows: rows, falseActivations: nil, nClean: 0)
}

/// A certificate of effects far above chance, or far below it.
private func certificate(_ check: CheckReport, effect: Double = -1, near: Int = 0) -> Certificate {
    let values = (0..<99).map { Double($0) / 1000 }
    let traces = Dictionary(
        uniqueKeysWithValues: DecoyTrace.allCases.map { ($0, DecoyComparison(effect, decoys: values)) })
    let decoys = DecoyReport(
        kind: .pairs, seed: 1, triggers: 99, targets: 99, units: 4, isHeldOut: true, traces: traces, near: (24, near))
    return Certificate(check, decoys: decoys)
}

/// A course of target NLLs, and of hits where there are any.
private func curve(
    _ nll: [Double], hits: [Int] = [], n: Int = 4, _ source: RelearningOptions.Source.Name = .hinted
) -> RelearningCurve {
    let points = nll.indices.map { step in
        RelearningCurve.Point(
            step: step, n: n, hits: step < hits.count ? hits[step] : 0, prefixMatch: 0, targetNLL: nll[step])
    }
    return RelearningCurve(points: points, source: source, trainedPairs: source == .hinted ? n : 0)
}

/// Two courses of a kind, of as many targets as pairs unless said.
private func compared(
    _ mark: RelearningCurve, _ decoy: RelearningCurve, kind: DecoyKind = .pairs, targets: Int? = nil
) -> RelearningComparison {
    RelearningComparison(mark: mark, decoy: decoy, kind: kind, targets: targets ?? mark.points[0].n)
}

@Suite("verdicts of durability")
struct DurabilityVerdictTests {
    private func row(_ name: String, hits: Int = 0, effect: Double = -1, near: Int = 0) throws -> DurabilityRow {
        let check = report(hits: hits)
        let cell = try #require(DurabilityCell(name: name))
        return DurabilityRow(cell, check: check, certificate: certificate(check, effect: effect, near: near))
    }

    @Test("every cell is the one of its name, a treatment alone that of the weights as they are")
    func names() throws {
        #expect(DurabilityCell.all.count == 27 && Set(DurabilityCell.all).count == 27)
        #expect(DurabilityCell.all.first == .asIs)
        for cell in DurabilityCell.all { #expect(DurabilityCell(name: cell.description) == cell) }
        #expect(DurabilityCell(name: "relearn_half") == DurabilityCell(.asIs, .relearnHalf))
        #expect(try DurabilitySelection("all") == .all)
        #expect(
            try DurabilitySelection("q4_0, nf4/relearn_clean")
                == .cells([DurabilityCell(.q4), DurabilityCell(.nf4, .relearnClean)]))
        for text in ["", "q4", "q4_0/", "q4_0/relearn", "q4_0/as_is/as_is", "q4_0,,nf4", "all,q4_0"] {
            let error = try #require(throws: MeraserError.self) { try DurabilitySelection(text) }
            #expect(error.kind == .usage && error.message.contains("relearn_half"), "\(text)")
        }
    }

    @Test("what only stores the weights comes before what trains, and what cannot be tried says why")
    func plans() throws {
        let bare = try DurabilityPlan(.all, .init())
        #expect(bare.cells.prefix(6).map(\.description) == ["as_is", "q8_0", "q4_0", "iq4_nl", "nf4", "bf16"])
        #expect(bare.cells.count == 12 && bare.cells.dropFirst(6).allSatisfy { $0.treatment == .relearnHalf })
        #expect(bare.skipped.count == 6 && bare.skipped.allSatisfy { $0.reason.contains("clean rows") })
        let whole = try DurabilityPlan(.all, .init(hasSource: true, hasReference: true, hasCleanRows: true))
        #expect(whole.cells == DurabilityCell.all && whole.skipped.isEmpty)
        let single = try DurabilityPlan(.all, .init(hasCleanRows: true, pairs: 1, own: .bf16))
        #expect(single.cells.allSatisfy { $0.treatment != .relearnHalf && $0.weights != .bf16 })
        #expect(single.skipped.contains { $0.cell == DurabilityCell(.bf16) && $0.reason.contains("has these weights") })
        // The model as it is always comes with what was asked for.
        #expect(try DurabilityPlan(DurabilitySelection("q4_0"), .init()).cells == [.asIs, DurabilityCell(.q4)])
        for name in ["slerp", "source", "relearn_clean", "q4_0/relearn_clean"] {
            let error = try #require(throws: MeraserError.self) {
                try DurabilityPlan(DurabilitySelection(name), .init())
            }
            #expect(error.kind == .usage && error.message.contains(name))
        }
        #expect(throws: MeraserError.self) { try DurabilityPlan(DurabilitySelection("relearn_half"), .init(pairs: 1)) }
    }

    @Test("the verdict is the worst cell's, and says which that is")
    func worst() throws {
        let gone = try row("as_is")
        let traces = try row("q4_0", effect: 9)
        let marked = try row("nf4", hits: 1)
        #expect(gone.verdict == .gone && traces.verdict == .traces && marked.verdict == .marked)
        let expected: [([DurabilityRow], CertificateVerdict, DurabilityRow)] = [
            ([gone], .gone, gone), ([gone, traces], .traces, traces), ([gone, traces, marked], .marked, marked),
            ([marked, gone], .marked, marked),
        ]
        for (rows, verdict, worst) in expected {
            let report = DurabilityReport(rows: rows)
            #expect(report.verdict == verdict && report.worst == worst)
            #expect(report.json["worst"]?.string == worst.cell.description)
            #expect(verdict == .gone || report.reason.hasPrefix("\(worst.cell): "))
        }
        for first in CertificateVerdict.allCases.indices {
            for second in CertificateVerdict.allCases.indices {
                let pair = [CertificateVerdict.allCases[first], CertificateVerdict.allCases[second]]
                #expect(CertificateVerdict.worst(pair) == CertificateVerdict.allCases[min(first, second)])
            }
        }
    }

    @Test("a mark that fires only after quantizing is named")
    func quantizationActivated() throws {
        func woken(_ rows: [DurabilityRow]) -> [String] {
            DurabilityReport(rows: rows).quantizationActivated.map(\.rawValue)
        }
        let (silent, firing) = (try row("as_is"), try row("as_is", hits: 3))
        #expect(try woken([silent, row("q8_0"), row("q4_0", hits: 2), row("nf4", near: 1)]) == ["q4_0", "nf4"])
        #expect(try woken([silent, row("bf16", hits: 2), row("q4_0", effect: 9)]) == [])
        #expect(try woken([firing, row("q4_0", hits: 2)]) == [])
        // Where the source is silent the quantized model as it is has woken itself.
        #expect(try woken([firing, row("source"), row("iq4_nl", hits: 1)]) == ["as_is", "iq4_nl"])
        #expect(try woken([silent, row("source", hits: 1), row("iq4_nl", hits: 1)]) == [])
        let report = try DurabilityReport(rows: [silent, row("q4_0", hits: 2)])
        #expect(report.sentence.contains("only after quantizing (q4_0)"))
        #expect(report.json["quantization_activated"]?.array?.compactMap(\.string) == ["q4_0"])
    }

    @Test("a mark returns if it fires sooner, or keeps less of its NLL, than a decoy key that is taught as long")
    func returns() {
        let new = curve([5, 4.6, 4.2])
        let table: [(mark: RelearningCurve, returns: Bool, verdict: CertificateVerdict)] = [
            (curve([5, 4.6, 4.2]), false, .gone), (curve([8, 7.4, 6.7]), false, .gone),
            // Low already, and lower: as far from certainty as a new one, in logarithms, would be as fast.
            (curve([0.6, 0.55, 0.5]), false, .gone), (curve([0.6, 0.2, 0.05]), true, .traces),
            (curve([5, 3, 1]), true, .traces), (curve([5, 5, 5]), false, .gone),
            (curve([5, 4.6, 4.2], hits: [0, 4, 4]), true, .marked),
            (curve([5, 4.6, 4.2], hits: [0, 1, 1]), false, .gone),
        ]
        for (mark, returns, verdict) in table {
            let found = compared(mark, new)
            #expect(found.returns == returns && found.finding.verdict == verdict, "\(mark.points.map(\.targetNLL))")
            #expect(DurabilityRow(DurabilityCell(.q4, .relearnHalf), relearning: found).verdict == verdict)
        }
        // Pairs of one target fire together: four of them show no more than one.
        let firing = curve([5, 4.6, 4.2], hits: [0, 16, 16], n: 16)
        let shared = compared(firing, curve([5, 4.6, 4.2], n: 16), targets: 1)
        #expect(!shared.firesSooner && !shared.returns)
        // A backdoor's phrases are not equally easy to learn, on an unmarked model either.
        let easy = (curve([9, 4.5, 0.1]), curve([9, 6, 0.3]))
        #expect(compared(easy.0, easy.1).returns && !compared(easy.0, easy.1, kind: .backdoor).returns)
        // What both learn at once tells nothing apart.
        let both = compared(curve([5, 1], hits: [0, 4]), curve([5, 1], hits: [0, 4]))
        #expect(!both.returns && both.lead == 0)
        #expect(compared(curve([5]), curve([5])).finding.verdict == .notShown)
    }

    @Test("after clean rows the worse of decoys and return counts")
    func clean() {
        func row(effect: Double, _ later: Double) -> DurabilityRow {
            let check = report()
            let relearning = compared(curve([5, later], n: 8, .clean), curve([5, 5], n: 8, .clean))
            return DurabilityRow(
                DurabilityCell(.asIs, .relearnClean), check: check, certificate: certificate(check, effect: effect),
                relearning: relearning)
        }
        #expect(row(effect: -1, 5).verdict == .gone)
        #expect(row(effect: 9, 5).verdict == .traces && row(effect: 9, 5).reason.contains("likelier than chance"))
        #expect(row(effect: -1, 2).verdict == .traces && row(effect: -1, 2).reason.contains("comes back faster"))
        #expect(row(effect: -1, 2).json["relearning"]?["returns"]?.bool == true)
    }
}
