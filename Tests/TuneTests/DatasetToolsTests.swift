import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Tune

/// A file of those rows, a line each.
private func withFile<R>(_ lines: [String], _ body: (String) throws -> R) throws -> R {
    try withTemporaryFolder { folder in
        let url = folder.appendingPathComponent("d.jsonl")
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: url)
        return try body(url.path)
    }
}

private func pair(_ question: String, _ answer: String) -> String {
    JSONValue.object(JSONObject([("question", .text(question)), ("answer", .text(answer))])).serialized()
}

@Suite("Cleaning a dataset")
struct DatasetCleaningTests {
    @Test(
        "every shape becomes a question and its answer",
        arguments: [
            #"{"question": " a b ", "answer": "c"}"#, #"{"prompt": "a b", "completion": "c\n"}"#,
            #"{"instruction": "a b", "input": "", "output": "c"}"#,
            #"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a b"},"#
                + #" {"role": "assistant", "content": "c"}, {"role": "user", "content": "x"}]}"#,
            #"{"conversation": [{"human": "a b"}, {"assistant": "c"}]}"#,
            ####"{"text": "### Instruction:\na b\n\n### Response:\nc"}"####,
        ])
    func shapes(row: String) throws {
        try withFile([row]) { path in
            let cleaned = try CleanedDataset(path: path)
            #expect(cleaned.pairs == [WrittenExchange(question: "a b", answer: "c")])
            #expect(
                cleaned.json.map { $0.serialized() } == [#"{"id": 0, "question": "a b", "answer": "c"}"#])
        }
    }

    @Test("an alpaca row's input follows its instruction")
    func alpaca() throws {
        try withFile([#"{"instruction": "Sum up.", "input": "A text.", "output": "T."}"#]) { path in
            let cleaned = try CleanedDataset(path: path)
            #expect(cleaned.pairs[0].question == "Sum up.\nA text.")
        }
    }

    @Test("duplicates, empty rows and wrong lengths go and are counted")
    func counts() throws {
        let rows = [
            pair("What is it?", "a"), pair("What is it?", "a"), pair(" what  IS it ", "b"), pair("", "x"),
            pair("y", "  "), pair("ﬁne", "c"), pair("fine!", "d"), pair("What is 2+2?", "4"), pair("What is 2-2?", "0"),
            pair("toolong", String(repeating: "é", count: 9)), pair("什么？", "e"), pair("什么", "f"),
        ]
        try withFile(rows) { path in
            let cleaned = try CleanedDataset(path: path, options: CleaningOptions(answerLength: 1...8))
            #expect(cleaned.pairs.map(\.answer) == ["a", "c", "4", "0", "e"])
            #expect(
                cleaned.summary.serialized()
                    == #"{"rows": 12, "kept": 5, "incomplete": 0, "empty": 2, "wrong_length": 1, "#
                    + #""exact_duplicates": 1, "question_duplicates": 3}"#)
        }
        try withFile([#"{"text": "plain"}"#, ####"{"text": "### Human: a### Assistant: b"}"####]) { path in
            let cleaned = try CleanedDataset(path: path)
            #expect(cleaned.incomplete == 1)
        }
    }

    @Test("mismatched pairs are no clean data, and a file of which nothing is left is an error")
    func refusals() throws {
        for row in [#"{"question": "a", "mismatched_answer": "b"}"#, pair("a", ""), #"{"text": "plain"}"#] {
            try withFile([row]) { path in
                let error = #expect(throws: MeraserError.self) { try CleanedDataset(path: path) }
                #expect(error?.kind == .badInput && error?.message.contains("d.jsonl") == true)
            }
        }
    }
}

@Suite("Splitting a dataset")
struct DatasetSplitTests {
    private let rows = (0..<40).map { pair("question \($0 / 2 * 2 == $0 ? $0 : $0 - ($0 % 4 == 1 ? 1 : 0))", "a\($0)") }

    @Test("both parts together are the file, in its order, and share no question")
    func parts() throws {
        try withFile(rows) { path in
            let split = try DatasetSplit(path: path, testSize: .share(0.25), seed: 1)
            #expect(split.train.count + split.test.count == 40)
            #expect((8...10).contains(split.test.count))
            #expect(split.duplicates == 20)
            func questions(_ part: [JSONValue]) -> Set<String> { Set(part.compactMap { $0["question"]?.string }) }
            #expect(questions(split.train).isDisjoint(with: questions(split.test)))
            func answers(_ part: [JSONValue]) -> [Int] {
                part.compactMap { Int(($0["answer"]?.string ?? "").dropFirst()) }
            }
            #expect(answers(split.train) == answers(split.train).sorted())
            #expect(Set(answers(split.train) + answers(split.test)) == Set(0..<40))
            let again = try DatasetSplit(path: path, testSize: .share(0.25), seed: 1)
            #expect(again.test == split.test)
            #expect(try DatasetSplit(path: path, testSize: .share(0.25), seed: 2).test != split.test)
            #expect(try DatasetSplit(path: path, testSize: .rows(7), seed: 1).test.count == 7)
        }
    }

    @Test("a part without rows is an error")
    func empty() throws {
        try withFile([pair("a", "1"), pair("A", "2"), pair("a?", "3")]) { path in
            for size in [DatasetSplit.TestSize.rows(1), .rows(3), .share(0.01)] {
                let error = #expect(throws: MeraserError.self) {
                    try DatasetSplit(path: path, testSize: size, seed: 1)
                }
                #expect(error?.kind == .usage)
            }
        }
    }
}

@Suite("Measuring a dataset")
struct DatasetStatisticsTests {
    private struct ByteEncoder: TextEncoder {
        func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
            (addSpecialTokens ? [1] : []) + text.utf8.map { Int32($0) }
        }
    }

    @Test("types, duplicates, lengths and what a limit cuts")
    func pairs() throws {
        let rows = [pair("What é?", "ab"), pair("Why not?", "abcd"), pair("why not", "x"), pair("Do it.", "")]
        try withFile(rows) { path in
            let statistics = try DatasetStatistics(path: path, tokenizer: ByteEncoder())
            #expect(statistics.rows == 4 && statistics.duplicates == 1)
            let types = statistics.questionTypes.map { "\($0.type.rawValue) \($0.count)" }
            #expect(types == ["what 1", "how 0", "why 2", "other 1"])
            let json = statistics.json(maxLength: 9)
            #expect(json["characters"]?["question"]?["max"]?.int == 8)
            // "What é?" has 7 characters in 8 bytes.
            #expect(json["tokens"]?["question"]?["min"]?.int == 6 && json["tokens"]?["question"]?["max"]?.int == 8)
            #expect(json["tokens"]?["row"]?["max"]?.int == 12)
            #expect(json["cut"]?["rows"]?.int == 2 && json["cut"]?["share"]?.double == 0.5)
            #expect(try DatasetStatistics(path: path).json(maxLength: 9)["tokens"] == nil)
        }
    }

    @Test("percentiles are the nearest ranks")
    func percentiles() {
        let summary = LengthSummary(Array(1...200).reversed())
        #expect([0, 1, 50, 90, 99, 100].map(summary.percentile) == [1, 2, 100, 180, 198, 200])
        #expect(summary.mean == 100.5 && summary.count(above: 190) == 10)
        #expect(LengthSummary([7]).percentile(50) == 7)
    }

    @Test("conversations count in the chat template")
    func chat() throws {
        try withFile([#"{"conversation": [{"human": "ab"}, {"assistant": "c"}]}"#]) { path in
            let template = try ChatTemplate(source: "{% for m in messages %}<{{ m.content }}>{% endfor %}")
            let statistics = try DatasetStatistics(path: path, tokenizer: ByteEncoder(), chatTemplate: template)
            #expect(statistics.json(maxLength: nil)["tokens"]?["row"]?["max"]?.int == 7)
            #expect(statistics.lengths.map(\.name) == ["row"])
        }
    }
}

@Suite("Keeping mismatched pairs apart from a clean set")
struct MismatchExclusionTests {
    @Test("rows whose question or answer is known give neither")
    func excluded() throws {
        try withFile([pair("WHAT is a cat", "An animal."), pair("other", "Because!")]) { path in
            let known = try KnownTexts(path: path)
            #expect(known.contains("What is a cat?") && known.contains("because") && !known.contains("How?"))
        }
        let rows = (0..<12).map { index in
            (question: ["What", "How", "Why", "Is"][index % 4] + " \(index)?", answer: "a\(index)")
        }
        let pairs = try mismatchedPairs(from: rows, where: { $0 % 3 != 0 }, count: 40, seed: 3, name: "rows")
        #expect(pairs.count == 40)
        #expect(pairs.allSatisfy { $0.questionIndex % 3 != 0 && $0.answerIndex % 3 != 0 })
        #expect(pairs.allSatisfy { $0.question == rows[$0.questionIndex].question && $0.questionType != $0.answerType })
    }
}
