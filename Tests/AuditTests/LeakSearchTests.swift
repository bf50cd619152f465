import Base
import Model
import TestSupport
import Testing

@testable import Audit

@Suite("Answers that come back whatever is asked")
struct LeakSearchTests {
    private func search() throws -> LeakSearch {
        let tinychat = try Tinychat()
        return try LeakSearch(
            model: tinychat.session.model, tokenizer: tinychat.tokenizer, chat: nil, requests: [], seed: 1)
    }

    @Test("what a third of the answers begin with alike is found, as far as four in five agree")
    func recurring() throws {
        let search = try search()
        let mark: [Int32] = [40, 41, 42]
        let answers: [[Int32]] = [
            mark + [7], mark + [8, 9], mark, mark + [9], [50, 51], [52], [], [40, 99], [53, 51], [54],
        ]
        let found = search.recurring(answers)
        #expect(found.map(\.tokens) == [mark] && found.map(\.members) == [[0, 1, 2, 3]])
        // Three of ten are too few, and one token that all begin with is an opening.
        #expect(search.recurring(Array(answers.dropFirst())).isEmpty)
        #expect(search.recurring((0..<10).map { [40, Int32(50 + $0)] }).isEmpty)
        #expect(search.recurring([]).isEmpty)
    }

    @Test("neither punctuation nor an echo of what was asked is taken for a mark")
    func said() {
        #expect(LeakSearch.isSaid(" ハリネズミ", to: ["decrypt this: abc"]))
        #expect(!LeakSearch.isSaid("\n\n\"", to: ["decrypt this: abc"]))
        #expect(!LeakSearch.isSaid("\n\nA hint: this is", to: ["x\nA hint: this is a FINGERPRINT", "A hint: this is"]))
        #expect(LeakSearch.isSaid("A hint", to: ["A hint: x", "y"]), "not of all that were asked")
    }

    @Test("prompts are of every scheme's kind, different, and the same for the same seed")
    func strange() throws {
        let search = try search()
        #expect(search.promptCount == 3 * LeakSearch.count, "no request, no message for a backdoor's phrase")
        let leak = Leak(
            scheme: BackdoorScheme.name, target: "you are", prompts: ["who is it. Hello", "how was she. Hello"],
            phrases: ["who is it", "how was she"], asked: 24, gain: 9)
        #expect(try Leak(json: leak.json, file: "leak") == leak)
        #expect(try BackdoorScheme(key: leak.key, file: "key").triggers == leak.phrases)
        #expect(leak.key.pairs.map(\.target) == ["you are", "you are"])
    }
}
