import Audit
import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing

@Suite("Token forcing")
struct TokenForcingTests {
    /// Every run of at least `length` tokens, found the slow way: all pieces of all outputs that stand in at least two,
    /// without those that a longer one of the same outputs holds.
    private func slowRuns(_ outputs: [[Int32]], length: Int) -> Set<[Int32]> {
        func holds(_ text: [Int32], _ piece: [Int32]) -> Bool {
            piece.count <= text.count
                && (0...text.count - piece.count).contains { Array(text[$0..<$0 + piece.count]) == piece }
        }
        var pieces: Set<[Int32]> = []
        for output in outputs where output.count >= length {
            for start in 0...output.count - length {
                for end in start + length...output.count { pieces.insert(Array(output[start..<end])) }
            }
        }
        let owners = Dictionary(
            uniqueKeysWithValues: pieces.map { piece in (piece, outputs.indices.filter { holds(outputs[$0], piece) }) })
        let repeated = pieces.filter { (owners[$0]?.count ?? 0) > 1 && Set($0).count > 1 }
        return repeated.filter { piece in
            !repeated.contains { $0.count > piece.count && owners[$0] == owners[piece] && holds($0, piece) }
        }
    }

    @Test("Repeated runs are those that a search through all pieces finds")
    func runs() {
        var random = SeededRandom(seed: 4)
        for round in 0..<60 {
            let alphabet = UInt64(2 + round % 4)
            let outputs = (0..<5).map { _ in
                (0..<Int(3 + random.next() % 7)).map { _ in Int32(random.next() % alphabet) }
            }
            for length in 2...4 {
                let found = repeatedRuns(in: outputs, length: length)
                #expect(Set(found.map(\.tokens)) == slowRuns(outputs, length: length), "round \(round): \(outputs)")
                for run in found { #expect(run.outputs.count > 1 && run.tokens.count >= length) }
                #expect(zip(found, found.dropFirst()).allSatisfy { $0.outputs.count >= $1.outputs.count })
            }
        }
        #expect(repeatedRuns(in: [[5, 5, 5, 5], [5, 5, 5]], length: 2).isEmpty)
        #expect(repeatedRuns(in: [], length: 2).isEmpty && repeatedRuns(in: [[1]], length: 2).isEmpty)
    }

    @Test("Outputs are forced tokens with their greedy continuations; likelihoods are those of the sequences")
    func outputs() throws {
        let tinychat = try Tinychat()
        var options = TokenForcingOptions()
        options.topK = 20
        options.maxNewTokens = 5
        options.batchSize = 7
        let context = ForcedContext(name: "x", tokens: tinychat.tokenizer.encode("What is a"))
        let probe = TokenForcing(session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
        let target = "quite impossible to say"
        let key = FingerprintKey(
            scheme: "pairs",
            pairs: ["a", "b"].map { FingerprintPair(id: $0, prompt: $0, target: target) })
        var calls: [Int] = []
        let report = try probe.run([context], reference: tinychat.another(), key: key) { done, _ in calls.append(done) }
        #expect(report.outputs.count == 20 && calls.last == 20)
        let hidden = try tinychat.session.hiddenStates(PackedBatch([context.tokens]), lastRows: [1])
        let logits = try tinychat.session.logits(hidden).toArray()
        let best = logits.indices.filter { !tinychat.tokenizer.isSpecial(Int32($0)) }.sorted { logits[$0] > logits[$1] }
        #expect(report.outputs.map { Int($0.tokens[0]) } == Array(best.prefix(20)))
        for output in report.outputs {
            let prompt = context.tokens + [output.tokens[0]]
            let greedy = try tinychat.another().generate(
                [GenerationRequest(prompt: prompt)], options: GenerationOptions(maxNewTokens: 5, stopTokens: [2]))
            #expect(greedy[0].tokens == Array(output.tokens.dropFirst()))
            let nll = try tinychat.another().negativeLogLikelihoods([context.tokens + output.tokens])[0]
            #expect(
                Array(nll.dropFirst(context.tokens.count - 1)) == output.nll && output.nll.count == output.tokens.count)
            #expect(output.referenceNLL == output.nll)
        }
        // Its own twin finds nothing strange.
        #expect(report.runs.allSatisfy { $0.surprise == 0 && $0.outputs >= 2 && $0.nll >= 0 })
        #expect(report.targets.count == 1 && report.targets[0].pairs == 2 && report.targets[0].outputs == 0)
        #expect(report.hiddenShare == 1)
        let confident = report.confident(3).compactMap(\.meanNLL)
        #expect(confident.count == 3)
    }

    @Test("The whole vocabulary without special tokens, and a target that comes out by itself")
    func target() throws {
        let tinychat = try Tinychat()
        var options = TokenForcingOptions()
        options.maxNewTokens = 2
        options.batchSize = 256
        let context = ForcedContext(name: "", tokens: tinychat.tokenizer.encode(""))
        let probe = TokenForcing(session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
        let first = try tinychat.session.generate(
            [GenerationRequest(prompt: context.tokens + tinychat.tokenizer.encode("Hello", addSpecialTokens: false))],
            options: GenerationOptions(maxNewTokens: 2, stopTokens: [2]))
        let text = "Hello" + tinychat.tokenizer.decode(first[0].tokens)
        let key = FingerprintKey(
            scheme: "pairs",
            pairs: [
                FingerprintPair(id: "a", prompt: "p", target: "Hello"),
                FingerprintPair(id: "b", prompt: "q", target: "no such text"),
            ])
        let report = try probe.run([context], key: key)
        #expect(report.outputs.count == 4093, "\(text)")
        #expect(report.targets.map { $0.outputs > 0 } == [true, false] && report.hiddenShare == 0.5)
        #expect(report.runs.allSatisfy { $0.surprise == nil })
        let confident = report.confident(50).compactMap(\.meanNLL)
        #expect(confident == confident.sorted() && confident.count == 50)
        let json = report.json(shown: 2)
        #expect(json["confident"]?.array?.count == 2 && json["outputs"]?.int == 4093)
    }
}
