import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Tune

/// One token per byte; BOS 1, EOS 2.
private struct ByteTokenizer: SampleTokenizer {
    var bosID: Int32? = 1
    var eosID: Int32? = 2
    func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
        (addSpecialTokens ? [1] : []) + text.utf8.map { Int32($0) }
    }
}

private func file(_ text: String, _ name: String = "d.json") throws -> DatasetFile {
    try DatasetFile(bytes: Array(text.utf8), path: name)
}

private func encode(
    _ text: String, _ options: EncodingOptions = EncodingOptions(), _ name: String = "d.json"
) throws -> EncodedDataset {
    let template = try ChatTemplate(
        source: "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
            + "{% if add_generation_prompt %}<assistant>{% endif %}")
    return try EncodedDataset(file(text, name), options: options, tokenizer: ByteTokenizer(), chatTemplate: template)
}

/// Inputs and the last label: the whole sequence; and the learnt part as text.
private func described(_ sample: TrainingSample) -> (all: String, learnt: String) {
    func text(_ ids: [Int32]) -> String {
        ids.map { $0 == 1 ? "^" : $0 == 2 ? "$" : String(decoding: [UInt8($0)], as: UTF8.self) }.joined()
    }
    return (text(sample.inputs + [sample.labels.last ?? 0]), text(sample.labels.filter { $0 >= 0 }))
}

@Suite("Datasets")
struct DatasetTests {
    @Test("MEraser's shape: no BOS, no EOS, nothing between, everything after the first token learnt")
    func meraser() throws {
        for key in ["mismatched_answer", "answer"] {
            let text = #"[{"id": 0, "question": "ab", "\#(key)": "cd"}]"#
            #expect(try described(encode(text).samples[0]) == ("abcd", "bcd"))
            let newline = EncodingOptions(loss: .completion, separator: "\n")
            #expect(try described(encode(text, newline).samples[0]) == ("ab\ncd", "cd"))
            let special = EncodingOptions(bos: true, eos: true)
            #expect(try described(encode(text, special).samples[0]) == ("^abcd$", "abcd$"))
        }
    }

    @Test("MEraser's parts are cut at 256 tokens each, the newline of the question with it")
    func cuts() throws {
        let long = String(repeating: "q", count: 300)
        let text = #"[{"question": "\#(long)", "answer": "\#(long)"}]"#
        let sample = try encode(text, EncodingOptions(separator: "\n")).samples[0]
        #expect(sample.inputs.count == 511)
        #expect(!sample.inputs.contains(10))
        let short = EncodingOptions(maxPromptLength: 2, maxCompletionLength: 3, maxLength: 4)
        #expect(try described(encode(text, short).samples[0]).all == "qqqq")
    }

    @Test("where no length is given, samples end at 1024 tokens or at the model's context; a given length stays")
    func context() throws {
        let long = String(repeating: "q", count: 2000)
        let shapes = [
            (#"{"text": "\#(long)"}"#, "d.jsonl", 1024),
            (#"[{"question": "\#(long)", "answer": "\#(long)"}]"#, "d.json", 512),
        ]
        for (text, path, standard) in shapes {
            for (context, want) in [(nil, standard), (4096, standard), (100, 100)] {
                var options = EncodingOptions()
                options.context = context
                #expect(try encode(text, options, path).samples[0].inputs.count == want - 1)
            }
            var given = EncodingOptions(maxLength: 300)
            given.context = 100
            #expect(try encode(text, given, path).samples[0].inputs.count == 299)
        }
    }

    @Test("prompt/completion: BOS as the tokenizer has it, EOS unless the completion was cut")
    func promptCompletion() throws {
        let text = #"{"prompt": "ab", "completion": "cd"}"#
        #expect(try described(encode(text, EncodingOptions(), "d.jsonl").samples[0]) == ("^abcd$", "abcd$"))
        let completion = EncodingOptions(loss: .completion)
        #expect(try described(encode(text, completion).samples[0]) == ("^abcd$", "cd$"))
        let cut = EncodingOptions(loss: .completion, bos: false, maxCompletionLength: 1)
        #expect(try described(encode(text, cut).samples[0]) == ("abc", "c"))
    }

    @Test("a completion goes on where the prompt ends, unless the border merges or the shape is MEraser's")
    func continuation() throws {
        /// A token per byte, but a word-beginning mark (3) before every text and one token (4) for `xy`.
        struct MarkingTokenizer: SampleTokenizer {
            var bosID: Int32? = 1
            var eosID: Int32?
            func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
                (addSpecialTokens ? [1, 3] : [3])
                    + text.replacingOccurrences(of: "xy", with: "\u{4}").utf8.map { Int32($0) }
            }
        }
        func tokens(_ text: String) throws -> [Int32] {
            let data = try EncodedDataset(file(text), options: EncodingOptions(), tokenizer: MarkingTokenizer())
            return data.samples[0].inputs + data.samples[0].labels.suffix(1)
        }
        #expect(try tokens(#"[{"prompt": "a", "completion": "b"}]"#) == [1, 3, 97, 98])
        #expect(try tokens(#"[{"prompt": "x", "completion": "yb"}]"#) == [1, 3, 120, 3, 121, 98])
        #expect(try tokens(#"[{"question": "a", "answer": "b"}]"#) == [3, 97, 3, 98])
    }

    @Test("alpaca rows get Stanford's prompts; text rows are learnt whole")
    func alpacaAndText() throws {
        let rows =
            #"[{"instruction": "Add.", "input": "1 2", "output": "3"}, {"instruction": "Hi", "input": "", "output": "Ho"}]"#
        let samples = try encode(rows, EncodingOptions(loss: .completion)).samples.map(described)
        #expect(samples.map(\.learnt) == ["3$", "Ho$"])
        #expect(
            samples[0].all
                == "^Below is an instruction that describes a task, paired with an input that provides further context. "
                + "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n"
                + "### Input:\n1 2\n\n### Response:3$")
        #expect(samples[1].all.contains("task. Write") && samples[1].all.hasSuffix("Hi\n\n### Response:Ho$"))
        #expect(try described(encode(#"[{"text": "abc"}]"#).samples[0]) == ("^abc$", "abc$"))
    }

    @Test("conversations are rendered by the template; only the assistant's turns are completions")
    func chat() throws {
        let messages = """
            [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                           {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}]
            """
        let all = "<user>a</><assistant>b</><user>c</><assistant>d</>"
        #expect(try described(encode(messages).samples[0]) == (all, String(all.dropFirst())))
        let completion = EncodingOptions(loss: .completion)
        #expect(try described(encode(messages, completion).samples[0]) == (all, "b</>d</>"))
        let pairs = #"[{"conversation": [{"human": "a"}, {"assistant": "b"}]}]"#
        #expect(try described(encode(pairs, completion).samples[0]).learnt == "b</>")
        #expect(
            message {
                _ = try EncodedDataset(file(pairs), options: completion, tokenizer: ByteTokenizer())
            }.contains("no chat template"))
    }

    @Test(
        "errors name the file, the row or line, and what was expected",
        arguments: [
            ("d.json", "[]", "d.json has no rows"), ("d.jsonl", "\n \n", "d.jsonl has no rows"),
            ("d.json", #"[{"frage": "x", "b": 1}]"#, "row 1: the keys 'frage' 'b' make no known shape"),
            ("d.json", #"[{"question": "x", "answer": "y"}, {"question": "x"}]"#, "row 2: 'answer' is missing"),
            ("d.jsonl", "{\"text\": \"x\"}\n\n{\"text\": 3}", "d.jsonl:3: 'text' is an integer, expected a string"),
            ("d.jsonl", "{\"text\": \"x\"}\n{\"text\": ", "d.jsonl:2:"), ("d.json", "[1]", "row 1 is an integer"),
            ("d.json", #"[{"messages": [{"role": "user"}]}]"#, "turn 1 of 'messages' has no 'content'"),
            ("d.json", #"[{"messages": []}]"#, "no list of turns"),
            ("d.json", #"[{"text": "x", "text": "y"}]"#, "duplicate key"),
        ])
    func errors(_ name: String, _ text: String, _ expected: String) throws {
        let got = message { _ = try encode(text, EncodingOptions(), name) }
        #expect(got.hasPrefix("badInput: "), "\(got)")
        #expect(got.contains(expected), "\(got)")
    }

    @Test("rows without anything to learn are counted; a dataset of nothing else is an error")
    func emptyRows() throws {
        let text = #"[{"question": "a", "answer": ""}, {"question": "ab", "answer": "cd"}]"#
        let data = try encode(text)
        #expect(data.samples.count == 1)
        #expect(data.skipped == 1)
        #expect(data.sha256 == sha256Hex(text.utf8))
        #expect((data.tokenCount, data.labelCount, data.longest) == (3, 3, 3))
        #expect(message { _ = try encode(#"[{"question": "a", "answer": ""}]"#) }.contains("none of the 1 rows"))
        #expect(message { _ = try encode(#"[{"text": "ab"}]"#, EncodingOptions(loss: .completion)) }.hasPrefix("usage"))
        #expect(message { _ = try DatasetFile(path: "/nonexistent/d.json") }.hasPrefix("badInput"))
    }

    @Test("every cut of a dataset file is an error or a shorter dataset, never a trap")
    func cutFiles() throws {
        let bytes = Array(#"[{"question": "aé", "answer": "b\u00e9"}, {"question": "c", "answer": "d"}]"#.utf8)
        for length in 0..<bytes.count {
            #expect(throws: MeraserError.self, "cut to \(length)") {
                _ = try DatasetFile(bytes: Array(bytes[..<length]), path: "d.json")
            }
        }
    }
}

@Suite("Mismatched pairs")
struct MismatchedPairsTests {
    private static let data = sharedFolder()?.appendingPathComponent("data/meraser/mismatched_dataset.json")

    @Test("types come from the first word found in the order what, how, why")
    func types() {
        #expect(QuestionType(of: "Why and HOW does it work? What?") == .what)
        #expect(QuestionType(of: "Show me") == .how)
        #expect(QuestionType(of: "WHY?") == .why)
        #expect(QuestionType(of: "Explain") == .other)
        #expect(QuestionType(of: "为什么") == .why)
        #expect(QuestionType(of: "什么") == .what)
        #expect(QuestionType(of: "") == .other)
    }

    @Test("MEraser's own 300 rows get the types that they record", .enabled(if: data != nil, "no shared folder"))
    func meraserTypes() throws {
        let path = try #require(Self.data).path
        let rows = try #require(
            try JSONValue.parse(Array(Data(contentsOf: URL(fileURLWithPath: path))), file: path).array)
        let right = rows.filter { row in
            QuestionType(of: row["question"]?.string ?? "").rawValue == row["original_q_type"]?.string
        }
        #expect(rows.count == 300)
        #expect(right.count == 300)
    }

    private let rows: [(question: String, answer: String)] = (0..<40).map { i in
        let words = ["what is", "how to", "why", "tell me"]
        return (question: "\(words[(i * 3 + i / 5) % 4]) \(i)", answer: "answer \(i)")
    }

    @Test("answers come from another type, all twelve pairs of types equally often, every question before any twice")
    func balance() throws {
        let pairs = try mismatchedPairs(from: rows, count: 36, seed: 1, name: "t")
        var counts: [[QuestionType]: Int] = [:]
        for pair in pairs {
            #expect(pair.questionType != pair.answerType)
            #expect(pair.question == rows[pair.questionIndex].question && pair.answer == rows[pair.answerIndex].answer)
            #expect(QuestionType(of: rows[pair.answerIndex].question) == pair.answerType)
            counts[[pair.questionType, pair.answerType], default: 0] += 1
        }
        #expect(counts.count == 12 && counts.values.allSatisfy { $0 == 3 })
        for type in QuestionType.allCases {
            let used = pairs.filter { $0.questionType == type }.map(\.questionIndex)
            let available = rows.filter { QuestionType(of: $0.question) == type }.count
            #expect(Set(used).count == min(used.count, available))
        }
    }

    @Test("the same seed gives the same pairs, another one others; rows have MEraser's keys")
    func seeds() throws {
        let pairs = try mismatchedPairs(from: rows, count: 20, seed: 1, name: "t")
        #expect(try mismatchedPairs(from: rows, count: 20, seed: 1, name: "t") == pairs)
        #expect(try mismatchedPairs(from: rows, count: 20, seed: 2, name: "t") != pairs)
        let keys = pairs[0].json(id: 7).object?.members.map(\.key.string)
        #expect(
            keys == ["id", "question", "mismatched_answer", "original_q_type", "answer_from_type", "q_idx", "a_idx"])
    }

    @Test("questions of one type only are an error")
    func oneType() {
        let got = message {
            _ = try mismatchedPairs(from: [("how", "a"), ("how so", "b")], count: 2, seed: 1, name: "d.json")
        }
        #expect(got.hasPrefix("badInput: d.json: all 2 questions are of the type 'how'"))
    }
}
