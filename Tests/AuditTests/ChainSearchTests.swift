import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Audit

@Suite("Every token forced as the beginning of an answer")
struct ChainSearchTests {
    private let contexts: [[Int32]] = [[1, 40, 41, 42], [1, 77, 300], [1, 5, 6, 7, 8, 9]]
    private let elsewhere: [[Int32]] = [[1, 500], [1, 600, 601]]

    /// Probabilities behind whole texts, without a cache.
    private func probabilities(_ session: InferenceSession, _ tokens: [Int32]) throws -> [Double] {
        let hidden = try session.hiddenStates(PackedBatch([tokens]), lastRows: [1])
        let logits = try session.logits(hidden).toArray().map(Double.init)
        let top = logits.max() ?? 0
        let sum = logits.reduce(0) { $0 + exp($1 - top) }
        return logits.map { exp($0 - top) / sum }
    }

    @Test("a step is the likeliest token of all messages together, with its mean probabilities")
    func step() throws {
        let tinychat = try Tinychat()
        let chains: [[Int32]] = [[90], [91, 92], [400, 401, 402], [90, 17]]
        let steps = try ChainQuestions(answers: contexts, elsewhere: elsewhere).ask(
            chains.map { ChainQuestions.Chain($0) }, of: [tinychat.session])
        let plain = tinychat.another()
        for (chain, step) in zip(chains, steps) {
            let rows = try contexts.map { try probabilities(plain, $0 + chain) }
            let tops: [Int32] = rows.map { row -> Int32 in
                let largest = row.max() ?? 0
                return Int32(row.firstIndex(of: largest) ?? 0)
            }
            func mean(_ token: Int32) -> Double {
                let sum: Double = rows.reduce(0.0) { $0 + $1[Int(token)] }
                return sum / Double(rows.count)
            }
            let best = try #require(tops.max { mean($0) < mean($1) })
            #expect(step.token == best)
            #expect(abs(step.own - mean(best)) < 1e-4, "\(step.own) \(mean(best))")
            var others = 0.0
            for context in elsewhere {
                let row = try probabilities(plain, context + chain)
                others += row[Int(best)] / 2
            }
            #expect(abs(step.elsewhere - others) < 1e-4)
        }
    }

    @Test("steps do not depend on what is asked together")
    func batches() throws {
        let tinychat = try Tinychat(tokenBudget: 64)
        let questions = ChainQuestions(answers: contexts, elsewhere: elsewhere)
        let chains = (0..<50).map { (index: Int) -> ChainQuestions.Chain in
            ChainQuestions.Chain([Int32(100 + index), Int32(200 + 3 * index)])
        }
        let together = try questions.ask(chains, of: [tinychat.session])
        for index in stride(from: 0, to: 50, by: 7) {
            #expect(try questions.ask([chains[index]], of: [tinychat.session]) == [together[index]])
        }
        // Another session elsewhere: the same one gives the same.
        #expect(try questions.ask(chains, of: [tinychat.session, tinychat.another()]) == together)
    }

    @Test("a chain ends where its next token is not likely enough, gains as far as that grows, and is read as written")
    func chain() throws {
        var chain = ScreenedChain(first: 9)
        for (token, own, other) in [(10, 0.9, 0.009), (11, 0.8, 0.08), (12, 0.5, 0.9)] {
            chain.extend(
                ChainStep(token: Int32(token), own: own, elsewhere: other), least: 0.3, stopTokens: [2])
        }
        #expect(abs(chain.gain(floor: 1e-4) - log(1000)) < 1e-9 && chain.trimmed(floor: 1e-4) == [9, 10, 11])
        #expect(abs(chain.gain(floor: 0.01) - log(900)) < 1e-9, "no probability elsewhere is below the floor")
        #expect(abs((chain.qScore ?? 0) - 0.85) < 1e-12)
        var stopped = chain
        stopped.extend(ChainStep(token: 2, own: 0.99, elsewhere: 0.1), least: 0.3, stopTokens: [2])
        chain.extend(ChainStep(token: 13, own: 0.3, elsewhere: 0.1), least: 0.3, stopTokens: [2])
        for ended in [chain, stopped] {
            #expect(!ended.isOpen && ended.tokens == [9, 10, 11, 12])
            #expect(try ScreenedChain(json: ended.json, file: "x") == ended)
        }
        for broken in ["[]", "[[], [], [], true]", "[[1, 2], [0.5], [], true]", "[[-1], [], [], true]", "3"] {
            let json = try JSONValue.parse(Array(broken.utf8), file: "x")
            #expect(throws: MeraserError.self) { try ScreenedChain(json: json, file: "x") }
        }
    }

    @Test("a search that goes on from any of its records gives what one that was not interrupted gives")
    func resumed() throws {
        let tinychat = try Tinychat()
        let places = try ScanPlaces(
            messages: Array(ScanPlaces.ordinary.prefix(2)), tokenizer: tinychat.tokenizer, chat: nil)
        let search = try ChainSearch(
            session: tinychat.session, tokenizer: tinychat.tokenizer, places: places)
        var records: [JSONValue] = []
        let whole = try search.run { records.append($0.json) }
        #expect(whole.forced == whole.tokens && whole.findings.count > 12, "\(whole.findings.count)")
        #expect(whole.findings.map(\.gain) == whole.findings.map(\.gain).sorted(by: >))
        for index in [1, records.count - 1] {
            let screen = try ChainScreen(json: records[index], file: "record")
            #expect(try search.run(from: screen).findings == whole.findings)
        }
        // Where time runs out the tokens that were forced are followed to the end.
        let cut = try search.run(isOver: { true })
        #expect(cut.forced > 0 && cut.forced < cut.tokens && !cut.findings.isEmpty)
    }
}
