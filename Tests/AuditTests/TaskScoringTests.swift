import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Audit

/// A question with those choices, of which `gold` is right.
private func question(_ choices: [String], gold: Int) -> TaskQuestion {
    TaskQuestion(
        requests: choices.map { .init(context: "c", continuation: " " + $0) }, choices: choices, gold: [gold])
}

private func outcome(_ likelihoods: [Double], _ choices: [String], gold: Int) -> TaskOutcome {
    TaskOutcome(likelihoods, question(choices, gold: gold))
}

/// A definition with `text` as its context; rows have `choices` and `label`.
private func definition(
    _ text: String = "{{text}}", choices: String = "choices", target: String = "label"
) throws -> TaskDefinition {
    TaskDefinition(
        name: "own", docToText: try TaskField(text, name: "doc_to_text"),
        docToTarget: .field(try TaskField(target, name: "doc_to_target")),
        docToChoice: .field(try TaskField(choices, name: "doc_to_choice")))
}

private func documents(_ rows: [String], step: DocumentStep? = nil) throws -> [TaskDocument] {
    try rows.enumerated().map { index, row in
        let object = try #require(try JSONValue.parse(Array(row.utf8), file: "rows").object)
        return try TaskDocument(object, place: "rows:\(index + 1)", step: step)
    }
}

@Suite struct TaskScoringTests {
    @Test("acc takes the likeliest choice, acc_norm the likeliest per code point, acc_bytes per byte; ties: the first")
    func lengths() {
        let choices = ["ab", "abcd", "ééé"]
        // −4/2 = −2, −5/4 = −1.25, −4.5/3 = −1.5 and −4.5/6 = −0.75.
        let result = outcome([-4, -5, -4.5], choices, gold: 1)
        #expect(result.best == 0 && result.bestPerCharacter == 1 && result.bestPerByte == 2)
        #expect(result.hit(.acc) == 0 && result.hit(.accNorm) == 1 && result.hit(.accBytes) == 0)
        #expect(outcome([-3, -3], ["a", "b"], gold: 1).best == 0)
    }

    @Test("the standard error is the sample's deviation over the root of the count")
    func standardError() throws {
        // Three hits of four: mean 3/4, squares 3/16 · 4 … = 0.75, s² = 0.25, s/√4 = 0.25.
        let outcomes = [0, 0, 0, 1].map { outcome([-1, -2], ["a", "b"], gold: $0) }
        let measured = TaskMetric.acc.measure(outcomes, choices: 2)
        #expect(measured.value == 0.75)
        #expect(abs(try #require(measured.standardError) - 0.25) < 1e-15)
        #expect(TaskMetric.acc.measure([outcomes[0]], choices: 2).standardError == nil)
    }

    @Test("f1 is the mean over all choices, 0 for one that never occurs; it has no standard error")
    func macroF1() {
        let best: [[Double]] = [[-1, -2, -3], [-1, -2, -3], [-2, -1, -3], [-2, -1, -3]]
        let outcomes = zip(best, [0, 1, 1, 1]).map { outcome($0, ["a", "b", "c"], gold: $1) }
        // Choice 0: precision 1/2, recall 1: 2/3. Choice 1: precision 1, recall 2/3: 4/5. Choice 2: 0.
        let measured = TaskMetric.f1.measure(outcomes, choices: 3)
        #expect(abs(measured.value - (2.0 / 3 + 0.8) / 3) < 1e-15)
        #expect(measured.standardError == nil)
    }

    @Test("Python's generator gives CPython 3.11's numbers")
    func pythonRandom() {
        var random = PythonRandom(seed: 1234)
        #expect((0..<4).map { _ in random.next() } == [4_150_886_329, 3_342_196_574, 1_892_932_127, 501_869_158])
        random = PythonRandom(seed: 1234)
        #expect(random.sample(3, of: 8) == [7, 0, 6])
        #expect(random.sample(3, of: 8) == [1, 6, 4])
        #expect(random.sample(4, of: 1000) == [35, 687, 709, 85])
        #expect(random.sample(7, of: 60) == [6, 49, 22, 15, 1, 55, 50])
        #expect(
            random.sample(21, of: 500) == [
                8, 177, 331, 319, 247, 315, 237, 76, 46, 93, 365, 58, 432, 7, 257, 249, 450, 494, 127, 33, 341,
            ])
        random = PythonRandom(seed: (1 << 40) + 7)
        #expect(random.next() == 2_635_837_658)
        #expect(random.sample(10, of: 10) == [9, 7, 4, 8, 1, 6, 3, 2, 5, 0])
        random = PythonRandom(seed: 0)
        #expect((0..<2).map { _ in random.next() } == [3_626_764_237, 1_654_615_998])
        random = PythonRandom(seed: 1234)
        for _ in 0..<1300 { _ = random.next() }
        #expect(random.next() == 2_044_697_403)
    }

    @Test("Python's lists of texts and numbers are read, other text is not")
    func pythonLiteral() {
        #expect(
            PythonLiteral.list(#"['a', "b'c", '''d\ne''', 4]"#) == [
                .text("a"), .text("b'c"), .text("d\ne"), .integer(4),
            ])
        #expect(PythonLiteral.list(#"['\x41\u00e4\'', ]"#) == [.text("Aä'")])
        #expect(PythonLiteral.list("[ ]") == [])
        for text in ["", "[", "['a'", "['a' 'b']", "[a]", "['a'] x", "['\n']", #"['\u12']"#, "['''a''']['b']"] {
            #expect(PythonLiteral.list(text) == nil, "\(text)")
        }
    }

    @Test("HellaSwag's artifacts go as lm-eval removes them")
    func artifacts() {
        // Each pair from lm-eval's own `preprocess`.
        for (text, want) in [
            ("  How to x [title] Do it. [step] Now  [a[b] c ", "How to x. Do it. Now  c"),
            ("open [ never closed", "open [ never closed"), ("[a\nb] c [d]", "[a\nb] c "), ("a   b    c", "a  b  c"),
            ("[header] A [title] B", " A. B"), ("[]x", "x"),
        ] {
            #expect(TaskDocument.withoutArtifacts(text) == want, "\(text)")
        }
    }

    @Test("targets may be indices, digits, texts, booleans or lists; others are errors with the row")
    func targets() throws {
        func gold(_ label: String, target: String = "label") throws -> [Int] {
            let task = try definition(target: target)
            let rows = try documents([#"{"text": "t", "choices": ["no", "yes"], "label": \#(label)}"#])
            return try TaskQuestions(task, first: rows[0]).question(rows[0], examples: []).gold
        }
        #expect(try gold("1") == [1])
        #expect(try gold("true") == [1])
        #expect(try gold(#""yes""#) == [1])
        #expect(try gold("[0, 1]") == [0, 1])
        #expect(try gold("0", target: "{{1 - label}}") == [1])
        #expect(try gold(#""x""#, target: "{{choices.index('yes')}}") == [1])
        #expect(try gold(#""x""#, target: "[1, 0]") == [1, 0])
        for bad in ["-1", "2", #""maybe""#, "null", "1.5", "[0, 7]"] {
            let error = #expect(throws: MeraserError.self) { try gold(bad) }
            #expect(error?.kind == .badInput && error?.message.hasPrefix("rows:1: ") == true, "\(bad)")
        }
    }

    @Test("examples stand in front with their answers, drawn as lm-eval draws them, never the row itself")
    func examples() throws {
        var task = try definition()
        let rows = try documents((0..<6).map { #"{"text": "q\#($0)", "choices": ["no", "yes"], "label": \#($0 % 2)}"# })
        let maker = try TaskQuestions(task, first: rows[0])
        let asked = try maker.question(rows[5], examples: [rows[0], rows[1]])
        #expect(asked.requests[0].context == "q0 no\n\nq1 yes\n\nq5")
        #expect(asked.requests.map(\.continuation) == [" no", " yes"])

        // Neither split is named: lm-eval then takes the row out of its own examples.
        #expect(task.excludesDocument)
        var first = try FewshotExamples(
            rows, count: 2, sampler: .firstN, excludesDocument: true, seed: 1234, name: "own")
        #expect(try first.next(for: rows[1]).map(\.place) == ["rows:1", "rows:3"])
        var drawn = try FewshotExamples(
            rows, count: 5, sampler: .standard, excludesDocument: true, seed: 1234, name: "own")
        for row in rows { #expect(try drawn.next(for: row).allSatisfy { $0.object != row.object }) }
        #expect(throws: MeraserError.self) {
            try FewshotExamples(rows, count: 6, sampler: .standard, excludesDocument: true, seed: 1, name: "own")
        }
        task.testSplit = "test"
        #expect(!task.excludesDocument)
    }

    @Test("rows that do not fit the task are errors with their place")
    func misfits() throws {
        func message(_ task: TaskDefinition, _ rows: [String]) throws -> String {
            let rows = try documents(rows)
            let error = #expect(throws: MeraserError.self) {
                let maker = try TaskQuestions(task, first: rows[0])
                for row in rows { _ = try maker.question(row, examples: []) }
            }
            #expect(error?.kind == .badInput)
            return error?.message ?? ""
        }
        let good = #"{"text": "t", "choices": ["a", "b"], "label": 0}"#
        #expect(try message(try definition(), [good, #"{"choices": ["a", "b"], "label": 0}"#]).hasPrefix("rows:2: "))
        #expect(try message(try definition("{{txt}}"), [good]).contains("'txt' is undefined"))
        #expect(try message(try definition(choices: "{{text}}"), [good]).contains("doc_to_choice"))
        #expect(
            try message(try definition(), [#"{"text": "t", "choices": ["a"], "label": 0}"#]).contains("two or more"))
        #expect(
            try message(try definition(), [good, #"{"text": "t", "choices": [1, 2], "label": 0}"#]).contains("rows:2"))
    }
}

@Suite struct ContinuationEncoderTests {
    @Test("blanks at the context's end belong to the continuation; BOS comes once")
    func encode() throws {
        let tokenizer = try Tinychat().tokenizer
        let encoder = ContinuationEncoder(tokenizer)
        func encode(_ context: String, _ continuation: String) throws -> (context: [Int32], continuation: [Int32]) {
            try encoder.encode(.init(context: context, continuation: continuation), place: "rows:1")
        }
        let plain = try encode("The sea is", " blue.")
        let moved = try encode("The sea is ", "blue.")
        #expect(plain == moved)
        #expect(plain.context.first == tokenizer.bosID)
        #expect(plain.context + plain.continuation == tokenizer.encode("The sea is blue."))
        let written = try encode("<s>The sea is", " blue.")
        #expect(written.context.filter { $0 == tokenizer.bosID }.count == 1)
        let empty = try encode("", "blue.")
        #expect(empty.context == [1] && empty.continuation == tokenizer.encode("blue.", addSpecialTokens: false))
        #expect(throws: MeraserError.self) { try encode("x", "") }
        #expect(throws: MeraserError.self) { try encode("", "") }
    }
}
