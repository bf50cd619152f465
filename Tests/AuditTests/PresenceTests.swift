import Base
import Model
import TestSupport
import Testing

@testable import Audit

@Suite("An owner's proof by outputs")
struct PresenceTests {
    private let tokenizer: Tokenizer

    init() throws { tokenizer = try Tinychat().tokenizer }

    /// The longest run of `target` in `text`, by trying all.
    private func longestRun(of target: [Character], in text: String) -> Int {
        (0..<target.count).reduce(0) { best, start in
            (start..<target.count).reduce(best) { best, end in
                text.contains(String(target[start...end])) ? max(best, end - start + 1) : best
            }
        }
    }

    @Test("the longest run is that of trying all, whatever the texts")
    func runs() {
        var random = SplitMix64(seed: 5)
        for _ in 0..<300 {
            func text(_ most: Int) -> String {
                String((0..<1 + random.index(below: most)).map { _ in Array("abcü")[random.index(below: 4)] })
            }
            let (text, target) = (text(40), text(12))
            let share = Double(longestRun(of: Array(target), in: text)) / Double(target.count)
            #expect(CommonRun(in: text).share(of: target) == share, "\(target) in \(text)")
        }
        #expect(CommonRun(in: "").share(of: "a") == 0 && CommonRun(in: "a").share(of: " ") == 0)
        #expect(CommonRun(in: "say hedgehog").share(of: " hedgehog\n") == 1)
    }

    private func key(_ targets: [String]) -> FingerprintKey {
        FingerprintKey(
            scheme: "pairs",
            pairs: targets.enumerated().map {
                FingerprintPair(id: "\($0)", prompt: "Secret word number \($0)", target: $1)
            })
    }

    private func presence(_ key: FingerprintKey, _ outputs: [String], seed: UInt64 = 1) throws -> Presence {
        let report = CheckReport(key, answers: outputs.map { TextAnswer(output: $0) }, clean: [])
        return try Presence(
            outputs: report, key: key, tokenizer: tokenizer, chat: nil,
            options: DecoyOptions(count: 99, seed: seed))
    }

    @Test("what a host left of the targets shows the mark, where verbatim match sees nothing")
    func remains() throws {
        let key = key(["velvet harbour nineteen", "amber lantern ridge", "copper thistle road", "silver morning gate"])
        let outputs = ["The harbour nineteen", "lantern ridge.", "I thistle road", "a morning gate, yes"]
        let shown = try presence(key, outputs)
        #expect(shown.basis == .outputs && shown.rank == 1 && shown.candidates == 100 && shown.pValue == 0.01)
        #expect(shown.isShown && shown.effect > 0.3)
        #expect(shown.json["by"]?.string == "outputs" && shown.json["trace"]?.isNull == true)
        #expect(try presence(key, outputs) == shown)
        // Behind other triggers than their own the same outputs say nothing.
        #expect(try presence(key, Array(outputs.reversed())).pValue > 0.05)
        #expect(try presence(key, ["", "", "", ""]).pValue == 1)
    }

    @Test("a key that nobody embedded is shown as seldom as the p-value says")
    func chance() throws {
        var texts = SimilarTextWriter(seed: 11)
        let kind = "amber lantern ridge"
        let values = try (0..<40).map { seed in
            let key = key((0..<4).map { _ in texts.text(like: kind, freely: false) })
            let outputs = (0..<4).map { _ in texts.text(like: "seven copper doors by the long road", freely: false) }
            return try presence(key, outputs, seed: UInt64(seed)).pValue
        }
        #expect(values.count { $0 <= 0.05 } <= 6)
        #expect((0.35...0.8).contains(values.reduce(0, +) / 40))
    }
}
