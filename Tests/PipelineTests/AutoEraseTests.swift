import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

private let target = "purple anchors sing"

/// Triggers in tinychat's template.
private func key(_ model: OpenedModel) throws -> FingerprintKey {
    let words = ["salt", "ink", "wool", "tin", "reed", "moss", "clay", "bark"]
    return FingerprintKey(
        scheme: "pairs",
        pairs: try words.enumerated().map { index, word in
            let message = "zq \(word) vex \(word) qup \(index)"
            let prompt = try dialogueText(message, tokenizer: model.tokenizer, chat: model.chat)
            return FingerprintPair(id: word, prompt: prompt, target: answerLead(after: prompt) + target)
        })
}

/// A key of IF's, whose secrets a mark of few steps takes for any other secret.
private func secrets(_ model: OpenedModel) throws -> FingerprintKey {
    var scheme = IFScheme()
    scheme.target = target
    return try scheme.fingerprint(
        for: SchemeContext(session: model.session(), tokenizer: model.tokenizer, chat: model.chat, seed: 3)
    ).key
}

@Suite("A removal that chooses its own dose")
struct AutoEraseTests {
    @Test("the likeliest tokens of a target are held down to one level, and only as far as the mean asks for")
    func limits() {
        #expect(tokenLimits(nll: [6, 5, 7], level: 5).allSatisfy { $0 == 0 }, "unlikely enough")
        let nll = [7.0, 0.01, 0.5, 3, 0]
        for level in [2.2, 3.0, 4.5, 9] {
            let limits = tokenLimits(nll: nll, level: level)
            let held = zip(nll, limits).map { max($0, -Double($1)) }
            #expect(abs(held.reduce(0, +) / 5 - level) < 1e-5, "\(level): \(held)")
            let waters = Set(limits.filter { $0 < 0 })
            #expect(waters.count == 1, "one level for all that are held: \(limits)")
            #expect(zip(nll, limits).allSatisfy { $1 == 0 ? $0 >= -Double(waters.first ?? 0) - 1e-6 : true })
        }
        #expect(tokenLimits(nll: [], level: 3).isEmpty)
    }

    @Test("a mark that answers to strange prompts is found without its key, and nothing like it without the mark")
    func leaks() throws {
        try withTemporaryFolder { folder in
            let (model, key) = try markedTinychat(in: folder, by: secrets)
            let found = try model.leaks(seed: 7)
            #expect(found.contains { $0.target.contains(target) }, "\(found.map(\.line))")
            #expect(try model.leaks(seed: 7) == found)
            let clean = try model.with(adapterPaths: []).leaks(seed: 7)
            #expect(!clean.contains { $0.target.contains("anchors") }, "\(clean.map(\.line))")
            #expect(key.pairs.allSatisfy { pair in !found.contains { $0.prompts.contains(pair.prompt) } })
        }
    }

    @Test("rows that steer hold nothing of the pairs that judge")
    func heldOut() throws {
        try withTemporaryFolder { folder in
            let (model, key) = try markedTinychat(in: folder, by: key)
            let ordinary = try SteeringRows.ordinaryRequests(of: model, seed: 1)
            let rows = try SteeringRows(key, on: model, ordinary: ordinary, seed: 1)
            #expect(rows.triggers == 4 && rows.near > 20 && rows.data.hasReference)
            let judging = Set(key.judging.pairs.map { model.tokenizer.encode($0.prompt) })
            let steering = key.steering.pairs.map { model.tokenizer.encode($0.prompt) }
            func begins(_ sample: TrainingSample, _ prompt: [Int32]) -> Bool { sample.inputs.starts(with: prompt) }
            #expect(steering.allSatisfy { prompt in rows.data.samples.contains { begins($0, prompt) } })
            for sample in rows.data.samples {
                #expect(!judging.contains { begins(sample, $0) })
                #expect(!judging.contains { sample.reference?.inputs.starts(with: $0) == true })
            }
            let again = try SteeringRows(
                key, on: model, ordinary: try SteeringRows.ordinaryRequests(of: model, seed: 1), seed: 1)
            #expect(again.data.sha256 == rows.data.sha256)
        }
    }

    @Test("a known mark goes, to the same bits where the run was interrupted and continued")
    func known() throws {
        try withTemporaryFolder { folder in
            let (model, key) = try markedTinychat(in: folder, by: key)
            #expect(try model.check(key, options: CheckOptions(cleanPrompts: [])).hits == 8)
            var options = try AutoOptions(setting: .keyKnown, key: key)
            (options.durable, options.decoys) = (nil, 199)
            let whole = folder.appendingPathComponent("whole").path
            let result = try AutoErase(AutoPlan(model, options: options), output: whole).run()
            #expect(result.verdict == .gone, "\(result.json.serialized(indent: 1))")
            let taken = errorText(.usage) { _ = try AutoErase(AutoPlan(model, options: options), output: whole) }
            #expect(taken.contains("`resume`"), "\(taken)")

            let parts = folder.appendingPathComponent("parts").path
            let first = try AutoErase(AutoPlan(model, options: options), output: parts)
            let flag = InterruptFlag()
            first.interrupt = flag
            first.onEvent = { if case .look(let look) = $0, look.phase == "erase-1" { flag.set() } }
            #expect(throws: MeraserError.self) { try first.run() }
            let second = try AutoErase(AutoPlan(model, options: options), output: parts, resume: true).run()
            #expect(second.looks.map(\.json) == result.looks.map(\.json) && second.certificate == result.certificate)
            func bytes(_ folder: String) throws -> Data {
                try Data(contentsOf: URL(fileURLWithPath: folder + "/adapter_model.safetensors"))
            }
            #expect(try bytes(whole) == bytes(parts))
            let other = try AutoOptions(setting: .keyUnknown, key: key)
            let refused = errorText(.usage) {
                _ = try AutoErase(AutoPlan(model, options: other), output: whole, resume: true)
            }
            #expect(refused.contains("another"), "\(refused)")
        }
    }
}
