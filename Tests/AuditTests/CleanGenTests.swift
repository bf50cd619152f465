import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@Suite("CleanGen")
struct CleanGenTests {
    @Test("A token is suspect from the ratio alpha on; the first one counts")
    func rule() {
        func suspect(_ alpha: Double, _ model: [Float], _ reference: [Float]) -> Int? {
            CleanGenOptions(alpha: alpha).firstSuspect(model: model, reference: reference)
        }
        // ln 20 = 2.9957
        #expect(suspect(20, [0.1, 0.1, 0.1], [3.09, 3.1, 3.2]) == 1)
        #expect(suspect(20, [1, 1], [3.9, 0.1]) == nil)
        #expect(suspect(1, [1, 0.5], [0.5, 0.5]) == 1)
        #expect(suspect(0, [9], [0]) == 0 && suspect(.infinity, [0], [100]) == nil && suspect(20, [], []) == nil)
    }

    /// tinychat, and tinychat in 4 bits as a model that differs a little everywhere.
    private struct Pair {
        let plain: InferenceSession
        let quantized: InferenceSession
        let prompts: [[Int32]]
    }

    private func withPair(budget: Int = 512, _ body: (Pair) throws -> Void) throws {
        try withTemporaryFolder { folder in
            let out = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .q4_0
            options.embedType = .q4_0
            options.headType = .q4_0
            options.threads = 2
            _ = try convert(source: tinychatFolder().path, destination: out, options: options)
            let kernels = try KernelContext(threads: 2)
            func session(_ path: String) throws -> InferenceSession {
                InferenceSession(
                    model: try Transformer(store: try openWeightStore(path: path), kernels: kernels),
                    tokenBudget: budget)
            }
            let tokenizer = try Tokenizer(store: try openWeightStore(path: tinychatFolder().path))
            let prompts = ["What is a loop?", "### Instruction:\nName a colour.\n\n### Response:\n", "The", "1 2 3 4"]
            try body(
                Pair(
                    plain: try session(tinychatFolder().path), quantized: try session(out),
                    prompts: prompts.map { tokenizer.encode($0) }))
        }
    }

    /// One token at a time, both models reading everything anew: the algorithm by its definition.
    private func slow(
        _ prompt: [Int32], _ model: InferenceSession, _ reference: InferenceSession, alpha: Double, limit: Int,
        stops: Set<Int32>
    ) throws -> (tokens: [Int32], replaced: Int) {
        func logProbabilities(_ session: InferenceSession, _ tokens: [Int32]) throws -> [Double] {
            let z = try session.logits(try session.hiddenStates(PackedBatch([tokens]), lastRows: [1])).toArray()
                .map(Double.init)
            let top = z.max() ?? 0
            let total = top + log(z.reduce(0) { $0 + exp($1 - top) })
            return z.map { $0 - total }
        }
        func best(_ values: [Double]) -> Int { values.indices.reduce(0) { values[$1] > values[$0] ? $1 : $0 } }
        var output: [Int32] = []
        var replaced = 0
        while output.count < limit {
            let own = try logProbabilities(model, prompt + output)
            let other = try logProbabilities(reference, prompt + output)
            var token = best(own)
            if exp(own[token] - other[token]) >= alpha {
                token = best(other)
                replaced += 1
            }
            if stops.contains(Int32(token)) { break }
            output.append(Int32(token))
        }
        return (output, replaced)
    }

    @Test("Outputs are those of the definition, whatever the horizon, the batch and the size of a pass")
    func definition() throws {
        for budget in [512, 7] {
            try withPair(budget: budget) { pair in
                let limit = 12
                // Low ratios, so that the two models' small differences count.
                for alpha in [1.2, 3] {
                    let want = try pair.prompts.map {
                        try slow($0, pair.quantized, pair.plain, alpha: alpha, limit: limit, stops: [2])
                    }
                    if alpha == 1.2 { #expect(want.contains { $0.replaced > 0 }, "the test replaces nothing") }
                    for (horizon, batch) in [(1, 4), (4, 1), (4, 3), (5, 8), (30, 4)] {
                        let cleanGen = try CleanGen(
                            model: pair.quantized, reference: pair.plain,
                            options: CleanGenOptions(alpha: alpha, horizon: horizon))
                        let got = try cleanGen.generate(
                            pair.prompts.map { GenerationRequest(prompt: $0) },
                            options: GenerationOptions(maxNewTokens: limit, stopTokens: [2], batchSize: batch))
                        #expect(got.map(\.tokens) == want.map(\.tokens), "horizon \(horizon), batch \(batch)")
                        // A reference's token that ends an output is counted, but no part of it.
                        let replaced = want.reduce(0) { $0 + $1.replaced }
                        #expect(cleanGen.statistics.replaced == replaced, "horizon \(horizon), batch \(batch)")
                    }
                }
            }
        }
    }

    @Test("A reference that is the model changes nothing, nor does alpha infinity; alpha 0 leaves the reference alone")
    func limits() throws {
        try withPair { pair in
            let requests = pair.prompts.map { GenerationRequest(prompt: $0) }
            let options = GenerationOptions(maxNewTokens: 24, stopTokens: [2])
            func cleaned(_ reference: InferenceSession, _ alpha: Double) throws -> [Generation] {
                try CleanGen(
                    model: pair.quantized, reference: reference, options: CleanGenOptions(alpha: alpha)
                ).generate(requests, options: options)
            }
            let alone = try pair.quantized.generate(requests, options: options)
            let twin = InferenceSession(model: pair.quantized.model)
            #expect(try cleaned(twin, 20) == alone)
            #expect(try cleaned(pair.plain, .infinity) == alone)
            let reference = try pair.plain.generate(requests, options: options)
            #expect(try cleaned(pair.plain, 0) == reference)
            #expect(reference != alone, "the models do not differ on these prompts")
        }
    }

    @Test("A check with CleanGen counts its outputs, and prompts of no use are errors")
    func check() throws {
        try withPair { pair in
            let tokenizer = try Tokenizer(store: pair.plain.model.store)
            let key = FingerprintKey(
                scheme: "pairs", pairs: [FingerprintPair(id: "a", prompt: "What is a loop?", target: " x")],
                cleanPrompts: ["The"])
            let check = try KeyCheck(key, tokenizer: tokenizer)
            let cleanGen = try CleanGen(
                model: pair.quantized, reference: pair.plain, options: CleanGenOptions(alpha: 0))
            let got = try check.run(on: pair.quantized, defence: cleanGen)
            #expect(got.rows[0].output == (try check.run(on: pair.plain)).rows[0].output)
            #expect(got.rows[0].targetNLL == (try check.run(on: pair.quantized)).rows[0].targetNLL)
            #expect(cleanGen.statistics.replaced == cleanGen.statistics.tokens && cleanGen.statistics.tokens > 0)
            for prompt in [[], [-1], [4096]] as [[Int32]] {
                let error = #expect(throws: MeraserError.self) {
                    _ = try cleanGen.generate([GenerationRequest(prompt: prompt)], options: GenerationOptions())
                }
                #expect(error?.kind == .badInput)
            }
            let nothing = try cleanGen.generate(
                [GenerationRequest(prompt: [1], maxNewTokens: 0)], options: GenerationOptions())
            #expect(nothing.count == 1 && nothing[0].tokens.isEmpty)
        }
    }
}
