import Audit
import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing

@testable import Pipeline

private let fixtures = packageRoot().appendingPathComponent("Tests/PipelineTests/Fixtures")

/// What lm-evaluation-harness made of rows of every kind of task on the bundled model: `tools/lm_eval_tasks.py`.
private func cases() throws -> [JSONValue] {
    let file = fixtures.appendingPathComponent("lm_eval_tasks.json")
    return try JSONValue.parse([UInt8](try Data(contentsOf: file)), file: "lm_eval_tasks.json")
        .array("cases", in: "lm_eval_tasks.json")
}

@Suite("lm-evaluation-harness on texts, answers, chats and groups")
struct TaskOutputTests {
    @Test("every prompt, likelihood, answer, measure, standard error and group is lm-eval's", arguments: 0..<10)
    func parity(index: Int) throws {
        let cases = try cases()
        try #require(cases.count == 10)
        let wanted = cases[index]
        let folder = fixtures.appendingPathComponent("tasks").path
        let names = try wanted.object("tasks", in: "case").members.map(\.key.string)
        let groups = try wanted.object("groups", in: "case").members.map(\.key.string)
        let tasks = try TaskLibrary.tasks(names.map { $0 == "echo" ? folder + "/echo.yml" : $0 }).map { task in
            var task = task
            if case .generation(var rule) = task.output {
                rule.maxTokens = try wanted.int("tokens", in: "case")
                task.output = .generation(rule)
            }
            return task
        }
        let isChat = wanted["chat"]?.bool == true
        let options = EvaluationOptions(
            numFewshot: try wanted.intIfPresent("num_fewshot", in: "case"),
            maxLength: try wanted.intIfPresent("max_length", in: "case"), keepsSamples: true,
            appliesChatTemplate: isChat, fewshotAsMultiturn: wanted["multiturn"]?.bool ?? true,
            systemInstruction: wanted["system"]?.string, bootstrapDraws: try wanted.int("draws", in: "case"))
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
        let all = groups.isEmpty ? [] : try TaskLibrary.selection(groups).groups.filter { groups.contains($0.name) }
        let template = try wanted["template"]?.string.map { try ChatTemplate(source: $0) } ?? model.chatTemplate
        let evaluator = try TaskEvaluator(
            session: model.session(), tokenizer: model.tokenizer, options: options, chatTemplate: template)
        let results = try tasks.map {
            try evaluator.evaluate(try EvaluationTask($0, data: folder, needsExamples: options.numFewshot ?? 0 > 0))
        }
        let report = EvaluationReport(results, groups: all, options: options)
        for result in report.tasks {
            let task = try #require(wanted["tasks"]?[result.definition.name])
            let samples = try #require(result.samples)
            let rows = try task.array("rows", in: "case")
            #expect(rows.count == samples.count)
            for (sample, row) in zip(samples, rows) { try expectSample(sample, row) }
            try expectResults(result.json, try task.object("results", in: "case"), result.definition.name)
        }
        for name in groups {
            let want = try #require(wanted["groups"]?[name]?.object)
            try expectResults(try #require(report.json["groups"]?[name]), want, name)
            #expect(report.json["results"]?[name] == report.json["groups"]?[name])
        }
    }

    private func expectSample(_ sample: TaskSample, _ row: JSONValue) throws {
        let contexts = try row.array("contexts", in: "row").compactMap(\.string)
        let continuations = try row.array("continuations", in: "row").compactMap(\.string)
        if !contexts.isEmpty { #expect(sample.question.requests.map(\.context) == contexts) }
        if let text = row["text"]?.string {
            #expect(sample.written?.text == text)
            #expect(try sample.written?.filtered == row.array("filtered", in: "row").compactMap(\.string))
            return
        }
        #expect(sample.question.requests.map(\.continuation) == continuations)
        let likelihoods = try row.array("log_likelihoods", in: "row").compactMap(\.double)
        #expect(likelihoods.count == sample.logLikelihoods.count)
        for (got, want) in zip(sample.logLikelihoods, likelihoods) {
            // PyTorch's own sums are in fp32: about 1e-6 of the sum; the fixture has five digits.
            #expect(abs(got - want) < 1e-5 + 5e-6 * abs(want), "\(got), want \(want)")
        }
    }

    private func expectResults(_ got: JSONValue, _ want: JSONObject, _ name: String) throws {
        for (key, value) in want.members {
            let own = try #require(got[key.string], "\(name) \(key.string)")
            if let want = value.double {
                // Shares are exact; what is made of likelihoods is as exact as they are.
                let isShare =
                    key.string.hasPrefix("exact") || key.string.hasPrefix("acc_norm") || key.string == "em,none"
                let tolerance = isShare ? 1e-12 : 1e-5 * max(1, abs(want))
                #expect(abs(try #require(own.double) - want) < tolerance, "\(name) \(key.string): \(own) \(want)")
            } else {
                #expect(own == value, "\(name) \(key.string)")
            }
        }
    }
}

@Suite("Files of tasks that write, and of groups")
struct TaskGroupFileTests {
    private static let task = """
        task: own
        output_type: generate_until
        doc_to_text: "{{q}}"
        doc_to_target: "{{a}}"
        test_split: test

        """

    private func read(_ yaml: String) throws -> TaskDefinition {
        try withTemporaryFolder { folder in
            let url = folder.appendingPathComponent("own.yml")
            try Data(yaml.utf8).write(to: url)
            return try TaskDefinition(path: url.path)
        }
    }

    @Test("what is not given is lm-eval's: answers end where an example would, at most 256 tokens, taken as they are")
    func defaults() throws {
        let task = try read(Self.task + "fewshot_delimiter: \"##\"\n")
        guard case .generation(let rule) = task.output else {
            Issue.record("no generation")
            return
        }
        #expect(rule.until == ["##"] && rule.maxTokens == 256 && rule.filters.map(\.name) == ["none"])
        #expect(task.metrics == [.exactMatch])
        #expect(
            try read(Self.task + "generation_kwargs: {until: X, max_new_tokens: 3, max_gen_toks: 5}").output.name
                == "generate_until")
    }

    @Test(
        "what would not be used, or cannot be, is refused by name",
        arguments: [
            ("doc_to_choice: [a, b]\n", "doc_to_choice"), ("metric_list: [{metric: acc}]\n", "exact_match"),
            ("metric_list: [{metric: exact_match, ignore_cases: true}]\n", "ignore_case"),
            ("metric_list: [{metric: exact_match, regexes_to_ignore: ['(']}]\n", "regexes_to_ignore"),
            ("generation_kwargs: {do_sample: true}\n", "greedily"),
            ("generation_kwargs: {temperature: 0.7}\n", "greedily"),
            ("generation_kwargs: {top_p: 0.5}\n", "top_p"), ("generation_kwargs: {max_gen_toks: 0}\n", "max_gen_toks"),
            ("filter_list: [{name: x, filter: [{function: majority_vote}]}]\n", "majority_vote"),
            ("filter_list: [{name: x, filter: [{function: regex, regex_pattern: '(a+)+b'}]}]\n", "repeats a group"),
            ("filter_list: [{name: x, filter: [{function: take_first, k: 1}]}]\n", "'k'"),
            (
                "filter_list: [{name: x, filter: [{function: take_first}]}, {name: x, filter: [{function: take_first}]}]\n",
                "two filters of one name"
            ),
            ("process_results: record\nmetric_list: [{metric: em}]\n", "em"), ("output_type: text\n", "output_type"),
        ])
    func mistakes(line: String, word: String) throws {
        let error = #expect(throws: MeraserError.self) {
            try read(
                line.hasPrefix("output_type")
                    ? Self.task.replacingOccurrences(of: "output_type: generate_until\n", with: line) : Self.task + line
            )
        }
        #expect(error?.kind == .badInput && error?.message.contains(word) == true, "\(error?.message ?? "")")
    }

    @Test("a group brings its tasks from the program and from files beside it, and its groups; a name stands once")
    func groups() throws {
        try withTemporaryFolder { folder in
            func write(_ name: String, _ text: String) throws -> String {
                let url = folder.appendingPathComponent(name)
                try Data(text.utf8).write(to: url)
                return url.path
            }
            _ = try write("own.yml", Self.task)
            _ = try write("inner.yml", "group: inner\ntask: [own]\n")
            let all = try write(
                "all.yml",
                """
                group: all
                group_alias: everything
                task: [inner, sciq]
                aggregate_metric_list: [{metric: acc, weight_by_size: false, filter_list: none}]
                metadata: {version: 3}
                """)
            let chosen = try TaskLibrary.selection([all])
            #expect(chosen.tasks.map(\.name) == ["own", "sciq"] && chosen.groups.map(\.name) == ["all", "inner"])
            #expect(chosen.groups[0].alias == "everything" && chosen.groups[0].version == .integer(3))
            #expect(
                chosen.groups[0].aggregates == [
                    TaskGroup.Aggregate(metric: .acc, weightsBySize: false, filters: ["none"])
                ])
            #expect(Set(try TaskLibrary.selection([folder.path]).tasks.map(\.name)) == ["own", "sciq"])
            _ = try write("all.yml", "group: all\ntask: [nothing]\n")
            let unknown = #expect(throws: MeraserError.self) { try TaskLibrary.selection([all]) }
            #expect(unknown?.message.contains("'nothing'") == true)
            _ = try write("all.yml", "group: all\ntask: [all]\n")
            #expect(throws: MeraserError.self) { try TaskLibrary.selection([all]) }
        }
        let mmlu = try TaskLibrary.selection(["mmlu"])
        #expect(mmlu.tasks.count == 57 && mmlu.groups.map(\.name).first == "mmlu" && mmlu.groups.count == 5)
        #expect(try TaskLibrary.selection(["mmlu_pro", "anli"]).tasks.count == 17)
        #expect(try TaskLibrary.tasks(["mmlu_astronomy"]).map(\.alias) == ["astronomy"])
        let twice = #expect(throws: MeraserError.self) { try TaskLibrary.selection(["mmlu", "mmlu_astronomy"]) }
        #expect(twice?.kind == .usage && twice?.message.contains("twice") == true)
    }

    @Test("a model without a chat template, and one that is asked for too much, are refused")
    func refusals() throws {
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 1))
        let without = #expect(throws: MeraserError.self) {
            try TaskEvaluator(
                session: model.session(), tokenizer: model.tokenizer,
                options: EvaluationOptions(appliesChatTemplate: true), chatTemplate: nil)
        }
        #expect(without?.kind == .usage && without?.message.contains("chat template") == true)
        let folder = fixtures.appendingPathComponent("tasks").path
        let long = #expect(throws: MeraserError.self) {
            try model.evaluate(
                try TaskLibrary.tasks(["mmlu_pro_math"]), data: folder, options: EvaluationOptions(numFewshot: 0))
        }
        #expect(long?.message.contains("max_gen_toks") == true)
    }
}
