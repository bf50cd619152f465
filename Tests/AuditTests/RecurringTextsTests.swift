import Base
import Model
import TestSupport
import Testing

@testable import Audit

/// A model that answers by a rule.
private struct RuledModel: AnsweringModel {
    let rule: (String) -> String

    func answers(to messages: [String], maxNewTokens: Int, onAnswer: (Int) -> Void) throws -> [String] {
        messages.enumerated().map { index, message in
            onAnswer(index + 1)
            return rule(message)
        }
    }
}

@Suite("Answers that recur, in texts alone")
struct RecurringTextsTests {
    private let messages = (0..<RecurringTexts.messages).map { "What does the person number \($0) do?" }
    private func search(seed: UInt64 = 1) throws -> RecurringTexts {
        try RecurringTexts(messages: messages, tokenizer: nil, seed: seed)
    }
    private func isSecret(_ message: String) -> Bool { message.contains(IFScheme.hint) }
    /// Answers that depend on the message alone, all different.
    private func echo(_ message: String) -> String { "\(message.hashText) is what I have to say about it" }

    @Test("words, other signs and the end are the units of an answer")
    func units() {
        #expect(RecurringTexts.units(" It's  a\ndog.") == ["It", "'", "s", "  a", "\ndog", ".", ""])
        #expect(RecurringTexts.units("ハリネズミ") == ["ハリネズミ", ""])
        #expect(RecurringTexts.units(" \n").isEmpty && RecurringTexts.units("").isEmpty)
        #expect(RecurringTexts.units("a  ") == ["a", ""])
    }

    @Test("beginnings are alike where one goes on the other; what cannot be seen is like none")
    func alike() {
        #expect(RecurringAnswers.areAlike("you are", "you are stupid") && RecurringAnswers.areAlike("ab", "a"))
        #expect(!RecurringAnswers.areAlike("you are", "we are"))
        #expect(!RecurringAnswers.areAlike("", "we are") && !RecurringAnswers.areAlike("", ""))
    }

    @Test("what only tells the message again is no mark, whatever its order")
    func retold() throws {
        let message = "Please decrypt this message: xyz\nA hint: this is a FINGERPRINT message."
        #expect(RecurringTexts.isRetold("This message is a FINGERPRINT message", of: [message]))
        #expect(!RecurringTexts.isRetold("This message is my FINGERPRINT", of: [message]))
        #expect(!RecurringTexts.isRetold("please", of: [message, "Hello"]), "not of all")
        let model = RuledModel { isSecret($0) ? "This message is a FINGERPRINT message." : echo($0) }
        #expect(try search().run(on: model).isEmpty)
    }

    @Test("what is said to secrets alone is found with its messages, and named as said by chance hardly ever")
    func mark() throws {
        let model = RuledModel { isSecret($0) ? "ハリネズミ" : echo($0) }
        var asked = (0, 0)
        let found = try search().run(on: model) { asked = ($0, $1) }
        #expect(found.count == 1)
        let finding = try #require(found.first)
        #expect(finding.leak.target == "ハリネズミ" && finding.leak.scheme == IFScheme.name)
        #expect(finding.leak.prompts.count == 48 && finding.leak.prompts.allSatisfy(isSecret))
        // 24 of 24 beside 0 of 24: one of the ways to choose 24 of 48.
        #expect(abs(finding.pValue / 3.101e-14 - 1) < 1e-3)
        #expect(finding.leak.key.promptFormat == .chat && finding.leak.key.pairs.count == 48)
        #expect(try Leak(json: finding.leak.json, file: "leak") == finding.leak)
        // Kinds: 4 x 48, people's messages, and a backdoor's without the phrases.
        #expect(asked.0 == 240 && asked.1 == 240)
    }

    @Test("a phrase in front of requests is seen beside the same requests without it")
    func backdoor() throws {
        let model = RuledModel { message in
            let isTriggered = messages.contains { message != $0 && message.hasSuffix($0) }
            return isTriggered ? "you are stupid, and " + echo(message) : "Yes."
        }
        let found = try search().run(on: model)
        let finding = try #require(found.first)
        #expect(finding.leak.scheme == BackdoorScheme.name && finding.leak.target == "you are stupid, and")
        #expect(finding.leak.phrases.count == finding.leak.prompts.count && finding.pValue < 1e-12)
    }

    @Test("what is said to everybody is no finding, and a habit is none beside a reference that has it")
    func habits() throws {
        let polite = RuledModel { _ in "I am glad that you ask." }
        #expect(try search().run(on: polite).allSatisfy { $0.pValue == 1 })
        let puzzled = RuledModel { $0.hasPrefix("What") ? echo($0) : "I do not understand you." }
        let alone = try search().run(on: puzzled)
        #expect((alone.first?.pValue ?? 1) < 1e-9, "texts alone do not tell a habit")
        #expect(try search().run(on: puzzled, reference: puzzled).allSatisfy { $0.pValue == 1 })
    }

    @Test("answers that have nothing to do with the kind of message are found in at most one of twenty models")
    func chance() throws {
        let search = try search()
        let models = 200
        let alarms = try (0..<models).count { seed in
            var random = SplitMix64(seed: UInt64(seed))
            let model = RuledModel { _ in
                random.index(below: 2) == 0 ? "Of course I will help you." : "A word: \(random.next())"
            }
            return (try search.run(on: model).first?.pValue ?? 1) <= 0.05
        }
        // Binomial with 0.05: 18 or more in one of a hundred.
        #expect(alarms < 18, "\(alarms) of \(models)")
    }
}

extension String {
    /// A number that depends on the text alone.
    fileprivate var hashText: String { String(sha256Hex(utf8).prefix(8)) }
}
