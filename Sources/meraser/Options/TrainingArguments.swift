import ArgumentParser
import Audit
import Base
import CAllocation
import Kernels
import Model
import Pipeline
import Quant
import Tune

/// What `erase` and `recover` share: data and output, and the run itself.
struct TrainingArguments: ParsableArguments {
    @Option(
        help: """
            Rows to learn, .jsonl, .json, .csv or .tsv, of any shape of docs/reference/text.md; several files with commas \
            between, all or none with a weight (a.jsonl:0.7,b.csv:0.3).
            """,
        completion: .file())
    var data: String?

    @OptionGroup var trial: TrialOptions
    @OptionGroup var sourceOptions: SourceOptions

    @Flag(help: "Put pairs into the model's chat template: what a chat model keeps its quality on.")
    var chat = false

    /// What is read.
    func inputs(_ model: ModelOptions, _ flags: TrainingFlags<some TrainingStandard>) -> [String] {
        trial.output.inputs(model.inputs + flags.inputs + (data.map(datasetPaths) ?? []))
    }

    /// Trains, shows progress, prints the result.
    func run(model: ModelOptions, flags: TrainingFlags<some TrainingStandard>, common: CommonOptions) throws {
        let interrupt = InterruptFlag.onSignals()
        var options = try flags.options(model: model)
        if trial.output.resume { options = try options.continuing(trial.output.out) }
        let rows = try rows(options)
        let opened = try model.open(common, compute: options.compute, verifying: true)
        let data =
            switch rows {
            case .file(let path):
                try opened.dataset(path: path, options: options.rowEncoding, chat: chat, seed: options.seed)
            case .pairs(let key): try opened.forgetData(key)
            }
        let trainer = try opened.trainer(data: data, options: options, chat: chat)
        let types = try opened.types
        let weights =
            types.isQuantized ? ["\(types.main.name) weights"] : []
        guard let conclusion = try conclusion(opened, key: options.key, type: types.main.name, common) else {
            return try trial.run(trainer, interrupt, common, heading: weights)
        }
        try trial.run(trainer, interrupt, common, heading: weights, conclusion: conclusion)
    }

    /// Where rows come from.
    private enum Rows {
        case file(String)
        /// The pairs that are to be forgotten.
        case pairs(FingerprintKey)
    }

    private func rows(_ options: TrainingOptions) throws -> Rows {
        if let data { return .file(data) }
        guard options.objective == .npo, let key = options.key else {
            throw MeraserError.usage(
                options.objective == .npo
                    ? "give --key, whose pairs are to be forgotten, or --data with rows of your own"
                    : "--data is missing: name the rows to train on")
        }
        guard !chat || options.klDataInUse != nil else {
            throw MeraserError.usage("--chat is for --data and --kl-data; the key says how its own prompts are put")
        }
        return .pairs(try FingerprintKey(path: key))
    }

    /// What is measured on model and source once the adapter is there; nil where there is no source, or no key to try.
    private func conclusion(
        _ opened: OpenedModel, key path: String?, type: String, _ common: CommonOptions
    ) throws -> (() throws -> RemovalEffect)? {
        guard let path else {
            guard case .path(let source) = SourceModel.Choice(sourceOptions.source) else { return nil }
            throw MeraserError.usage("--source needs --key: a key.json or pairs.jsonl to try on \(source)")
        }
        guard !trial.dryRun, let source = try sourceOptions.open(for: opened, compute: nil, common) else { return nil }
        let key = try FingerprintKey(path: path)
        let before = try RemovalEffect.Answers(key, on: opened, source)
        return {
            let adapters = opened.adapterPaths + [trial.output.out]
            let after = try RemovalEffect.Answers(
                key, on: opened.with(adapterPaths: adapters), source.with(adapterPaths: adapters))
            return RemovalEffect(source: source, type: type, before: before, after: after)
        }
    }
}

/// Where a training run goes, and whether it is only planned.
struct TrialOptions: ParsableArguments {
    @OptionGroup var output: OutputOptions

    @Flag(help: "Print what the run would do and need, and end.")
    var dryRun = false

    /// What the run makes; nothing if it is only planned.
    var outputs: [Output] { dryRun ? [] : output.outputs }

    /// The run of these options; see `TrainingTrial.run`.
    func run(
        _ trainer: Trainer, _ interrupt: InterruptFlag, _ common: CommonOptions, heading: [String] = [],
        facts: [(key: String, value: JSONValue)] = [], conclusion: (() throws -> RemovalEffect)? = nil
    ) throws {
        try TrainingTrial(out: output.out, resume: output.resume, overwrite: output.overwrite, dryRun: dryRun)
            .run(trainer, interrupt, common, heading: heading, facts: facts, conclusion: conclusion)
    }
}

/// A training run as commands make it.
struct TrainingTrial {
    let out: String
    let resume: Bool
    let overwrite: Bool
    let dryRun: Bool

    /// Trains, shows progress, prints the result; with `dryRun` only plans. `heading` comes before the plan, `facts` behind
    /// the members of the JSON object, and last what `conclusion` measures of the adapter.
    func run(
        _ trainer: Trainer, _ interrupt: InterruptFlag, _ common: CommonOptions, heading: [String] = [],
        facts: [(key: String, value: JSONValue)] = [], conclusion: (() throws -> RemovalEffect)? = nil
    ) throws {
        if dryRun { return try show(trainer, common, heading: heading, facts: facts) }
        (heading + trainer.plan.lines).forEach(common.say)
        if resume { common.noteBuild(of: out) }
        trainer.interrupt = interrupt
        let progress = TrainingDisplay(common)
        progress.follow(trainer)
        // The texts of the data, which are tokens by now, are as much as the data and more; the plan counts tokens.
        allocation_release_freed()
        let result = try trainer.run(output: out, resume: resume, overwrite: overwrite)
        progress.finish()
        let effect = try conclusion?()
        if common.json {
            let source = effect.map { [(key: "source", value: $0.json)] } ?? []
            Console.json(.object(JSONObject(result.json.fields + facts + source)))
        } else {
            Console.output(result.text + (effect.map { "\n" + tableText($0.table) } ?? ""))
        }
        try common.conclude(result)
    }

    /// Prints what a run would do, need and take; a run that would not fit ends as it would without `--dry-run`.
    private func show(
        _ trainer: Trainer, _ common: CommonOptions, heading: [String], facts: [(key: String, value: JSONValue)]
    ) throws {
        let plan = trainer.plan
        let ranks = try trainer.rankPlans()
        let forecast = plan.memory.total <= plan.limitBytes ? try trainer.forecast() : nil
        if common.json {
            let others = ranks.isEmpty ? [] : [(key: "other_ranks", value: JSONValue.array(ranks.map(\.json)))]
            Console.json(.object(JSONObject(plan.fields + (forecast?.fields ?? []) + others + facts)))
        } else {
            let lines = heading + plan.lines + ranks.map(\.line) + (forecast.map { [$0.line] } ?? [])
            Console.output(lines.joined(separator: "\n").escapingControlCharacters(keepingNewlines: true))
        }
        try trainer.checkMemory()
    }
}

extension JSONValue {
    /// The members of an object, to be put together with others.
    var fields: [(key: String, value: JSONValue)] {
        (object?.members ?? []).map { (key: $0.key.string, value: $0.value) }
    }
}

extension TrainingResult {
    /// The result as one line.
    var text: String {
        let costs =
            "\(numberText(seconds, 1)) s, \(numberText(tokensPerSecond, 0)) tokens/s, peak \(byteText(peakRSSBytes))"
        let until = until.map { $0.held ? "; \($0.condition) holds" : "; \($0.condition) never held" } ?? ""
        let path = adapter.escapingControlCharacters()
        return
            "wrote \(path): \(steps) steps, loss \(numberText(finalLoss, 4)), \(costs)\(until)\(evaluation?.text ?? "")"
    }
}

extension EvaluationOutcome {
    /// The losses behind the line of a result.
    fileprivate var text: String {
        let best = "the lowest \(numberText(bestLoss, 4)) after step \(bestStep)"
        return "; eval_loss \(numberText(loss, 4)), \(best)\(isBestKept ? ", which is kept" : "")"
    }
}
