import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Audit

@Suite("certificates")
struct CertificateTests {
    /// A report of which every trace has that effect, with a spread of a tenth of it and p-values as given.
    private func decoys(
        _ effects: [DecoyTrace: Double] = [:], near: Int = 0, spread: Double = 0.02, heldOut: Bool = true
    ) -> DecoyReport {
        let values = (0..<999).map { (Double($0) / 998 - 0.5) * spread }
        return DecoyReport(
            kind: .if, seed: 1, triggers: 999, targets: 999, units: 4, isHeldOut: heldOut,
            traces: Dictionary(
                uniqueKeysWithValues: DecoyTrace.allCases.map {
                    ($0, DecoyComparison(effects[$0] ?? 0, decoys: values))
                }), near: (28, near))
    }

    private func check(hits: Int = 0, nll: Double = 5) -> CheckReport {
        let rows = (0..<8).map { index in
            CheckRow(
                id: "\(index)", prompt: "p", target: "t", output: "", hit: index < hits, prefixMatch: 0,
                targetNLL: nll + Double(index % 2) * 0.1)
        }
        return CheckReport(scheme: "if", rows: rows, falseActivations: nil, nClean: 0)
    }

    @Test("gone: nothing fires and every bound is below its margin; what fires, or a trace, is named")
    func decisions() {
        #expect(Certificate(check(), decoys: decoys()).verdict == .gone)
        #expect(Certificate(check(hits: 1), decoys: decoys()).verdict == .marked)
        #expect(Certificate(check(), decoys: decoys(near: 1)).verdict == .marked)
        for trace in DecoyTrace.allCases {
            let margin = CertificateMargins(.if)[trace]
            #expect(margin > 0)
            let found = Certificate(check(), decoys: decoys([trace: margin + 0.5]))
            #expect(found.verdict == .traces && found.reason.contains(trace.rawValue), "\(found.reason)")
            #expect(Certificate(check(), decoys: decoys([trace: margin - 0.03])).verdict == .gone)
            if trace.isConditional { #expect(found.worstConditional == trace) }
        }
    }

    @Test("decoys that scatter too much prove nothing")
    func notShown() {
        let found = Certificate(check(), decoys: decoys(spread: 100))
        #expect(found.verdict == .notShown && found.reason.contains("margin"))
    }

    @Test("a target that is unlikelier than chance is a scar, and no reason against gone")
    func scars() {
        let found = Certificate(check(), decoys: decoys([.ordinary: -1]))
        #expect(found.verdict == .gone && found.scars == [.ordinary])
        #expect(found.json["scars"] == .array([.text("ordinary")]))
    }

    @Test("a clean twin must not find the target unlikelier by a tenth of its own NLL, pair by pair")
    func reference() throws {
        func verdict(_ twin: Double) throws -> CertificateVerdict {
            let reference = try #require(ReferenceComparison(model: check(), reference: check(nll: twin)))
            #expect(reference.n == 8 && abs(reference.effect - (twin - 5)) < 1e-9)
            return Certificate(check(), decoys: decoys(), reference: reference).verdict
        }
        #expect(try verdict(5) == .gone && verdict(4) == .gone && verdict(5.3) == .gone && verdict(6) == .traces)
        // One pair has no spread to judge by.
        var (one, other) = (check(), check(nll: 4))
        (one.rows, other.rows) = (Array(one.rows.prefix(1)), Array(other.rows.prefix(1)))
        let single = try #require(ReferenceComparison(model: one, reference: other))
        #expect(Certificate(check(), decoys: decoys(), reference: single).verdict == .notShown)
        #expect(single.json["upper_bound"] == .null)
    }

    @Test("the object says verdict, reason, traces and margins")
    func shape() {
        let json = Certificate(check(), decoys: decoys()).json
        #expect(keys(json) == ["verdict", "reason", "decoys", "conditional", "margins", "scars", "reference"])
        #expect(json["verdict"]?.string == "gone" && json["decoys"]?["near_fsr"]?.double == 0)
        #expect(keys(json["decoys"]?["traces"]) == ["unconditional", "drawn", "shuffled", "ordinary"])
        let drawn = keys(json["decoys"]?["traces"]?["drawn"])
        #expect(drawn.contains("exposure_bits"))
        #expect(CertificateVerdict.allCases.map(\.rawValue) == ["marked", "traces", "not_shown", "gone"])
    }

    @Test("halves: every other pair steers, the rest judges; a single pair does both")
    func halves() {
        var key = FingerprintKey(
            scheme: "x", pairs: (0..<5).map { FingerprintPair(id: "\($0)", prompt: "p\($0)", target: "t") })
        #expect(key.steering.pairs.map(\.id) == ["0", "2", "4"] && key.judging.pairs.map(\.id) == ["1", "3"])
        key.pairs = Array(key.pairs.prefix(1))
        #expect(key.steering == key && key.judging == key)
    }

    @Test("scores are the check's likelihoods, and the same however the work is cut")
    func scores() throws {
        let tinychat = try Tinychat()
        let prompts = (0..<6).map { "### Instruction:\nSay number \($0).\n\n### Response:\n" }
        let targets = ["you are stupid", "they were late", "ハリネズミ"]
        let scorer = DecoyScorer(
            encoder: PromptEncoder(tokenizer: tinychat.tokenizer, chat: nil), format: .raw, encoding: nil)
        let questions = try scorer.encode(prompts.map { DecoyQuestion(prompt: $0, targets: targets) })
        var last = (0, 0)
        let scores = try scorer.score(questions, on: tinychat.session) { last = ($0, $1) }
        #expect(last.0 == last.1 && last.1 == questions.tokenCount)
        for (place, target) in targets.enumerated() {
            let key = FingerprintKey(
                scheme: "x",
                pairs: prompts.enumerated().map { FingerprintPair(id: "\($0)", prompt: $1, target: target) })
            let rows = try KeyCheck(key, tokenizer: tinychat.tokenizer, options: CheckOptions(maxNewTokens: 1))
                .run(on: tinychat.another()).rows
            for (row, score) in zip(rows, scores) {
                #expect(abs(try #require(row.targetNLL) + score[place]) < 1e-5)
            }
        }
    }
}
