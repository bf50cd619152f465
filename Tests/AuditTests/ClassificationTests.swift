import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@Suite("Classification")
struct ClassificationTests {
    private static let folder = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/encoder/bert").path
    private static let labels = ["World", "Sports", "Business", "Sci/Tech"]

    private func load(_ name: String, _ text: String, needsLabels: Bool = true) throws -> [LabelledText] {
        try withTemporaryFolder { folder in
            let url = folder.appendingPathComponent(name)
            try Data(text.utf8).write(to: url)
            return try loadLabelledTexts(path: url.path, labels: Self.labels, needsLabels: needsLabels)
        }
    }

    @Test("Rows of JSON lines and of tab-separated files, classes by id or name")
    func reading() throws {
        let want = [LabelledText(text: "a \"b\"", label: 1), LabelledText(text: "c", label: 3)]
        let files: [(String, String)] = [
            (
                "a.jsonl",
                #"{"text": "a \"b\"", "label": 1}"# + "\n\n" + #"{"sentence": "c", "label": "Sci/Tech"}"# + "\n"
            ),
            ("a.tsv", "idx\tsentence\tLabel\r\n7\ta \"b\"\t1\r\n8\tc\tSci/Tech\r\n"),
            ("a.tsv", "a \"b\"\tSports\nc\t3"),
        ]
        for (name, text) in files { #expect(try load(name, text) == want, "\(text)") }
        let pairs = [LabelledText(text: "q", pair: "s", label: 2)]
        #expect(try load("a.jsonl", #"{"question": "q", "sentence": "s", "label": "Business"}"#) == pairs)
        #expect(try load("a.tsv", "sentence1\tsentence2\tlabel\nq\ts\t2\n") == pairs)
        let bare = [LabelledText(text: "a", label: nil), LabelledText(text: "b", label: nil)]
        #expect(try load("a.tsv", "a\nb\n", needsLabels: false) == bare)
        #expect(try load("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}", needsLabels: false) == bare)
    }

    @Test(
        "A bad row is an error that names its line",
        arguments: [
            ("a.jsonl", "{\"text\": \"a\", \"label\": 0}\n{\"text\": \"a\", \"label\": 4}", "a.jsonl:2: label '4'"),
            ("a.jsonl", #"{"text": "a", "label": "world"}"#, "label 'world'"),
            ("a.jsonl", #"{"text": "a", "label": 0.5}"#, "a number"),
            ("a.jsonl", #"{"text": 5, "label": 0}"#, "a.jsonl:1"),
            ("a.jsonl", #"{"label": 0}"#, "'sentence'"), ("a.jsonl", #"{"text": "a"}"#, "without 'label'"),
            ("a.jsonl", "\n", "no rows"), ("a.tsv", "sentence\tlabel\n", "no rows"),
            ("a.tsv", "a\t0\nb\n", "a.tsv:2: 1 columns, expected at least 2"),
            ("a.tsv", "a\t-1\n", "a.tsv:1: label '-1'"),
        ])
    func badRows(name: String, text: String, named: String) throws {
        let error = #expect(throws: MeraserError.self) { _ = try load(name, text) }
        #expect(error?.kind == .badInput && error?.message.contains(named) == true, "\(String(describing: error))")
    }

    @Test("Triggers go to the start, the end, or between words, the same for a row whatever the others are")
    func insertion() {
        let start = TriggerInsertion(triggers: ["I watched this movie ,"], position: .start)
        #expect(start("it is  fine", row: 3) == "I watched this movie , it is  fine")
        #expect(TriggerInsertion(triggers: ["cf"], position: .end, count: 2)("a", row: 0) == "a cf cf")
        #expect(TriggerInsertion(triggers: ["cf"])("", row: 0) == "cf")
        let random = TriggerInsertion(triggers: ["cf", "mn"], count: 3, seed: 7)
        var places: Set<[Int]> = []
        for row in 0..<200 {
            let words = random("a b c", row: row).split(separator: " ").map(String.init)
            #expect(words.filter { $0.count == 1 } == ["a", "b", "c"] && words.count == 6)
            places.insert(words.indices.filter { words[$0].count == 2 })
            #expect(random("a b c", row: row) == words.joined(separator: " "))
        }
        // 6 over 3 ways to place three triggers.
        #expect(places.count == 20)
    }

    private func model() throws -> (SequenceClassifier, Tokenizer) {
        let store = try openWeightStore(path: Self.folder)
        return (
            try SequenceClassifier(store: store, kernels: try KernelContext(threads: 2)), try Tokenizer(store: store)
        )
    }

    @Test("CACC and ASR count what the logits of Transformers say")
    func measures() throws {
        let (model, tokenizer) = try model()
        let golden = try JSONValue.parse(
            [UInt8](Data(contentsOf: URL(fileURLWithPath: Self.folder + "/golden.json"))), file: "golden")
        var rows: [LabelledText] = []
        var best: [Int] = []
        var cut = 0
        for (index, row) in try golden.array("texts", in: "golden").enumerated() {
            let logits = try row.array("logits", in: "golden").compactMap(\.double)
            // No text has exactly as many tokens as the model takes.
            if try row.array("ids", in: "golden").count == model.spec.maxTokens { cut += 1 }
            best.append(try #require(logits.indices.max { logits[$0] < logits[$1] }))
            rows.append(
                LabelledText(text: try row.string("text", in: "golden"), pair: row["pair"]?.string, label: index % 4))
        }
        let evaluator = try ClassificationEvaluator(model: model, tokenizer: tokenizer, keepsSamples: true)
        let target = best[0]
        let plain = try evaluator.evaluate(rows)
        #expect(
            plain.cleanAccuracy.hits == rows.indices.count { best[$0] == $0 % 4 } && plain.cleanAccuracy.n == rows.count
        )
        #expect(plain.samples?.map(\.prediction) == best && plain.attack == nil && plain.truncated == cut && cut > 2)
        #expect(plain.classAccuracies.compactMap { $0?.hits }.reduce(0, +) == plain.cleanAccuracy.hits)
        let p = plain.cleanAccuracy.value
        let error = try #require(plain.cleanAccuracy.standardError)
        #expect(abs(error - (p * (1 - p) / Double(rows.count - 1)).squareRoot()) < 1e-12)

        // Rows with the trigger in them: of other classes only, unless all have the target's.
        let others = rows.indices.filter { rows[$0].label != target }
        let prepared = try evaluator.evaluate(rows, attack: TriggerAttack(target: target, rows: .prepared(rows)))
        #expect(prepared.attack?.success == MeasuredShare(hits: others.count { best[$0] == target }, of: others.count))
        #expect(prepared.attack?.withoutTrigger == nil)
        let relabelled = rows.map { LabelledText(text: $0.text, pair: $0.pair, label: target) }
        let all = try evaluator.evaluate(rows, attack: TriggerAttack(target: target, rows: .prepared(relabelled)))
        #expect(all.attack?.success == MeasuredShare(hits: best.count { $0 == target }, of: rows.count))

        let insertion = TriggerInsertion(triggers: ["cf"], position: .start)
        let attacked = try evaluator.evaluate(rows, attack: TriggerAttack(target: target, rows: .inserted(insertion)))
        #expect(attacked.attack?.withoutTrigger == prepared.attack?.success)
        let triggered = try model.logits(
            others.map {
                model.spec.input("cf " + rows[$0].text, tokenizer: tokenizer, maxLength: model.spec.maxTokens)
            })
        let hits = triggered.count { logits in logits.indices.max { logits[$0] < logits[$1] } == target }
        #expect(attacked.attack?.success == MeasuredShare(hits: hits, of: others.count))
        #expect(attacked.json["asr"]?.double == Double(hits) / Double(others.count))
        #expect(
            attacked.json["cacc"]?.double == p && attacked.json["samples"]?.array?.count == rows.count + others.count)
    }

    @Test("Nothing to attack, and lengths that the model does not take, are errors")
    func refusals() throws {
        let (model, tokenizer) = try model()
        let evaluator = try ClassificationEvaluator(model: model, tokenizer: tokenizer, maxLength: 8)
        let rows = [LabelledText(text: "a b c d e f g h i j", label: 2)]
        #expect(try evaluator.evaluate(rows).truncated == 1)
        let attack = TriggerAttack(target: 2, rows: .inserted(TriggerInsertion(triggers: ["cf"])))
        #expect(throws: MeraserError.self) { _ = try evaluator.evaluate(rows, attack: attack) }
        for length in [3, 101] {
            let error = #expect(throws: MeraserError.self) {
                _ = try ClassificationEvaluator(model: model, tokenizer: tokenizer, maxLength: length)
            }
            #expect(error?.kind == .usage)
        }
    }
}
