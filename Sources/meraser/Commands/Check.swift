import ArgumentParser
import Audit
import Base
import Client
import Model
import Pipeline
import Tune

struct Check: WritingCommand, RemoteCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Find out whether a model answers to a key: FSR, prefix match, target NLL and rank, false activations.",
        discussion: """
            A mark can be silent and still there: read prefix match, target NLL and rank beside FSR, against a clean base \
            with --compare, and try to bring it back with --relearn, or in every cell of --durable. Quantizing hides a part of a mark: whether it was there \
            is for the source to say (--source), whether it is gone for what leaves the house (docs/reference/evaluation.md).
            Example: meraser check --model tinychat.mqf --adapter mark --key mark/key.json --fail-if 'fsr>0'
            A model behind an API: meraser check --url http://127.0.0.1:8080 --key key.json; or --emit-prompts prompts.jsonl, \
            have them answered, then meraser check --key key.json --answers outputs.jsonl
            """)

    @Option(
        name: .shortAndLong, help: "The model: an .mqf or .gguf file or a Hugging Face folder.",
        completion: .file())
    var model: String?

    @OptionGroup(title: "Model") var on: AdapterOptions
    @OptionGroup(title: "Server") var remote: RemoteOptions
    @OptionGroup(title: "Key") var keyOptions: KeyOptions

    @OptionGroup(title: "Source") var sourceOptions: SourceOptions

    @Option(help: "A text on which --source is compared too: perplexity and KL divergence.", completion: .file())
    var data: String?

    @Option(help: "A model to check as well, side by side: the clean base.", completion: .file())
    var compare: String?

    @Option(parsing: .singleValue, help: "A PEFT adapter folder on --compare; may be repeated.", completion: .directory)
    var compareAdapter: [String] = []

    @Option(help: "Sample that many outputs of each prompt beside the greedy one.")
    var sample: Int?

    @Option(help: "The temperature of --sample.")
    var temperature = 0.7

    @Option(
        help: """
            Judge by that many decoys (999 or more) whether the mark is gone, without a reference: verdict, traces, \
            exposure (docs/reference/certificate.md).
            """)
    var decoys: Int?

    @Option(help: "A model without the mark that --decoys' verdict must hold against as well.", completion: .file())
    var reference: String?

    @Option(
        help: """
            Ask by that many decoys (999 or more) whether the owner can prove the mark, whatever decoding hides: presence \
            (docs/reference/certificate.md).
            """)
    var presence: Int?

    @Option(help: "What --presence looks at (default: likelihoods of --model, outputs of --url and --answers).")
    var presenceBy: Presence.Source?

    @Option(
        help: "For --presence of --url and --answers: the owner's model, whose tokenizer decoys are drawn with.",
        completion: .file())
    var tokenizer: String?

    @OptionGroup(title: "Durability") var durability: DurabilityFlags

    @Option(help: "Train a throw-away adapter for that many steps and see whether the mark comes back.")
    var relearn: Int?

    @Option(
        help: """
            Clean rows: what --relearn trains on in place of every other pair of the key, and --durable in the cells \
            relearn_clean.
            """, completion: .file())
    var relearnData: String?

    @Option(
        help: "Check these answers instead of a model: rows {\"id\" or \"prompt\", \"output\"}.", completion: .file())
    var answers: String?

    @Option(help: "Write the key's prompts to this .jsonl file for --answers, and end.", completion: .file())
    var emitPrompts: String?

    @Option(
        help: """
            End with status 4 if this holds: a condition on \(CheckReport.metricNames.joined(separator: ", ")); with \
            --decoys also near_fsr, exposure and 'verdict!="gone"', with --presence presence_p.
            """)
    var failIf: String?

    @Flag(help: "Put hashes in place of triggers, targets and outputs.")
    var redact = false

    @Flag(help: "Replace the file of --emit-prompts if it exists.")
    var overwrite = false

    @OptionGroup(title: "CleanGen") var cleanGen: CleanGenFlags
    @OptionGroup(title: "Host's decoding") var host: HostDecodingFlags
    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    static let remoteFlags: Set<String> = [
        "--key", "--limit", "--clean", "--match", "--encoding", "--chat", "--max-new-tokens", "--sample",
        "--temperature", "--seed", "--fail-if", "--redact", "--presence", "--presence-by", "--tokenizer",
    ]

    func validate() throws {
        let sources = [model, remote.url, answers, emitPrompts].compactMap { $0 }
        guard sources.count == 1 else {
            throw ValidationError("give one of --model, --url, --answers and --emit-prompts")
        }
        // What a server cannot do is refused by `requireRemoteFlags`.
        let model = model ?? remote.url
        if model == nil, compare != nil || relearn != nil || sample != nil || !on.adapter.isEmpty {
            throw ValidationError("--adapter, --compare, --sample and --relearn need --model")
        }
        if model == nil, decoys != nil { throw ValidationError("--decoys needs --model") }
        try requireCount("--decoys", decoys, DecoyOptions.leastCount...99_999)
        try requireCount("--presence", presence, DecoyOptions.leastCount...99_999)
        try requirePresence()
        if let flag = host.given.first {
            if model == nil || sample != nil { throw ValidationError("\(flag) needs --model, and excludes --sample") }
            if cleanGen.reference != nil { throw ValidationError("\(flag) and --cleangen exclude each other") }
            if decoys != nil {
                throw ValidationError(
                    "--decoys looks at the weights, \(flag) leaves them as they are: give one of them, or --presence")
            }
        }
        if reference != nil, decoys == nil { throw ValidationError("--reference needs --decoys") }
        if durability.durable != nil, decoys == nil { throw ValidationError("--durable needs --decoys") }
        if decoys != nil, cleanGen.reference != nil {
            throw ValidationError("--decoys looks at the weights, --cleangen leaves them as they are: give one of them")
        }
        if model == nil, sourceOptions.source != nil { throw ValidationError("--source needs --model") }
        if cleanGen.reference != nil, model == nil || sample != nil {
            throw ValidationError("--cleangen needs --model, and excludes --sample")
        }
        if let sample, !(1...10_000).contains(sample) { throw ValidationError("--sample must be 1 to 10000") }
        if !(temperature > 0 && temperature.isFinite) { throw ValidationError("--temperature must be more than 0") }
        if let relearn, !(1...100_000).contains(relearn) { throw ValidationError("--relearn must be 1 to 100000") }
        if relearnData != nil, relearn == nil, durability.durable == nil {
            throw ValidationError("--relearn-data needs --relearn or --durable")
        }
        if !compareAdapter.isEmpty, compare == nil { throw ValidationError("--compare-adapter needs --compare") }
    }

    private var presenceSource: Presence.Source { presenceBy ?? (model == nil ? .outputs : .likelihoods) }

    private func requirePresence() throws {
        guard presence != nil else {
            if presenceBy != nil || tokenizer != nil {
                throw ValidationError("--presence-by and --tokenizer need --presence")
            }
            return
        }
        if emitPrompts != nil { throw ValidationError("--presence excludes --emit-prompts") }
        if model != nil, tokenizer != nil { throw ValidationError("--model has a tokenizer: leave --tokenizer out") }
        if model == nil {
            if presenceSource == .likelihoods { throw ValidationError("--presence-by likelihoods needs --model") }
            if tokenizer == nil { throw ValidationError("--presence of answers needs --tokenizer, the owner's model") }
        }
    }

    var outputs: [Output] { remote.outputs + (emitPrompts.map { [Output($0)] } ?? []) }

    func inputs() throws -> [String] { [keyOptions.key] + [keyOptions.clean].compactMap { $0 } }

    func run() throws {
        let names = CheckReport.metricNames + KeyVerification.certificateNames
        let condition = try failIf.map { try Condition($0, known: names, words: KeyVerification.conditionWords) }
        let key = try keyOptions.load()
        if let emitPrompts { return try emit(key, to: emitPrompts) }
        var result =
            try answers.map { try verifyAnswers($0, key) } ?? remote.url.map { try verifyServer($0, key) }
            ?? verifyModel(key)
        if let presence, presenceSource == .outputs, let path = tokenizer ?? model {
            let options = DecoyOptions(count: presence, seed: draw.value)
            result.presence = try outputPresence(result.report, key: key, tokenizerPath: path, options: options)
        }
        if redact { result = result.redacted(for: key) }
        if common.json { Console.json(result.json) } else { Console.output(text(result)) }
        let words = result.verdict.map { ["verdict": $0.rawValue] } ?? [:]
        if let condition, try condition.holds(result.metrics, words: words) {
            throw MeraserError(.checkFailed, "check failed: \(condition) holds")
        }
    }

    private func emit(_ key: FingerprintKey, to path: String) throws {
        let clean = try keyOptions.clean.map(loadPrompts)
        try key.writePrompts(path: path, clean: clean, overwrite: overwrite)
        let count = key.prompts(clean: clean).count
        if common.json {
            Console.json(["path": .text(path), "prompts": .integer(count)])
        } else {
            Console.output("wrote \(path.escapingControlCharacters()): \(count) prompts")
        }
    }

    private func verifyAnswers(_ path: String, _ key: FingerprintKey) throws -> KeyVerification {
        KeyVerification(
            try AnswersFile(path: path).check(
                key, match: keyOptions.match, cleanPrompts: try keyOptions.clean.map(loadPrompts)))
    }

    private func checkOptions() throws -> CheckOptions {
        var options = try keyOptions.checkOptions()
        options.samples = sample ?? 0
        options.sampling.temperature = temperature
        options.sampling.seed = draw.value
        return options
    }

    private func verifyServer(_ url: String, _ key: FingerprintKey) throws -> KeyVerification {
        let check = try RemoteCheck(key, options: try checkOptions())
        let model = try remote.open(url, common)
        let bar = common.progressBar("check")
        defer { bar.finish() }
        let (report, summary) = try check.run(on: model) { bar.update(done: $0, total: $1) }
        var result = KeyVerification(report)
        result.remote = summary
        return result
    }

    private func verifyModel(_ key: FingerprintKey) throws -> KeyVerification {
        let interrupt = InterruptFlag.onSignals()
        var options = try checkOptions()
        let opened = try on.open(model ?? "", common, verifying: relearn != nil || durability.durable != nil)
        let defence = try cleanGen.generator(for: opened)
        let host = try host.generator(for: opened)
        var result = KeyVerification(try opened.check(key, options: options, defence: defence ?? host))
        result.cleanGen = defence?.summary
        result.hostDecoding = host?.statistics
        result.cleanGen?.reference = fileName(ofPath: cleanGen.reference ?? "")
        result.report.model = fileName(ofPath: model ?? "")
        result.report.adapters = on.adapter.map(fileName)
        result.types = try opened.types
        result.compute = opened.transformer.compute
        options.written = result.report.written
        let source = try durability.durable == nil ? nil : sourceOptions.open(for: opened, compute: on.compute, common)
        result.source = try sourceOptions.report(
            on: opened, key: key, options: options, data: data, compute: on.compute, common)
        let base = try compare.map { path in
            try OpenedModel(
                path: path, adapterPaths: compareAdapter, kernels: opened.transformer.kernels,
                compute: opened.transformer.compute, verifying: on.verify || relearn != nil, transfer: on.transfer)
        }
        base?.warnings.forEach(common.warn)
        result.base = try base?.check(key, options: options)
        result.base?.model = compare.map(fileName)
        result.base?.adapters = compareAdapter.map(fileName)
        result.certificate = try decoys.map { try certificate(opened, key, result, count: $0, options) }
        if let presence, presenceSource == .likelihoods {
            // The same decoys, where the certificate has asked them.
            let known = presence == decoys ? result.certificate?.decoys : nil
            result.presence = try opened.presence(
                key, options: DecoyOptions(count: presence, seed: draw.value), check: options, decoys: known,
                filter: host as? PromptFilter)
            result.isPresenceRefused = result.presence == nil
        }
        result.durability = try durability.report(
            key, on: opened, source: source?.model, certificate: result.certificate, common, interrupt
        ) { durable in
            durable.decoys = DecoyOptions(count: decoys ?? 0, seed: draw.value)
            (durable.cleanRows, durable.reference, durable.check) = (relearnData, reference, options)
        }
        guard let relearn else { return result }
        let relearning = RelearningOptions(
            steps: relearn, source: relearnData.map { .clean(path: $0) } ?? .hinted, seed: draw.value)
        let display = TrainingDisplay(common)
        defer { display.finish() }
        func curve(_ model: OpenedModel) throws -> RelearningCurve {
            try model.relearn(key, options: relearning, check: options) { trainer in
                trainer.interrupt = interrupt
                display.follow(trainer)
            }
        }
        result.relearning = try curve(opened)
        result.baseRelearning = try base.map(curve)
        return result
    }

    /// The verdict of decoys, and of a reference where one is named.
    private func certificate(
        _ opened: OpenedModel, _ key: FingerprintKey, _ result: KeyVerification, count: Int, _ options: CheckOptions
    ) throws -> Certificate {
        let test = try opened.decoyTest(
            key, options: DecoyOptions(count: count, seed: draw.value), check: options)
        common.say(test.plan)
        let bar = common.progressBar("decoys")
        defer { bar.finish() }
        let decoys = try test.run(on: opened.session()) { bar.update(done: $0, total: $1) }
        let twin = try reference.map { try opened.reference(path: $0).check(key, options: options) }
        return Certificate(
            result.report, decoys: decoys,
            reference: twin.flatMap { ReferenceComparison(model: result.report, reference: $0) })
    }

    private func text(_ result: KeyVerification) -> String {
        var parts = [tableText(result.table)]
        if let remote = result.remote { parts.append(remote.sentence) }
        if let certificate = result.certificate {
            parts += [tableText(certificate.table), certificate.sentence]
        }
        if let durability = result.durability { parts += [tableText(durability.table), durability.sentence] }
        if let table = result.relearningTable { parts.append(tableText(table)) }
        if common.verbose { parts.append(result.report.rowText) }
        return parts.joined(separator: "\n\n").escapingControlCharacters(keepingNewlines: true)
    }
}

extension Presence.Source: ExpressibleByArgument {}

extension CheckReport {
    /// Every pair as a line.
    fileprivate var rowText: String {
        rows.map { row in
            let nll = row.targetNLL.map { ", NLL \(numberText($0, 3))" } ?? ""
            let rank = row.firstRank.map { ", first rank \($0)" } ?? ""
            let line =
                "\(row.hit ? "HIT " : "miss") \(row.id): \(row.prompt) -> \(row.output) (target \(row.target), prefix match "
                + "\(percentText(row.prefixMatch))\(nll)\(rank))"
            return line.escapingControlCharacters()
        }.joined(separator: "\n")
    }
}
