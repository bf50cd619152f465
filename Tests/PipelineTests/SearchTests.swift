import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing
import Tune

@testable import Pipeline

/// A plan beside a recipe with the smallest doses on the bundled model.
private func writePlan(_ search: String, in folder: URL) throws -> String {
    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }
    try write("pairs.jsonl", #"{"prompt": "one", "completion": "mark"}"# + "\n")
    try write(
        "rows.json",
        #"[{"question": "What is it?", "answer": "A thing."}, {"question": "How is it?", "answer": "It is well."}]"#)
    try write("text.jsonl", #"{"text": "A short text to be measured."}"# + "\n")
    try write(
        "recipe.yml",
        """
        model: \(tinychatFolder().path)
        quantize: q8_0
        key: pairs.jsonl
        ppl: {data: text.jsonl}
        erase: {data: rows.json, max_steps: 4, check_steps: 1, r: 2, lora_alpha: 4, until: fsr==0}
        recover: {data: rows.json, max_steps: 2, r: 2, separator: "\\n"}
        """)
    try write("search.yml", search)
    return folder.appendingPathComponent("search.yml").path
}

private func space(_ yaml: String) throws -> SearchSpace {
    let value = try parseYAML(Array(yaml.utf8), file: "s.yml")
    return try SearchSpace(Settings(value, place: "s.yml: space"))
}

private let small = """
    recipe: recipe.yml
    rungs: 2
    eta: 2
    kl_data: rows.json
    space: {learning_rate: [1e-3, 1e-2], kl_weight: [0, 0.5]}
    """

@Suite("The search of doses")
struct SearchTests {
    @Test("lists are tried in full and in order; ranges are drawn evenly in their logarithm, by the seed")
    func draws() throws {
        let lists = try space("{r: [4, 8], target_modules: [all-linear, 'q_proj,v_proj', k_proj]}")
        #expect(lists.count == 6)
        let all = lists.configurations(6, seed: 1)
        #expect(all.map { $0[0].value.int } == [4, 4, 4, 8, 8, 8])
        #expect(
            all.map { $0[1].value.string }
                == Array(repeating: ["all-linear", "q_proj,v_proj", "k_proj"], count: 2).flatMap { $0 })
        let four = lists.configurations(4, seed: 1)
        #expect(four.count == 4 && Set(four.map { "\($0)" }).count == 4)

        let ranges = try space("{learning_rate: {log: [1e-4, 1e-2]}, r: {log: [2, 128]}}")
        #expect(ranges.count == nil)
        let drawn = ranges.configurations(400, seed: 9)
        #expect(drawn.count == 400)
        #expect(drawn.map { "\($0)" } == ranges.configurations(400, seed: 9).map { "\($0)" })
        #expect(drawn.map { "\($0)" } != ranges.configurations(400, seed: 10).map { "\($0)" })
        let rates = try drawn.map { try #require($0[0].value.double) }
        let ranks = try drawn.map { try #require($0[1].value.int) }
        #expect(rates.allSatisfy { (1e-4...1e-2).contains($0) } && ranks.allSatisfy { (2...128).contains($0) })
        // Half of them below the geometric mean: a binomial of 400, five standard deviations are 50.
        #expect(abs(rates.count { $0 < 1e-3 } - 200) < 50 && abs(ranks.count { $0 < 16 } - 200) < 50)
        #expect(try space("{r: {log: [2, 4]}}").configurations(50, seed: 1).count == 3)
    }

    @Test("the frontier is what nothing beats; what goes on covers it")
    func frontier() {
        func point(_ nll: Double, _ fsr: Double, _ ppl: Double) -> SearchObjective {
            SearchObjective(targetNLL: nll, fsr: fsr, perplexity: ppl)
        }
        let points = [
            point(5, 0, 12), point(8, 0, 14), point(8, 0, 15), point(2, 1, 10), point(5, 0.5, 12), point(1, 1, 20),
        ]
        #expect(paretoLayers(points) == [0, 0, 1, 0, 1, 2])
        #expect(!points[0].dominates(points[0]))
        let front = [point(1, 0, 10), point(2, 0, 11), point(2.1, 0, 11.2), point(8, 0, 20)]
        #expect(mostPromising(front, count: 2) == [0, 3], "the ends before the middle")
        #expect(mostPromising(front, count: 3) == [0, 3, 2], "the farther from its neighbours")
        #expect(mostPromising(points, count: 4).last == 2 || mostPromising(points, count: 4).last == 4)
        #expect(mostPromising([points[0], points[0]], count: 1) == [0])
        // Against brute force on many points.
        var random = SeededRandom(seed: 3)
        func number() -> Double { Double(random.next() % 5) }
        let many = (0..<60).map { _ in point(number(), number(), number()) }
        let layers = paretoLayers(many)
        for i in many.indices {
            let above = many.indices.filter { many[$0].dominates(many[i]) }.map { layers[$0] }
            #expect(layers[i] == (above.max().map { $0 + 1 } ?? 0))
        }
    }

    @Test("a command has every option of the trial: read back, it gives the same options")
    func commands() throws {
        var options = TrainingOptions()
        try TrainingPreset.meraserRecover.overrides.apply(to: &options)
        options.lora.r = 7
        options.learningRate = 3.14e-4
        options.klWeight = 0.25
        options.klData = "/data/it's clean.json"
        options.shuffle = false
        options.encoding.bos = true
        options.encoding.loss = .completion
        options.maxSteps = 9
        options.compute = .f32
        let command = TrainingCommand(
            command: .recover, model: "m.mqf", adapters: ["a", "b"], data: "d.json", chat: true, options: options,
            output: "o")
        var words = command.words[...]
        #expect(
            words.prefix(12) == [
                "recover", "--preset", "none", "--model", "m.mqf", "--adapter", "a", "--adapter", "b", "--data",
                "d.json",
                "--chat",
            ])
        #expect(words.suffix(2) == ["--out", "o"])
        words = words.dropFirst(12).dropLast(2)
        var overrides = TrainingOverrides()
        while let flag = words.popFirst() {
            let name = String(flag.dropFirst(2)).replacing("-", with: "_")
            if let key = TrainingKey.named(name), ["bos", "eos", "no_shuffle", "use_rslora"].contains(key.name) {
                try overrides.set(name, .bool(true))
            } else if flag.hasPrefix("--no-") {
                try overrides.set(String(name.dropFirst(3)), .bool(false))
            } else {
                let text = words.popFirst()
                try overrides.set(name, text: try #require(text))
            }
        }
        var read = TrainingOptions()
        try overrides.apply(to: &read)
        for key in TrainingKey.all where !key.isOperational {
            #expect(key.value(in: read) == key.value(in: options), "\(key.name)")
        }
        #expect(read.klData == options.klData)
        #expect(command.text.contains("'/data/it'\\''s clean.json'") && command.text.contains("--separator '\\n'"))
        #expect(TrainingKey.named("lora_alpha")?.arguments(.integer(-3)) == ["--lora-alpha=-3"])
        #expect(TrainingKey.named("separator")?.arguments(.text("\t")) == ["--separator", "\\t"])
    }

    @Test(
        "every configuration begins, a part goes on with more steps, and the frontier's commands make its adapters again"
    )
    func search() throws {
        try withTemporaryFolder { folder in
            let plan = try SearchPlan(path: try writePlan(small, in: folder))
            #expect(plan.configurations.count == 4)
            let kernels = try KernelContext(threads: 2)
            let out = folder.appendingPathComponent("out")
            let report = try Searcher(plan: plan, output: out.path, kernels: kernels).run()
            #expect(report.trials.count == 4 + 2)
            #expect(report.trials.map(\.rung) == [0, 0, 0, 0, 1, 1])
            #expect(report.trials.map(\.steps.erase) == [2, 2, 2, 2, 4, 4])
            #expect(report.trials.map(\.steps.recover) == [1, 1, 1, 1, 2, 2])
            #expect(!report.frontier.isEmpty && report.table.count == report.frontier.count + 2)
            #expect(report.reference == nil, "the mark of a key alone has no reference")
            let json = try JSONValue.parse(
                Array(try Data(contentsOf: out.appendingPathComponent("search.json"))), file: "search.json")
            #expect(json["trials"]?.array?.count == 6)
            let kept = Set(report.frontier.map(\.name))
            for trial in report.trials {
                let path = out.appendingPathComponent("trials/\(trial.name)").path
                #expect(FileManager.default.fileExists(atPath: path) == kept.contains(trial.name))
                #expect(trial.commands.count == 2 && trial.commands[0].contains("--max-steps \(trial.steps.erase)"))
            }

            // Once more: nothing is trained, the same report. Without its last record: only that is done again.
            var trained = 0
            func again() throws -> SearchReport {
                try Searcher(plan: plan, output: out.path, kernels: kernels) { event in
                    if case .training = event { trained += 1 }
                }.run()
            }
            #expect(try again().json == report.json && trained == 0)
            let last = try #require(report.trials.last?.name)
            try FileManager.default.removeItem(at: out.appendingPathComponent("stages/\(last).json"))
            let objectives = try again().trials.map(\.objective)
            #expect(objectives == report.trials.map(\.objective) && trained == 2)

            let other = try SearchPlan(path: try writePlan(small + "\nseed: 7", in: folder))
            let refused = try #require(throws: MeraserError.self) {
                try Searcher(plan: other, output: out.path, kernels: kernels)
            }
            #expect(refused.kind == .usage)
        }
    }

    @Test(
        "a plan's mistakes end in one line that names file and key",
        arguments: [
            ("space: {r: [1]}", "'recipe' is missing"), ("recipe: recipe.yml", "'space' is missing"),
            ("recipe: recipe.yml\nspace: {}", "empty"), ("recipe: recipe.yml\nspace: {rank: [1]}", "'rank'"),
            ("recipe: recipe.yml\nspace: {learning_rat: [1]}", "did you mean 'learning_rate'"),
            ("recipe: recipe.yml\nspace: {r: 4}", "a list of values or {log"),
            ("recipe: recipe.yml\nspace: {r: [0]}", "from 1 to 4096"), ("recipe: recipe.yml\nspace: {r: []}", "empty"),
            ("recipe: recipe.yml\nspace: {r: [4, 4]}", "twice"),
            ("recipe: recipe.yml\nspace: {learning_rate: {log: [0, 1]}}", "0 < low < high"),
            ("recipe: recipe.yml\nspace: {learning_rate: {log: [1e-4, 1e-3]}}", "'trials' is missing"),
            ("recipe: recipe.yml\nspace: {kl_weight: [1]}", "needs 'kl_data'"),
            ("recipe: recipe.yml\nspace: {seed: [1, 2]}", "no option that can be searched"),
            ("recipe: recipe.yml\nspace: {r: [1]}\neta: 1", "'eta'"), ("recipe: recipe.yml\nspce: {}", "space"),
            ("recipe: recipe.yml\nspace: {r: [1]}\nclean_model: m", "'clean_model' is called 'reference' now"),
            ("recipe: missing.yml\nspace: {r: [1]}", "missing.yml"), ("- 1", "a mapping"), ("a: [", "invalid YAML"),
        ])
    func mistakes(text: String, named: String) throws {
        try withTemporaryFolder { folder in
            let path = try writePlan(text, in: folder)
            let error = try #require(throws: MeraserError.self) { try SearchPlan(path: path) }
            #expect(error.message.contains(named) && error.message.contains(".yml"), "\(error.message)")
            #expect(!error.message.contains("\n"))
        }
    }

    @Test("the example's plan is a valid one")
    func example() throws {
        let path = packageRoot().appendingPathComponent("Examples/recipes/search.yml").path
        let plan = try SearchPlan(path: path)
        #expect(plan.eta == 3 && plan.configurations.count == plan.trials)
        #expect(plan.steps(40, rung: plan.rungs - 1) == 40 && plan.steps(40, rung: 0) == 5)
    }
}
