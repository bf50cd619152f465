import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import Tune

/// Runs a recipe: convert, embed a mark if asked to, check, erase, check, recover, check, export, check, report.
///
/// Every stage leaves a record with the hashes of what went in; a run that was interrupted or killed continues with the
/// stage that it was in, a training from its last checkpoint. Not thread-safe.
public final class Runner {
    /// What happens, for a display.
    public enum Event {
        /// A stage begins (`isDone`: it was finished by an earlier run).
        case stage(StageName, isDone: Bool)
        /// What the user should know about a model, as one line.
        case warning(String)
        /// What a stage found, as one line.
        case note(String)
        /// A trainer is about to run.
        case training(Trainer)
        /// A cell of the durability check begins, number `number` of `count`, from 1 on.
        case cell(DurabilityCell, number: Int, of: Int)
    }

    /// Called as things happen.
    public var onEvent: (Event) -> Void = { _ in }
    /// Looked at between steps.
    public var interrupt: InterruptFlag?

    let recipe: Recipe
    let folder: RunFolder
    let kernels: KernelContext
    let redact: Bool
    let commands: RunCommands
    /// What was to end trainings of this run and never held.
    private var unmet: [UntilOutcome] = []

    /// Prepares a run.
    ///
    /// - Parameters:
    ///   - recipe: what to do.
    ///   - output: the folder of the run; one that is there is continued.
    ///   - kernels: instruction set and threads.
    ///   - redact: keep the recipe, triggers, targets, outputs and what a mark was made of out of records and report.
    ///   - overwrite: begin anew if there is a run.
    /// - Throws: a usage error if the folder holds something else, or a run of another recipe.
    public convenience init(
        recipe: Recipe, output: String, kernels: KernelContext, redact: Bool = false, overwrite: Bool = false
    ) throws {
        try self.init(
            recipe: recipe, output: output, kernels: kernels, redact: redact, overwrite: overwrite, search: nil)
    }

    /// A runner whose stages a search uses; `search` identifies its plan.
    init(
        recipe: Recipe, output: String, kernels: KernelContext, redact: Bool = false, overwrite: Bool = false,
        search: String?
    ) throws {
        self.recipe = recipe
        self.kernels = kernels
        self.redact = redact
        // A recipe may name a trigger, a target or a mark's seed; its hash still tells it from another one.
        let members: [(key: String, value: JSONValue)] = [
            ("recipe", .text(redact ? RunRecords.leftOut : recipe.text)),
            ("recipe_sha256", redact ? .text(sha256Hex(recipe.text.utf8)) : .null), ("title", .text(recipe.title)),
            ("model", .text(fileName(ofPath: recipe.model))), ("redacted", .bool(redact)),
            ("isa", .text(kernels.isaName)), ("seed", .integer(Int(clamping: recipe.seed))),
            ("search", search.map { .text($0) } ?? .null),
        ]
        let identity = JSONValue.object(JSONObject(Build.current.fields + members))
        folder = try RunFolder(path: output, identity: identity, overwrite: overwrite)
        commands = RunCommands(recipe, in: folder)
    }

    /// Runs, or continues, to the end; leaves `report.json` and `report.html`.
    ///
    /// - Throws: what the stages throw; `interrupted` after the state was saved.
    public func run() throws -> RunReport {
        let (_, base) = try openBase()
        let (marked, measurement) = try mark(base)
        let source = try source(of: base)
        if let source {
            if case .made = recipe.mark { try measure(.sourceReference, source.model, measurement) }
            try measure(
                .source, source.with(adapterPaths: marked.adapterPaths).model, measurement, quantized: marked)
        }
        if case .made = recipe.mark { try measure(.reference, base, measurement) }
        try measure(.before, marked, measurement)
        let steering = recipe.donor == nil ? try steering(marked, key: measurement.key) : nil
        // What is trained on: the marked model, or the donor, whose adapters are then put on the marked model.
        var trained = try recipe.donor.map { try donor($0, base) } ?? marked
        var model = marked
        let removal: [(TrainedStage, Recipe.Training?, MeasuredStage)] = [
            (.erase, recipe.erase, .erased), (.recover, recipe.recover, .recovered),
        ]
        for (stage, training, measured) in removal {
            guard let training else { continue }
            trained = try train(stage, training, on: trained, steering)
            model = try model.with(adapterPaths: model.adapterPaths + trained.adapterPaths.suffix(1))
            try measure(measured, model, measurement)
        }
        if let auto = recipe.auto, let steering {
            model = try eraseAutomatically(auto, marked, steering)
            try measure(.erased, model, measurement)
        }
        let exported = try exported(model, base: base, source: source)
        if let exported { try measure(.exported, exported, measurement) }
        try judge(exported ?? model, measurement.key)
        if let stage = recipe.relearn { try relearn(stage, model, base, measurement.key) }
        begin(.report, isDone: false)
        let report = try RunReport.write(folder)
        try unmet.forEach { try $0.require() }
        return report
    }

    /// The recipe's model, quantized if it says so, and its path.
    func openBase() throws -> (path: String, model: OpenedModel) {
        let path = try convertedModel()
        let model = try OpenedModel(
            path: path, kernels: kernels, compute: recipe.compute, verifying: true, transfer: recipe.donor != nil)
        model.warnings.forEach { onEvent(.warning($0)) }
        return (path, model)
    }

    /// The model that a transfer's adapters are trained on.
    private func donor(_ donor: Recipe.Donor, _ base: OpenedModel) throws -> OpenedModel {
        switch donor {
        case .unmarked: return base
        case .other(let path):
            let model = try OpenedModel(path: path, kernels: kernels, compute: recipe.compute, verifying: true)
            model.warnings.forEach { onEvent(.warning($0)) }
            return model
        }
    }

    // MARK: Stages

    private func begin(_ stage: StageName, isDone: Bool) { onEvent(.stage(stage, isDone: isDone)) }

    /// Does a stage, or gives the result that is there.
    func stage(
        _ name: StageName, inputs: JSONValue, commands: [[String]] = [], work: () throws -> JSONValue
    ) throws -> JSONValue {
        if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; run again to continue") }
        begin(name, isDone: try folder.record(of: name) != nil)
        return try folder.stage(name, inputs: inputs, commands: redact ? [] : commands, work: work)
    }

    /// The model to work on: the recipe's, quantized if it says so.
    private func convertedModel() throws -> String {
        guard let type = recipe.quantize else { return recipe.model }
        let path = folder.file("model.mqf")
        let source = try openWeightStore(path: recipe.model)
        source.warnings.forEach { onEvent(.warning($0)) }
        let inputs: JSONValue = [
            "model": .text(fileName(ofPath: recipe.model)), "sha256": .text(try source.sha256()),
            "type": .text(type.name),
        ]
        _ = try stage(.convert, inputs: inputs, commands: commands.convert(to: path)) {
            var options = ConvertOptions()
            options.type = type
            options.threads = kernels.threads
            options.overwrite = true
            let interrupt = interrupt
            let report = try convert(
                source: recipe.model, destination: path, options: options,
                isInterrupted: { interrupt?.isSet == true })
            return [
                "bytes": .integer(report.byteCount), "parameters": .integer(report.parameterCount),
                "sha256": .text(try sha256Hex(ofFile: path)),
            ]
        }
        return path
    }

    /// The model with its mark, embedded first if the recipe says so, and how to measure it.
    func mark(_ base: OpenedModel) throws -> (OpenedModel, Measurement) {
        let clean = try recipe.clean.map(loadPrompts)
        var adapters = recipe.adapters
        let keyPath: String
        switch recipe.mark {
        case .given(let path): keyPath = path
        case .made(var options):
            options.cleanPrompts = clean ?? []
            let output = folder.file(TrainedStage.fingerprint.folder)
            let model = try base.with(adapterPaths: adapters)
            // The seed of a mark gives its key again.
            let training = options.training.json()
            let inputs: JSONValue = [
                "model": .text(try base.transformer.store.sha256()),
                "options": redact ? training.replacing("seed", with: .null) : training,
                "clean_data": try options.cleanData.map { .text(try sha256Hex(ofFile: $0)) } ?? .null,
                "kl_data": try options.training.klDataInUse.map { .text(try DatasetList($0).sha256()) } ?? .null,
            ]
            let words = commands.fingerprint(model, output: output)
            _ = try stage(.training(.fingerprint), inputs: inputs, commands: words) {
                let embedding = try model.embed(options: options, output: output, resume: true, prepare: follow)
                guard embedding.fsr == 1 else {
                    throw MeraserError.runtime(
                        "the mark fires on \(Int(embedding.fsr * 100)) % of its triggers after \(embedding.training.steps) "
                            + "steps; raise max_steps or learning_rate of 'fingerprint'")
                }
                return (redact ? embedding.redacted : embedding).json.replacing(
                    "training", with: embedding.training.json.withoutFolder("adapter"))
            }
            adapters.append(output)
            keyPath = output + "/key.json"
        }
        let measurement = Measurement(
            key: try FingerprintKey(path: keyPath), cleanPrompts: clean, perplexity: recipe.perplexity,
            evaluation: recipe.evaluation, redact: redact)
        return (try base.with(adapterPaths: adapters), measurement)
    }

    /// Measures a model as a stage of that name; of a source, also how far the model that was made from it is from it.
    @discardableResult
    func measure(
        _ name: MeasuredStage, _ model: OpenedModel, _ measurement: Measurement, quantized: OpenedModel? = nil
    ) throws -> JSONValue {
        let inputs: [(key: String, value: JSONValue)] = [
            ("model", .text(try model.transformer.store.sha256())),
            ("adapters", .array(model.adapters.map { .text($0.sha256 ?? "") })),
            ("key", .text(sha256Hex(measurement.key.json.serialized().utf8))),
            ("clean", try recipe.clean.map { .text(try sha256Hex(ofFile: $0)) } ?? .null),
            ("transferred", .integer(name.isSource ? 0 : model.transferred.count)),
        ]
        // What is not worked on need not stay in memory.
        defer { if name.isSource { model.transformer.store.releasePages() } }
        let all = JSONValue.object(JSONObject(inputs + (try measurement.inputs())))
        return try stage(.measurement(name), inputs: all, commands: commands.measure(model)) {
            try measurement.measure(model, quantized: quantized)
        }
    }

    /// Trains an adapter on top of the model's and gives the model with it.
    private func train(
        _ name: TrainedStage, _ training: Recipe.Training, on model: OpenedModel, _ steering: Steering?
    ) throws -> OpenedModel {
        let output = folder.file(name.folder)
        let data = try rows(of: training)
        // Simulating a trigger asks for no more than a response.
        let needsKey = training.options.checkSteps != nil || training.rows.isSteered && training.rows.preset != .sande
        let key = try needsKey ? steering?.key().key : steering?.keys.first?.key
        var options = training.options
        options.compute = options.compute ?? recipe.compute
        // A name without a folder: the run may be continued from elsewhere. The key itself is compared by its hash.
        if options.checkSteps != nil { options.key = "key.json" }
        // Without a mark to measure there is nothing to compare.
        let keyHash = training.isSteered || options.key != nil ? key.map { sha256Hex($0.json.serialized().utf8) } : nil
        try options.validate()
        func hash(_ data: String?) throws -> JSONValue { try data.map { .text(try DatasetList($0).sha256()) } ?? .null }
        let initial = try options.initAdapter.map {
            try LoRAAdapter(path: $0, for: model.transformer.spec).sha256 ?? ""
        }
        let inputs: JSONValue = [
            "model": .text(try model.transformer.store.sha256()),
            "adapters": .array(model.adapters.map { .text($0.sha256 ?? "") }),
            "data": try hash(data), "chat": .bool(training.chat),
            "options": options.json(), "kl_data": try hash(options.klDataInUse),
            "eval_data": try hash(options.evalData), "init_adapter": initial.map { .text($0) } ?? .null,
            "key": keyHash.map { .text($0) } ?? .null, "transferred": .bool(recipe.donor != nil),
        ]
        let words = try commands.training(
            name, training, options, data: data, steering, on: model, output: output)
        let result = try stage(.training(name), inputs: inputs, commands: words) {
            let samples = try samples(
                of: training, data: data, options: options, on: model, steering: steering, output: output)
            let chat = training.chat || (training.rows.preset != nil && model.chatTemplate != nil)
            let trainer = try model.trainer(data: samples, options: options, key: key, chat: chat)
            follow(trainer)
            return try trainer.run(output: output, resume: true).json.withoutFolder("adapter")
        }
        if let until = result["until"], !until.isNull { try note(UntilOutcome(json: until, file: output), of: name) }
        return try model.with(adapterPaths: model.adapterPaths + [output])
    }

    /// Says that a training did not reach what it was to reach; the run goes on, so that the report shows what was.
    private func note(_ until: UntilOutcome, of name: TrainedStage) {
        guard let notice = until.notice else { return }
        onEvent(.warning("\(name.rawValue): \(notice)"))
        unmet.append(until)
    }

    /// Shows a trainer, and lets it be interrupted.
    func follow(_ trainer: Trainer) {
        trainer.interrupt = interrupt
        onEvent(.training(trainer))
    }
}
