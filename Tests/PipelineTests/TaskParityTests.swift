import Audit
import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing

@testable import Pipeline

/// What lm-evaluation-harness made of the bundled rows on the bundled model: `tools/lm_eval_parity.py --fixture`.
private func cases() throws -> [JSONValue] {
    let url = packageRoot().appendingPathComponent("Tests/PipelineTests/Fixtures/lm_eval.json")
    let fixture = try JSONValue.parse([UInt8](try Data(contentsOf: url)), file: "lm_eval.json")
    return try fixture.array("cases", in: "lm_eval.json")
}

@Suite("lm-evaluation-harness on the bundled rows")
struct TaskParityTests {
    @Test("every context, choice, log-likelihood, measure and standard error is lm-eval's", arguments: 0..<5)
    func parity(index: Int) throws {
        let cases = try cases()
        try #require(cases.count == 5)
        let wanted = cases[index]
        let tasks = try wanted.object("tasks", in: "case").members.map(\.key.string)
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
        let options = EvaluationOptions(
            numFewshot: try wanted.int("examples", in: "case"),
            sampler: try #require(FewshotSampler(rawValue: try wanted.string("sampler", in: "case"))),
            maxLength: try wanted.intIfPresent("max_length", in: "case"), keepsSamples: true)
        let report = try model.evaluate(
            try TaskLibrary.tasks(tasks), data: packageRoot().appendingPathComponent("Examples/data/tasks").path,
            options: options)
        for result in report.tasks {
            let task = try #require(wanted["tasks"]?[result.definition.name])
            let rows = try task.array("rows", in: "case")
            let samples = try #require(result.samples)
            #expect(index > 0 || rows.count == samples.count)
            for (sample, row) in zip(samples, rows) {
                let contexts = try row.array("contexts", in: "row").compactMap(\.string)
                let continuations = try row.array("continuations", in: "row").compactMap(\.string)
                #expect(sample.question.requests.map(\.continuation) == continuations)
                for (i, request) in sample.question.requests.enumerated() {
                    #expect(request.context == contexts[contexts.count > 1 ? i : 0])
                }
                // PyTorch's own sums are in fp32: about 1e-6 of the sum; the fixture has five digits.
                for (got, want) in zip(sample.logLikelihoods, try row.array("log_likelihoods", in: "row")) {
                    let want = try #require(want.double)
                    #expect(abs(got - want) < 1e-5 + 5e-6 * abs(want), "\(got), want \(want)")
                }
            }
            for (key, value) in try task.object("results", in: "case").members {
                let got = try #require(result.json[key.string], "\(key.string)")
                if let want = value.double {
                    #expect(abs(try #require(got.double) - want) < 1e-12, "\(result.definition.name) \(key.string)")
                } else {
                    #expect(got == value)
                }
            }
        }
    }

    @Test("the results have lm-eval's members, numbers and names where its table tool reads them")
    func json() throws {
        let definition = try #require(try TaskLibrary.tasks(["cb"]).first)
        let documents = try TaskDocument.load(
            path: packageRoot().appendingPathComponent("Examples/data/tasks/cb.jsonl").path, step: nil)
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
        let options = EvaluationOptions(limit: 2)
        let evaluator = try TaskEvaluator(session: model.session(), tokenizer: model.tokenizer, options: options)
        let result = try evaluator.evaluate(EvaluationTask(definition, documents: documents))
        let json = EvaluationReport([result], options: options).json
        #expect(
            json.object?.members.map(\.key.string) == [
                "results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config",
            ])
        #expect(
            json["results"]?["cb"]?.object?.members.map(\.key.string) == [
                "name", "alias", "sample_len", "acc,none", "acc_stderr,none", "f1,none", "f1_stderr,none",
            ])
        #expect(json["results"]?["cb"]?["f1_stderr,none"]?.string == "N/A")
        #expect(json["n-samples"]?["cb"]?["original"]?.int == 13 && json["n-samples"]?["cb"]?["effective"]?.int == 2)
        #expect(json["versions"]?["cb"] == .number(1))
    }
}

/// A task file without mistakes.
private let goodTask = """
    task: own
    doc_to_text: "{{q}}"
    doc_to_choice: ["a", "b"]
    doc_to_target: label
    test_split: test
    """

@Suite("Task files")
struct TaskFileTests {
    private func read(_ yaml: String) throws -> TaskDefinition {
        try withTemporaryFolder { folder in
            let url = folder.appendingPathComponent("own.yml")
            try Data(yaml.utf8).write(to: url)
            return try TaskDefinition(path: url.path)
        }
    }

    @Test("lm-eval's keys are read, with its defaults")
    func keys() throws {
        let task = try read(
            goodTask + """

                task_alias: mine
                num_fewshot: 2
                fewshot_config: {sampler: first_n, split: train}
                target_delimiter: ""
                description: "Answer.\\n"
                dataset_path: json
                dataset_kwargs: {data_files: {test: rows.jsonl, train: [a.jsonl, /b.jsonl]}}
                metric_list:
                  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
                metadata: {version: 1.5}
                """)
        #expect(task.name == "own" && task.alias == "mine" && task.numFewshot == 2)
        #expect(task.sampler == .firstN && task.exampleSplit == "train" && task.evaluationSplit == "test")
        #expect(task.targetDelimiter.isEmpty && task.fewshotDelimiter == "\n\n" && task.metrics == [.accNorm])
        #expect(task.version == .number(1.5))
        #expect(task.dataFiles["test"]?.first?.hasSuffix("/rows.jsonl") == true)
        #expect(task.dataFiles["train"]?.count == 2 && task.dataFiles["train"]?.last == "/b.jsonl")
        #expect(try read(goodTask).metrics == [.acc, .accNorm])
    }

    @Test("an included file lies below")
    func include() throws {
        try withTemporaryFolder { folder in
            try Data(goodTask.utf8).write(to: folder.appendingPathComponent("base.yml"))
            let url = folder.appendingPathComponent("other.yml")
            try Data("include: base.yml\ntask: other\n".utf8).write(to: url)
            let task = try TaskDefinition(path: url.path)
            #expect(task.name == "other" && task.docToText.source == "{{q}}")
            try Data("include: other.yml\ntask: other\n".utf8).write(to: url)
            #expect(throws: MeraserError.self) { try TaskDefinition(path: url.path) }
        }
    }

    @Test(
        "mistakes are errors that name file and key",
        arguments: [
            ("doc_to_text: x\ndoc_to_choice: [a, b]", "doc_to_target"),
            (goodTask + "\nmetric_list: [{metric: bleu}]", "bleu"), (goodTask + "\nmetric_list: []", "metric_list"),
            (goodTask + "\nmetric_list: [{metric: f1}]", "aggregation"),
            (goodTask + "\noutput_type: generate_until", "doc_to_choice"),
            (goodTask + "\noutput_type: x", "output_type"),
            (goodTask + "\nprocess_docs: !function utils.process_docs", "!function"),
            (goodTask + "\ndoc_to_txt: x", "doc_to_text"),
            (goodTask + "\nnum_fewshot: -1", "num_fewshot"), (goodTask + "\ndescription: \"{{x\"", "description"),
            (goodTask + "\ndataset_kwargs: {data_files: {test: 5}}", "test"),
            (goodTask + "\ndataset_kwargs: {data_fils: {test: a.jsonl}}", "did you mean 'data_files'?"),
            ("[]", "mapping"),
            (goodTask + "\nfewshot_config: {sampler: best}", "first_n"),
            ("doc_to_text: 'x'\ndoc_to_choice: [a]\ndoc_to_target: 0", "doc_to_choice"),
        ])
    func mistakes(yaml: String, named: String) throws {
        let error = #expect(throws: MeraserError.self) { try read(yaml) }
        #expect(error?.kind == .badInput, "\(error?.message ?? "")")
        #expect(error?.message.contains(named) == true, "\(error?.message ?? "")")
    }

    @Test(
        "data are found as TASK.jsonl, TASK/SPLIT.jsonl and TASK_SPLIT.jsonl; a missing file says what was looked for")
    func files() throws {
        try withTemporaryFolder { folder in
            let task = try #require(try TaskLibrary.tasks(["sciq"]).first)
            func files(_ split: String) throws -> [String] {
                try EvaluationTask.files(task, split: split, data: folder.path)
            }
            let error = #expect(throws: MeraserError.self) { try files("test") }
            #expect(error?.kind == .badInput && error?.message.contains("sciq/test.jsonl") == true)
            #expect(error?.message.contains("sciq.jsonl") == true)
            for name in ["sciq.json", "sciq_test.jsonl", "sciq_train.json"] {
                try Data("[]".utf8).write(to: folder.appendingPathComponent(name))
            }
            #expect(try files("test").first?.hasSuffix("/sciq_test.jsonl") == true)
            #expect(try files("train").first?.hasSuffix("/sciq_train.json") == true)
            #expect(throws: MeraserError.self) { try files("validation") }
        }
    }

    @Test("every bundled task reads, under its own name, and folders of task files give all of theirs")
    func bundled() throws {
        let tasks = try TaskLibrary.tasks([TaskLibrary.names.joined(separator: ",")])
        #expect(tasks.map(\.name) == TaskLibrary.names && tasks.count == 27)
        try withTemporaryFolder { folder in
            #expect(throws: MeraserError.self) { try TaskLibrary.tasks([folder.path]) }
            for name in ["b.yml", "a.yaml"] {
                try Data(goodTask.replacingOccurrences(of: "own", with: name).utf8)
                    .write(to: folder.appendingPathComponent(name))
            }
            #expect(try TaskLibrary.tasks([folder.path, "sciq"]).map(\.name) == ["a.yaml", "b.yml", "sciq"])
        }
        for (names, word) in [(["sciqq"], "sciq"), (["sciq", "sciq"], "twice"), ([","], "no task")] {
            let error = #expect(throws: MeraserError.self) { try TaskLibrary.tasks(names) }
            #expect(error?.kind == .usage && error?.message.contains(word) == true)
        }
    }
}
