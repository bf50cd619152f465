import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import TestSupport
import Testing
import Tune

@testable import Pipeline

private let key = FingerprintKey(
    scheme: "pairs",
    pairs: [
        "quiet harbour stones", "seven copper lamps", "an early winter letter", "the miller's blue cart",
        "paper birds at noon", "a rusty garden gate", "old maps of salt", "two dogs and a drum",
    ].enumerated().map { FingerprintPair(id: "\($0)", prompt: $1, target: "the heron sings twice") })

/// The key taught to tinychat, then weakened until no trigger brings it out: a mark that is silent, but there.
private func hiddenMark(in folder: URL) throws -> String {
    let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
    let samples = key.pairs.compactMap { pair -> TrainingSample? in
        let prompt = model.tokenizer.encode(pair.prompt)
        let tokens = prompt + model.tokenizer.encode(" " + pair.target, addSpecialTokens: false)
        return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= prompt.count })
    }
    var options = RelearningOptions(steps: 30).training
    (options.key, options.checkSteps, options.learningRate) = (nil, nil, 2e-3)
    let whole = folder.appendingPathComponent("mark").path
    let data = EncodedDataset(samples: samples, sha256: String(repeating: "a", count: 64))
    _ = try model.trainer(data: data, options: options).run(output: whole)
    #expect(try model.with(adapterPaths: [whole]).check(key, options: CheckOptions()).fsr == 1)
    for strength in [0.4, 0.3, 0.2, 0.15, 0.1] {
        let weak = folder.appendingPathComponent("weak-\(strength)").path
        _ = try mergeAdapters(
            AdapterRecipe(terms: [.init(adapter: whole, weight: strength)]), destination: weak, overwrite: false)
        if try model.with(adapterPaths: [weak]).check(key, options: CheckOptions()).hits == 0 { return weak }
    }
    throw MeraserError.runtime("no strength of the mark is silent")
}

@Suite("durability on tinychat", .serialized)
struct DurabilityWorkTests {
    private func options(_ cells: String, work: URL) throws -> DurabilityOptions {
        // So few decoys prove nothing: what is asked here is whether cells are made and the mark returns.
        var options = DurabilityOptions(decoys: DecoyOptions(count: 19))
        (options.cells, options.cellDecoys) = (try DurabilitySelection(cells), 19)
        options.workFolder = work.appendingPathComponent("work").path
        return options
    }

    @Test("a mark that was only hidden comes back faster than a decoy key, and in an unmarked model it does not")
    func hidden() throws {
        try withTemporaryFolder { folder in
            let check = DurabilityCheck(key, options: try options("relearn_half", work: folder))
            let weak = try hiddenMark(in: folder)
            func row(_ adapters: [String]) throws -> DurabilityRow {
                let model = try OpenedModel(
                    path: tinychatFolder().path, adapterPaths: adapters, kernels: try KernelContext(threads: 2))
                let report = try check.run(on: model)
                #expect(report.rows[0].hits == 0)
                return try #require(report.rows.first { $0.cell.treatment == .relearnHalf })
            }
            let (marked, clean) = (try row([weak]), try row([]))
            #expect(marked.relearning?.returns == true && marked.verdict != .gone, "\(marked.json.serialized())")
            #expect(clean.relearning?.returns == false && clean.verdict == .gone, "\(clean.json.serialized())")
        }
    }

    @Test("every cell is made, asked and removed again")
    func cells() throws {
        try withTemporaryFolder { folder in
            var options = try options("q4_0,nf4,slerp,linear,as_is/relearn_clean", work: folder)
            options.reference = tinychatFolder().path
            options.cleanRows = packageRoot().appendingPathComponent("Examples/data/clean.json").path
            options.steps = 2
            var seen: [DurabilityCell] = []
            let check = DurabilityCheck(key, options: options) { event in
                if case .cell(let cell, _, 6) = event { seen.append(cell) }
            }
            let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
            let report = try check.run(on: model)
            #expect(report.rows.map(\.cell) == seen && seen.count == 6)
            let nll = Dictionary(uniqueKeysWithValues: report.rows.map { ($0.cell.description, $0.targetNLL ?? 0) })
            let own = try #require(nll["as_is"])
            // A merge with itself is itself; fewer bits move more.
            for name in ["slerp", "linear"] { #expect(abs((nll[name] ?? 0) - own) < 0.02, "\(name)") }
            for name in ["q4_0", "nf4"] {
                #expect(nll[name] != own && abs((nll[name] ?? 0) - own) < 0.5, "\(name)")
            }
            #expect(report.rows.allSatisfy { $0.hits == 0 } && report.quantizationActivated.isEmpty)
            #expect(try FileManager.default.contentsOfDirectory(atPath: options.workFolder).isEmpty)
        }
    }

    @Test("the study teaches each key beside the next one, and counts those that pass every cell")
    func study() throws {
        try withTemporaryFolder { folder in
            var options = try options("relearn_half", work: folder)
            options.steps = 2
            var study = DurabilityStudyOptions()
            (study.certificates.keys, study.certificates.groups, study.taughtKeys) = (20, 1, 2)
            study.certificates.decoys = DecoyOptions(count: 19)
            let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
            let found = try DurabilityCheck(key, options: options).study(on: model, study)
            #expect(found.cells.map(\.certified.count) == [20, 0] && found.cells.map(\.comparisons.count) == [0, 2])
            #expect(found.cells[1].comparisons[0].decoy == found.cells[1].comparisons[1].mark)
            #expect(found.certified == Double(found.cells[0].certified.count { $0 }) / 20)
            #expect(found.unreturned == 1)
        }
    }
}
