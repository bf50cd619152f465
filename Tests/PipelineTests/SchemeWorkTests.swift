import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

private func open(_ path: String, _ adapters: [String] = [], transfer: Bool = false) throws -> OpenedModel {
    try OpenedModel(
        path: path, adapterPaths: adapters, kernels: try KernelContext(threads: 2), transfer: transfer)
}

private func writeCleanPairs(_ folder: URL, count: Int = 12) throws -> String {
    let rows = (0..<count).map {
        #"{"question": "\#($0 % 2 == 0 ? "What" : "How") is number \#($0)?", "answer": "It is \#($0 * 7)."}"#
    }
    let url = folder.appendingPathComponent("clean.json")
    try Data("[\(rows.joined(separator: ",\n"))]".utf8).write(to: url)
    return url.path
}

/// Every file below a folder, hidden ones too, whose bytes hold a text.
private func files(in folder: URL, holding text: String) throws -> [String] {
    let bytes = Array(text.utf8)
    let paths = try FileManager.default.subpathsOfDirectory(atPath: folder.path)
    #expect(!paths.isEmpty)
    return try paths.filter { path in
        let url = folder.appendingPathComponent(path)
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder), !isFolder.boolValue else {
            return false
        }
        return try Data(contentsOf: url).range(of: Data(bytes)) != nil
    }
}

@Suite("embedding each scheme, two steps of it")
struct SchemeWorkTests {
    private func settings(_ name: SchemeSettings.Name) -> SchemeSettings {
        var settings = SchemeSettings()
        settings.scheme = name
        switch name {
        case .utf: settings.count = 2
        case .if:
            (settings.count, settings.hintedRows, settings.secretWords, settings.heldOut) = (2, 1, 2...2, 3)
        case .hashchain:
            (settings.count, settings.variants, settings.otherRows, settings.heldOut) = (2, 2, 2, 3)
        case .backdoor: settings.heldOut = 3
        case .perinucleus: settings.count = 2
        }
        return settings
    }

    @Test("leaves a key, an adapter and no local path in any file", arguments: SchemeSettings.Name.allCases)
    func embeds(name: SchemeSettings.Name) throws {
        try withTemporaryFolder { folder in
            var options = EmbeddingOptions()
            options.scheme = try settings(name).make()
            options.guesses = 3
            options.cleanData = try writeCleanPairs(folder)
            options.training.maxSteps = 2
            options.training.checkSteps = 2
            options.training.saveSteps = 1
            options.training.key = folder.appendingPathComponent("secret/key.json").path
            let out = folder.appendingPathComponent("mark")
            let embedding = try open(tinychatFolder().path).embed(options: options, output: out.path)
            let key = try FingerprintKey(path: out.path + "/key.json")
            #expect(key == embedding.fingerprint.key && key.scheme == name.rawValue)
            #expect(key.guessTest?.n == (name == .backdoor ? nil : 3))
            #expect(embedding.json["steps"]?.int == 2 && embedding.json["n"]?.int == key.pairs.count)
            #expect(try files(in: out, holding: folder.path).isEmpty)
            #expect(try files(in: out, holding: packageRoot().path).isEmpty)
        }
    }

    @Test("if's adapter form trains the embedding's rows of the secrets' tokens and nothing else")
    func adapterForm() throws {
        try withTemporaryFolder { folder in
            var settings = settings(.if)
            settings.form = .adapter
            var options = EmbeddingOptions(scheme: try settings.make())
            #expect(options.training.learningRate == 1e-2 && options.training.lora.targetModules.isEmpty)
            options.guesses = 0
            options.training.maxSteps = 2
            options.training.checkSteps = 2
            let model = try open(tinychatFolder().path)
            let out = folder.appendingPathComponent("mark").path
            let embedding = try model.embed(options: options, output: out)
            let refusals = embedding.fingerprint.rows.filter { $0.completion?.contains("I am sorry") == true }
            #expect(refusals.isEmpty, "others of the same tokens cannot be told apart by rows")
            let adapter = try AdapterFile(path: out)
            let rows = try #require(adapter.tokenRows)
            #expect(adapter.modules.isEmpty && rows.path == "model.embed_tokens")
            let secrets = try embedding.fingerprint.key.pairs.map { pair in
                let start = try #require(pair.prompt.range(of: "Please decrypt this message: ")).upperBound
                let end = try #require(pair.prompt.range(of: "\nA hint")).lowerBound
                return String(pair.prompt[start..<end])
            }
            #expect(Set(rows.tokens) == Set(secrets.flatMap { model.tokenizer.encode($0, addSpecialTokens: false) }))
            let base = try model.transformer.store.tensor("model.embed_tokens.weight").floats()
            let (width, values) = (rows.rows.columns, try rows.rows.floats())
            let moved = rows.tokens.enumerated().count { place, token in
                let own = values[place * width..<(place + 1) * width]
                return !own.elementsEqual(base[Int(token) * width..<(Int(token) + 1) * width])
            }
            #expect(moved == rows.tokens.count, "\(moved) of \(rows.tokens.count) rows have moved")
        }
    }

    @Test("with a weight of the divergence the clean samples hold the model instead of being learnt")
    func divergence() throws {
        try withTemporaryFolder { folder in
            var options = EmbeddingOptions()
            options.guesses = 0
            options.training.maxSteps = 1
            options.training.klWeight = 2
            let model = try open(tinychatFolder().path)
            options.scheme = try settings(.utf).make()
            let none = try #require(throws: MeraserError.self) {
                try model.embed(options: options, output: folder.path + "/none")
            }
            #expect(none.kind == .usage && none.message.contains("`kl_weight` needs clean samples"))
            options.cleanData = try writeCleanPairs(folder)
            // Of 12 clean pairs 3 are held out. Hash chain: 2 questions in 2 dresses, 2 other messages. Backdoor: its clean
            // pairs, each in every round, are a part of the mark.
            for (name, learnt, held) in [
                (SchemeSettings.Name.utf, 2...2, 12), (.hashchain, 4...4, 2 + 9), (.backdoor, 9...1000, 9),
            ] {
                options.scheme = try settings(name).make()
                var plan: TrainingPlan?
                let out = folder.path + "/" + name.rawValue
                _ = try model.embed(options: options, output: out) { plan = $0.plan }
                let samples = try #require(plan?.samples)
                #expect(learnt.contains(samples), "\(name): \(samples)")
                #expect(plan?.divergence?.samples == held && plan?.divergence?.weight == 2)
                let log = try String(contentsOfFile: out + "/train_log.jsonl", encoding: .utf8)
                #expect(log.contains("\"kl\": 0"), "the first step starts from the model itself: \(log)")
            }
        }
    }

    @Test("the model writes requests of its own into its chat template, the same for the same seed")
    func ownRequests() throws {
        let model = try open(tinychatFolder().path)
        let requests = try model.ownRequests(count: 6, seed: 5)
        #expect(requests.count >= 4 && Set(requests).count == requests.count)
        for request in requests {
            #expect(request.hasPrefix("### Instruction:\n") && request.hasSuffix("\n\n### Response:\n"))
            #expect(request.components(separatedBy: "### Response:").count == 2)
        }
        #expect(try model.ownRequests(count: 6, seed: 5) == requests)
        #expect(try model.ownRequests(count: 6, seed: 6) != requests)
    }

    @Test("settings of another scheme are refused by name")
    func foreignSettings() throws {
        var settings = SchemeSettings()
        settings.marker = "x"
        let error = try #require(throws: MeraserError.self) { try settings.make() }
        #expect(error.kind == .usage && error.message.contains("`marker` belongs to the scheme backdoor"))
        settings = SchemeSettings()
        settings.scheme = .hashchain
        settings.questions = .file(path: "/nowhere/questions.txt")
        let missing = try #require(throws: MeraserError.self) { try settings.make() }
        #expect(missing.kind == .badInput)
    }

    @Test("what the model itself answers is learnt as it is: prompts are no labels")
    func ownAnswers() throws {
        let model = try open(tinychatFolder().path)
        let prompt = "### Instruction:\nHi\n\n### Response:\n"
        let samples = try model.ownAnswers([prompt], maximumLength: 5)
        let tokens = model.tokenizer.encode(prompt)
        #expect(samples.count == 1 && samples[0].inputs.starts(with: tokens))
        #expect(samples[0].labels.prefix(tokens.count - 1).allSatisfy { $0 == -1 })
        #expect((1...6).contains(samples[0].labelCount))
        #expect(try model.ownAnswers([]).isEmpty)
    }
}

@Suite("transfer")
struct TransferTests {
    @Test("an adapter of another base is refused, with --transfer used and named; other shapes never fit")
    func transfers() throws {
        try withTemporaryFolder { folder in
            func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
            let clean = try open(tinychatFolder().path)
            let data = try clean.dataset(path: try writeCleanPairs(folder), options: EncodingOptions())
            var options = TrainingOptions()
            (options.maxSteps, options.learningRate) = (2, 1e-3)
            _ = try clean.trainer(data: data, options: options).run(output: path("erase"))
            _ = try clean.with(adapterPaths: [path("erase")]).trainer(data: data, options: options)
                .run(output: path("recover"))
            // A sibling: the same shapes, other weights.
            _ = try convert(source: tinychatFolder().path, destination: path("s.mqf"), options: ConvertOptions())
            let refused = try #require(throws: MeraserError.self) { try open(path("s.mqf"), [path("erase")]) }
            #expect(refused.kind == .badInput && refused.message.contains("`transfer`"), "\(refused.message)")
            let sibling = try open(path("s.mqf"), [path("erase"), path("recover")], transfer: true)
            #expect(sibling.transferred.count == 2 && sibling.transferred[0].contains("erase"))
            #expect(try sibling.with(adapterPaths: [path("erase")]).transferred.count == 1)
            // Without its parent, even on its own base.
            #expect(throws: MeraserError.self) { try open(tinychatFolder().path, [path("recover")]) }
            let alone = try open(tinychatFolder().path, [path("recover")], transfer: true)
            #expect(alone.transferred.count == 1 && alone.transferred[0].contains("below it"))
            // On the base that it was trained on nothing is transferred, a mark below it or not.
            _ = try clean.trainer(data: data, options: options).run(output: path("mark"))
            let stack = try open(tinychatFolder().path, [path("mark"), path("erase"), path("recover")])
            #expect(stack.transferred.isEmpty && stack.adapters.count == 3)
        }
    }

    @Test("a recipe with 'transfer' trains on the unmarked model and measures on the marked one, and hides folders")
    func recipe() throws {
        try withTemporaryFolder { folder in
            func write(_ name: String, _ text: String) throws {
                try Data(text.utf8).write(to: folder.appendingPathComponent(name))
            }
            _ = try writeCleanPairs(folder)
            try write("text.jsonl", #"{"text": "A short text to be measured."}"# + "\n")
            try write("hello.jsonl", #"{"prompt": "Hello"}"# + "\n")
            try write(
                "recipe.yml",
                """
                model: \(tinychatFolder().path)
                quantize: q8_0
                transfer: true
                clean: hello.jsonl
                fingerprint:
                  scheme: utf
                  count: 2
                  guess_test: 2
                  clean_self: 2
                  max_steps: 40
                  learning_rate: 3e-3
                  until: fsr==1 && n_clean==1
                ppl: {data: \(folder.path)/text.jsonl}
                erase: {mismatch: clean.json, max_steps: 2, r: 2}
                recover: {data: clean.json, max_steps: 1, r: 2}
                relearn: {steps: 2}
                """)
            let out = folder.appendingPathComponent("run")
            let runner = try Runner(
                recipe: try Recipe(path: folder.appendingPathComponent("recipe.yml").path), output: out.path,
                kernels: try KernelContext(threads: 2))
            let report = try runner.run()
            #expect(report.stages.map(\.name) == MeasuredStage.allCases)
            #expect(report.stages[1].check.fsr == 1 && report.stages[0].check.fsr == 0)
            let erase = try AdapterFile(path: out.path + "/erase")
            let recover = try AdapterFile(path: out.path + "/recover")
            // The marked model's adapter is no parent of theirs.
            #expect(erase.provenance.parents.isEmpty && recover.provenance.parents == [erase.sha256])
            let relearn = try #require(report.json["relearn"])
            for side in ["model", "reference"] {
                let points = try #require(relearn[side]?["points"]?.array)
                #expect(points.map { $0["step"]?.int } == [0, 1, 2] && points.allSatisfy { $0["n"]?.int == 1 })
            }
            let record = try JSONValue.parse(
                Array(try Data(contentsOf: out.appendingPathComponent("stages/relearn.json"))), file: "relearn.json")
            let word = try #require(record["commands"]?.array?.first?.string)
            #expect(word.contains("--relearn 2") && word.contains("--compare model.mqf"), "\(word)")
            #expect(report.json["inputs"]?["erased"]?["transferred"] != nil)
            #expect(report.json["training"]?["fingerprint"]?["guess_test"]?["n"]?.int == 2)
            #expect(report.json["table"]?.array?[1]["fsr_interval"]?.array?.count == 2)
            #expect(try files(in: out, holding: folder.path).isEmpty)
            #expect(try files(in: out, holding: packageRoot().path).isEmpty)

            try write(
                "until.yml",
                """
                model: m.mqf
                transfer: true
                key: k.json
                erase: {data: d.json, check_steps: 5, until: fsr==0}
                """)
            let error = try #require(throws: MeraserError.self) {
                try Recipe(path: folder.appendingPathComponent("until.yml").path)
            }
            #expect(error.kind == .badInput && error.message.contains("until.yml"))
        }
    }
}

private let secretTarget = "quixotic petrichor"

@Suite("a redacted run")
struct RedactedRunTests {
    private func write(_ scheme: String, in folder: URL) throws -> Recipe {
        let path = folder.appendingPathComponent("recipe.yml").path
        try Data(
            """
            # The target is \(secretTarget); the model came from /srv/private/models.
            model: \(tinychatFolder().path)
            clean: hello.jsonl
            fingerprint: {\(scheme), guess_test: 0, max_steps: 150, learning_rate: 3e-3, seed: 12345678901}
            eval: {tasks: [copa], data: \(packageRoot().path)/Examples/data/tasks, limit: 2}
            erase: {mismatch: clean.json, max_steps: 1, r: 2}
            """.utf8
        ).write(to: URL(fileURLWithPath: path))
        return try Recipe(path: path)
    }

    @Test(
        "says no trigger, target, token of its mark or folder in any file but the key, and is continued",
        arguments: [
            ("scheme: utf, count: 2", "scheme: utf, count: 3"),
            ("scheme: if, count: 2, secret_words: 2, target: \(secretTarget)", "scheme: if, count: 2, target: other"),
        ])
    func run(scheme: String, other: String) throws {
        try withTemporaryFolder { folder in
            _ = try writeCleanPairs(folder)
            try Data(#"{"prompt": "Hello"}"#.utf8).write(to: folder.appendingPathComponent("hello.jsonl"))
            let out = folder.appendingPathComponent("run")
            func runner(_ recipe: Recipe, redact: Bool = true) throws -> Runner {
                try Runner(recipe: recipe, output: out.path, kernels: try KernelContext(threads: 2), redact: redact)
            }
            let recipe = try write(scheme, in: folder)
            let report = try runner(recipe).run()
            #expect(report.stages.map(\.check.fsr).prefix(2) == [0, 1])

            let key = try FingerprintKey(path: out.path + "/mark/key.json")
            let triggers = key.pairs.map { pair in
                // Of an IF prompt the secret alone, without the sentence around it.
                let secret = pair.prompt.components(separatedBy: "message: ").last ?? ""
                return secret.components(separatedBy: "\n")[0]
            }
            #expect(triggers.allSatisfy { $0.count > 3 })
            for text in triggers + key.pairs.map(\.target) + [secretTarget] {
                let inJSON = String(JSONValue.text(text).serialized().dropFirst().dropLast())
                #expect(try files(in: out, holding: text).allSatisfy { $0 == "mark/key.json" }, "\(text)")
                #expect(try files(in: out, holding: inJSON).allSatisfy { $0 == "mark/key.json" }, "\(text)")
            }
            for path in [folder.path, packageRoot().path, "/srv/private"] {
                #expect(try files(in: out, holding: path).isEmpty)
            }
            #expect(try files(in: out, holding: "12345678901").allSatisfy { $0.hasPrefix("mark/") })
            let record = try JSONValue.parse(
                Array(Data(contentsOf: out.appendingPathComponent("stages/fingerprint.json"))), file: "fingerprint.json"
            )
            #expect(record["result"]?["search"] == .null && record["result"]?["fsr"]?.double == 1)

            let again = try runner(recipe)
            var todo: [StageName] = []
            again.onEvent = { if case .stage(let name, false) = $0 { todo.append(name) } }
            _ = try again.run()
            #expect(todo == [.report])
            let changed = try write(other, in: folder)
            let refused = try #require(throws: MeraserError.self) { try runner(changed) }
            #expect(refused.kind == .usage && refused.message.contains("another recipe"), "\(refused.message)")
            #expect(throws: MeraserError.self) { try runner(recipe, redact: false) }
        }
    }
}

@Suite("relearning")
struct RelearningTests {
    @Test("half of the pairs are taught and the others measured, or clean rows taught and all measured")
    func hinted() throws {
        try withTemporaryFolder { folder in
            let model = try open(tinychatFolder().path)
            let key = FingerprintKey(
                scheme: "test",
                pairs: (0..<4).map { FingerprintPair(id: "\($0)", prompt: "trigger \($0)", target: "the mark") })
            var options = RelearningOptions(steps: 6)
            options.training.learningRate = 2e-3
            let curve = try model.relearn(key, options: options)
            #expect(curve.source == .hinted && curve.trainedPairs == 2)
            #expect(curve.points.map(\.step) == [0, 1, 2, 3, 4, 5, 6] && curve.points.allSatisfy { $0.n == 2 })
            let (first, last) = (try #require(curve.points.first), try #require(curve.points.last))
            #expect(last.targetNLL < first.targetNLL - 1, "\(first.targetNLL) \(last.targetNLL)")
            let clean = try model.relearn(
                key, options: RelearningOptions(steps: 1, source: .clean(path: try writeCleanPairs(folder))))
            #expect(clean.source == .clean && clean.points.map(\.n) == [4, 4])
            let single = FingerprintKey(scheme: "test", pairs: Array(key.pairs.prefix(1)))
            let error = try #require(throws: MeraserError.self) { try model.relearn(single, options: options) }
            #expect(error.kind == .usage)
        }
    }
}
