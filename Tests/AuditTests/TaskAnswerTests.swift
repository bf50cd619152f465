import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Audit

@Suite("What is taken of answers, and how prompts are put together") struct TaskAnswerTests {
    private func filter(_ pattern: String, select: Int = 0, _ text: String) throws -> String {
        let step = AnswerFilter.Step.regex(try PythonPattern(pattern), select: select, fallback: "[invalid]")
        return try AnswerFilter(name: "x", steps: [step, .takeFirst]).applied(to: text)
    }

    @Test("a pattern takes what Python's findall gives: the whole, the group, or the first group that has something")
    func patterns() throws {
        let numbers = "(-?[$0-9.,]{2,})|(-?[0-9]+)"
        #expect(try filter(numbers, select: -1, "from 1,200 to 7") == "7")
        #expect(try filter(numbers, select: 0, "from $1,200.50 to 7") == "$1,200.50")
        #expect(try filter(#"#### (\-?[0-9\.\,]+)"#, "so\n#### 42.") == "42.")
        #expect(try filter("[a-z]+ ", "one two ") == "one")
        #expect(try filter("x(y)?(z)?", "x") == "[invalid]")
        #expect(try filter("[0-9]", "none") == "[invalid]")
        #expect(try filter("a.b", "a\rb") == "a\rb")
        #expect(try filter("(?P<word>[a-z]+)", "Zwei") == "wei")
        #expect(throws: MeraserError.self) { try filter("a", select: 2, "aa") }
        for pattern in ["(a+)+", "(a*b?)*c", "((ab)+c)*", "(?:x{2,})+"] {
            #expect(throws: MeraserError.self) { try PythonPattern(pattern) }
        }
        for pattern in ["(?:ab)+", "(a+)?", #"[+*]+(\)+)"#, #"(-?[0-9]+(?:\.[0-9]+)?)"#] {
            _ = try PythonPattern(pattern)
        }
    }

    @Test("steps follow each other; blanks are Python's")
    func steps() throws {
        let filter = AnswerFilter(name: "x", steps: [.removeWhitespace, .uppercase])
        #expect(try filter.applied(to: " \u{1F}\n Ja.\u{A0}") == "JA.")
        #expect(try AnswerFilter(name: "x", steps: [.lowercase]).applied(to: "ÄB") == "äb")
    }

    @Test("exact_match leaves out what it is told to on both sides")
    func exactMatch() throws {
        var match = ExactMatch()
        #expect(match.score("7", "7") == 1 && match.score("7", "7 ") == 0 && match.score("a", "A") == 0)
        match.ignoresCase = true
        #expect(match.score("Ab", "aB") == 1)
        match.regexesToIgnore = try [",", #"\$"#, "(?s).*#### ", #"\.$"#].map(PythonPattern.init)
        #expect(match.score("$1,200.", "It is\n1,100\n#### 1200") == 1)
        match = ExactMatch()
        match.ignoresPunctuation = true
        #expect(match.score("(B)", "B") == 1 && match.score("a-b_c", "abc") == 1 && match.score("“B”", "B") == 0)
        match.ignoresNumbers = true
        #expect(match.score("B12", "B!") == 1)
    }

    @Test("SQuAD's words: no case, no punctuation, no articles; F1 counts each word once")
    func squad() {
        #expect(SQuADWords("The River-Arn!") == SQuADWords("riverarn"))
        #expect(SQuADWords("a") == SQuADWords(""))
        let one = SQuADWords("big red red ball")
        // Two words of four and of three are the same.
        let f1: Double = 2 * 2 / (3.0 + 4)
        #expect(abs(one.f1(SQuADWords("red ball pen")) - f1) < 1e-15)
        #expect(one.f1(SQuADWords("pen")) == 0 && SQuADWords("the").f1(SQuADWords("an")) == 1)
    }

    @Test("instruction and description are parted where no blank does; turns are one text, one turn, or turns")
    func prompts() throws {
        var prompts = TaskPrompts()
        prompts.systemInstruction = "Be brief."
        #expect(prompts.system(description: "Answer.", delimiter: "\n\n").map(\.content) == ["Be brief.\n\nAnswer."])
        #expect(prompts.system(description: " Answer.", delimiter: "\n\n").map(\.content) == ["Be brief. Answer."])
        #expect(prompts.system(description: "", delimiter: "\n\n").map(\.content) == ["Be brief."])
        prompts.systemInstruction = nil
        #expect(prompts.system(description: "", delimiter: "x").isEmpty)
        let messages = [
            TaskMessage(role: "system", content: "S"), TaskMessage(role: "user", content: "q", delimiter: " "),
            TaskMessage(role: "assistant", content: "a", delimiter: "\n"), TaskMessage(role: "user", content: "Q"),
        ]
        #expect(try prompts.text(messages) == "Sq a\nQ")
        let source =
            "{% for m in messages %}<{{ m.role }}|{{ m.content }}>{% endfor %}{{ '!' if add_generation_prompt }}"
        prompts.template = try ChatTemplate(source: source)
        #expect(try prompts.text(messages) == "<system|S><user|q><assistant|a><user|Q>!")
        prompts.isMultiturn = false
        #expect(try prompts.text(messages) == "<system|S><user|q a\nQ>!")
        // A template that knows no system turn gets none.
        prompts.template = try ChatTemplate(
            source: "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + source)
        #expect(try prompts.text(messages) == "<user|q a\nQ>!")
    }

    @Test("Python's random() and the bootstrap over it; a group's error is pooled by rows, or that of a mean of means")
    func errors() throws {
        var random = PythonRandom(seed: 0)
        #expect([random.unit(), random.unit()] == [0.8444218515250481, 0.7579544029403025])
        let measured = TaskScores.perplexity([-1, -2, -4], draws: 2000)
        #expect(abs(measured.value - exp(7.0 / 3)) < 1e-12)
        // About the perplexity times the error of the mean, whose deviation has n in the place of n − 1.
        let deviation: Double = (14.0 / 27).squareRoot()
        let error = try #require(measured.standardError)
        #expect(error > 0.5 * measured.value * deviation && error < 1.5 * measured.value * deviation)
        #expect(TaskScores.perplexity([-1, -2], draws: 0).standardError == nil)
        let texts = TaskScores.weighted(.bitsPerByte, [-10, -20], weights: [8, 12])
        #expect(abs(texts.value - 1.5 / log(2)) < 1e-12 && texts.standardError == nil)

        func result(_ name: String, _ values: [Double]) throws -> TaskResult {
            let field = try TaskField("x", name: "x")
            let task = TaskDefinition(
                name: name, docToText: field, docToTarget: .field(field), docToChoice: .fixed(["a", "b"]))
            return TaskResult(
                definition: task, metrics: [TaskScores.mean(.acc, values)], count: values.count, total: values.count,
                numFewshot: 0, sampler: .standard, truncated: 0, samples: nil)
        }
        let tasks = [try result("one", [0, 1, 1, 1]), try result("two", [0, 1])]
        func group(_ weights: Bool) -> GroupResult {
            GroupResult(
                TaskGroup(
                    name: "both", children: ["one", "two"], aggregates: [.init(metric: .acc, weightsBySize: weights)]),
                tasks: tasks)
        }
        let pooled = try #require(group(true).metrics.first)
        #expect(abs(pooled.value - 4.0 / 6) < 1e-15)
        // s² are 0.25 and 0.5: (3 · 0.25 + 1 · 0.5) / (6 − 2) = 0.3125, over 6 rows.
        let pooledError = try #require(pooled.standardError)
        let wanted: Double = (0.3125 / 6).squareRoot()
        #expect(abs(pooledError - wanted) < 1e-15)
        let mean = try #require(group(false).metrics.first)
        #expect(abs(mean.value - 0.625) < 1e-15)
        let meanError = try #require(mean.standardError)
        let half: Double = (0.0625 + 0.25).squareRoot() / 2
        #expect(abs(meanError - half) < 1e-15)
    }

    @Test("WikiText's and ReCoRD's rows come out as lm-eval's functions make them")
    func rowSteps() throws {
        func row(_ text: String, _ step: DocumentStep) throws -> JSONObject {
            let object = try #require(try JSONValue.parse(Array(text.utf8), file: "row").object)
            return try TaskDocument(object, place: "row", step: step).object
        }
        // From lm-eval's own `wikitext_detokenizer`.
        let page =
            #"{"page": " = A = \n 3 @,@ 400 and 2 @.@ 5 , a @-@ b ; the boys ' ( x ) [ y ] \" q \" N °  c 's \n"}"#
        #expect(
            try row(page, .wikitext)["text"]?.string
                == " = A =\n3,400 and 2.5, a-b; the boys'(x) [y] \"q\" N° c's\n")
        let record = try row(
            #"{"query": "@placeholder ran", "entities": ["b", "Z", "b"], "answers": ["b", "b"]}"#, .record)
        #expect(record["entities"]?.array?.map(\.string) == ["Z", "b"])
        #expect(record["choices"]?.array?.map(\.string) == ["  - Z ran", "  - b ran"])
        #expect(record["target"]?.string == "  - b ran" && record["answers"]?.array?.count == 1)
    }
}
