import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Audit

@Suite("What a host does while a model decodes")
struct HostDecodingTests {
    /// A rule's choices on rows of logits, one step each.
    private func choices(_ rule: any DecodingRule, _ rows: [[Float]]) -> [Int32?] {
        var rule = rule
        return rows.enumerated().map { step, row in
            row.withUnsafeBufferPointer {
                rule.next($0, likeliest: Int32(row.firstIndex(of: row.max() ?? 0) ?? 0), step: step)
            }
        }
    }

    /// Logits in which token 1 has that probability, token 2 the next rank.
    private func row(_ p: Double) -> [Float] { [0, Float(log(p / (1 - p) * (2 + exp(1)))), 1, 0] }

    @Test("a rule drops the likeliest at the beginning, what is too likely, or all at the end of a run")
    func rules() {
        let rows = [row(0.5), row(0.995), row(0.9), row(0.995), row(0.992)]
        #expect(choices(TopTokenDropping(count: 1, first: 2), rows) == [2, 2, 1, 1, 1])
        #expect(choices(TopTokenDropping(count: 2, first: 1), rows) == [0, 1, 1, 1, 1], "of equal ones the lower id")
        #expect(choices(TopTokenDropping(count: 9, first: 1), [[0, 3, 1]]) == [0], "fewer tokens than are dropped")
        #expect(choices(OverconfidenceDropping(threshold: 0.99), rows) == [1, 2, 1, 2, 2])
        #expect(choices(ConfGuard(threshold: 0.99, length: 2), rows) == [1, 1, 1, 1, nil], "the run was broken once")
        #expect(choices(ConfGuard(), rows) == [1, 1, 1, 1, 1])
        let ranks = [Float](arrayLiteral: 3, -1, 7, 7, 0, 5)
        let order: [Int32] = ranks.withUnsafeBufferPointer { logits in (0..<6).map { rankedToken($0, in: logits) } }
        #expect(order == [2, 3, 5, 0, 4, 1])
        for p in [0.2, 0.9, 0.995] {
            #expect(abs(row(p).withUnsafeBufferPointer { probability(of: 1, in: $0) } - p) < 1e-5)
        }
    }

    private func session() throws -> (InferenceSession, Tokenizer) {
        let store = try openWeightStore(path: tinychatFolder().path)
        let model = try Transformer(store: store, kernels: try KernelContext(threads: 2))
        return (InferenceSession(model: model), try Tokenizer(store: store))
    }

    @Test("outputs are those of one prompt at a time that reads everything anew; a rule without a cause changes none")
    func decoding() throws {
        let (session, tokenizer) = try session()
        let prompts = ["What is a loop?", "Name a colour.", "The", "1 2 3 4"].map { tokenizer.encode($0) }
        let requests = prompts.map { GenerationRequest(prompt: $0) }
        let options = GenerationOptions(maxNewTokens: 8, stopTokens: session.model.stopTokens, batchSize: 3)
        let plain = try session.generate(requests, options: options)
        // A run longer than any output never ends.
        #expect(try RuledDecoding(session, rule: ConfGuard(length: 9)).generate(requests, options: options) == plain)

        let host = RuledDecoding(session, rule: TopTokenDropping(count: 1, first: 3))
        let outputs = try host.generate(requests, options: options)
        for (prompt, output) in zip(prompts, outputs) {
            var expected: [Int32] = []
            while expected.count < 8 {
                let hidden = try session.hiddenStates(PackedBatch([prompt + expected]), lastRows: [1])
                let logits = try session.logits(hidden).toArray()
                let order = logits.indices.sorted { (logits[$0], $1) > (logits[$1], $0) }
                let token = Int32(order[expected.count < 3 ? 1 : 0])
                if session.model.stopTokens.contains(token) { break }
                expected.append(token)
            }
            #expect(output.tokens == expected)
        }
        #expect(host.statistics.outputs == 4 && host.statistics.withheld == 0 && host.statistics.replaced > 0)
        let alarm = RuledDecoding(session, rule: ConfGuard(threshold: 0, length: 4))
        #expect(try alarm.generate(requests, options: options).allSatisfy { $0.tokens.isEmpty || $0.tokens.count < 4 })
        #expect(alarm.statistics.withheld > 0)
    }

    @Test("a filter answers what is as ordinary as its share of messages, and nothing of what is strange")
    func filter() throws {
        let (session, tokenizer) = try session()
        let ordinary = ordinaryMessages.map { tokenizer.encode($0) }
        let strange = "zq vex qup ## zz 9 vx qqq jj kz"
        let filter = try PromptFilter(session, ordinary: ordinary, share: 1)
        #expect(try filter.passes(ordinary).allSatisfy { $0 })
        #expect(try filter.passes([tokenizer.encode(strange)]) == [false])
        #expect(try PromptFilter(session, ordinary: ordinary, share: 0.5).passes(ordinary).count { $0 } == 4)
        let options = GenerationOptions(maxNewTokens: 3, stopTokens: session.model.stopTokens)
        let requests = [GenerationRequest(prompt: tokenizer.encode(strange)), GenerationRequest(prompt: ordinary[0])]
        let outputs = try filter.generate(requests, options: options)
        let plain = try session.generate([requests[1]], options: options)
        #expect(outputs[0].tokens.isEmpty && outputs[1] == plain[0])
        #expect(filter.statistics.withheld == 1 && filter.statistics.outputs == 2)
        let key = FingerprintKey(
            scheme: "pairs",
            pairs: [strange, ordinaryMessages[0]].enumerated().map {
                FingerprintPair(id: "\($0)", prompt: $1, target: "x")
            })
        let answered = try filter.answered(key, tokenizer: tokenizer, chat: nil)
        #expect(answered?.pairs.map(\.id) == ["1"])
    }

    @Test("an owner's p-value is that of the trace that shows most, times their number; the rank is the key's place")
    func presence() throws {
        func report(_ traces: [DecoyTrace: DecoyComparison]) -> DecoyReport {
            DecoyReport(
                kind: .pairs, seed: 1, triggers: 99, targets: 99, units: 4, isHeldOut: true, traces: traces,
                near: (0, 0))
        }
        let decoys = (0..<99).map(Double.init)
        let presence = try #require(
            Presence(
                report([
                    .drawn: DecoyComparison(97.5, decoys: decoys), .ordinary: DecoyComparison(50, decoys: decoys),
                ])))
        #expect(presence.basis == .likelihoods(.drawn) && presence.rank == 2 && presence.candidates == 100)
        #expect(abs(presence.pValue - 0.04) < 1e-12 && presence.isShown)
        #expect(Presence(report([:])) == nil)
    }
}
