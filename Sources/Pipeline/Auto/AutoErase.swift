import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import Tune

/// Removes a mark without being told a dose: short trials choose the rate, looks say when a round has done enough, and
/// one test at the end, by what has steered nothing, says whether it is gone.
///
/// Everything is in one folder, with a record of each phase: a run that was killed goes on where it stopped, to the
/// same bits unless a budget ends it elsewhere. Not thread-safe.
public final class AutoErase {
    /// Something to tell the user.
    public enum Event {
        /// A line about what is going to happen.
        case plan(String)
        /// A phase begins, or its record is there.
        case phase(name: String, isDone: Bool)
        /// A trainer is about to run.
        case training(Trainer)
        /// Something that the model says by heart was found.
        case leak(Leak)
        /// A look was taken.
        case look(RemovalLook)
        /// A cell of the test whether the mark stays away.
        case durability(DurabilityCheck.Event)
    }

    /// Called with what happens.
    public var onEvent: (Event) -> Void = { _ in }
    /// Ends the run, which can then be continued.
    public var interrupt: InterruptFlag?

    private let plan: AutoPlan
    private let folder: RunFolder
    private var spent = 0.0
    private var looks: [RemovalLook] = []
    private var phases: [String] = []
    private var raised = 0.0
    private var model: OpenedModel { plan.model }
    private var options: AutoOptions { plan.options }

    /// Makes the folder, or takes up what is there.
    ///
    /// - Parameters:
    ///   - plan: the marked model, and what is to be done.
    ///   - output: the folder, in which the adapter is at the end.
    /// - Throws: a usage error if the folder is taken, or begun with something else.
    public init(_ plan: AutoPlan, output: String, resume: Bool = false, overwrite: Bool = false) throws {
        self.plan = plan
        let (model, options) = (plan.model, plan.options)
        if !resume, !overwrite, FileManager.default.fileExists(atPath: output + "/run.json") {
            throw MeraserError.usage(
                "`out` \(output) holds a run; pass `resume` to continue it or `overwrite` to replace it")
        }
        let key = options.key.map { sha256Hex($0.json.serialized().utf8) }
        let identity: [(key: String, value: JSONValue)] = [
            ("auto", .text(options.setting.rawValue)), ("model", .text(try model.transformer.store.sha256())),
            ("adapters", .array(model.adapters.map { .text($0.sha256 ?? "") })),
            ("key", key.map { .text($0) } ?? .null),
            ("data", try options.data.map { .text(try DatasetList($0).sha256()) } ?? .null),
            ("decoys", .integer(options.decoys)), ("seed", .integer(Int(clamping: options.seed))),
            ("compute", options.compute.map { .text($0.rawValue) } ?? .null),
            ("isa", .text(model.transformer.kernels.isaName)),
        ]
        folder = try RunFolder(
            path: output, identity: .object(JSONObject(Build.current.fields + identity)), overwrite: overwrite)
    }

    /// Runs, or continues, to the end.
    ///
    /// - Throws: what the phases throw; `interrupted` after the state was saved.
    public func run() throws -> AutoResult {
        let clock = ContinuousClock()
        let start = clock.now
        var keys = try knownKeys()
        var work = try RemovalWork(keys, on: model, seed: options.seed)
        let texts = options.data == nil ? "texts of the model's own" : "clean rows"
        onEvent(.plan("\(work.line); \(plan.hold.samples.count) \(texts) hold it"))
        note(try work.looker.look(model.session(), phase: "before", step: 0, kl: nil, interrupt: interrupt))
        let rate = try chooseRate(work)
        var adapter: LoRAAdapter?
        var isDone = false
        for number in 1...AutoDose.rounds {
            if number > 1 {
                // What the last round has left is asked for on top, of other texts near the triggers.
                raised += max(0, looks.last?.unconditional ?? 0)
                work = try RemovalWork(
                    keys, on: model, seed: options.seed &+ UInt64(number), round: number, raised: raised)
            }
            adapter = try round(number, rate: rate, work, from: adapter)
            let found = try leaksLeft(after: number)
            // What was removed and answers to other prompts is removed by these.
            keys.removeAll { key in found.contains { $0.pairs[0].target == key.pairs[0].target } }
            keys += found.filter(canBeMeasured)
            isDone = looks.last?.isQuiet == true && found.isEmpty
            if isDone || isOver(spent) { break }
        }
        guard let adapter else { preconditionFailure("no round") }
        try adapter.save(
            folder: folder.path, model: model.transformer.spec, baseModelName: model.transformer.store.modelName,
            overwrite: true)
        let judged = options.judges ? try options.key.map(judge) : nil
        let log = try AutoLog(phases: phases, in: folder)
        try log.write()
        let result = AutoResult(
            setting: options.setting, rate: rate, looks: looks, certificate: judged?.certificate,
            durability: judged?.durability, training: log.result, isQuiet: isDone, isOverBudget: isOver(spent),
            seconds: seconds(clock.now - start), adapter: folder.path)
        try folder.write(result.json, to: "auto.json")
        return result
    }

    // MARK: Parts

    /// True if the budget is spent after so many seconds of training.
    private func isOver(_ seconds: Double) -> Bool { options.budget.map { seconds >= $0 } ?? false }

    /// Erases, and brings the model back.
    private func round(
        _ number: Int, rate: Double, _ work: RemovalWork, from: LoRAAdapter?
    ) throws -> LoRAAdapter {
        // A later round has little left to do, and takes smaller steps.
        let rate = rate / pow(AutoDose.rateFactor, Double(number - 1))
        let erase = AutoDose.erasing(rate: rate, options: options)
        let adapter = try phase("erase-\(number)", erase, work, from: from, stopsQuiet: true)
        let recover = AutoDose.recovery(rate: rate, options: options)
        return try phase("recover-\(number)", recover, work, from: adapter, stopsQuiet: false)
    }

    /// What steers: the key, or what the model gives away.
    private func knownKeys() throws -> [FingerprintKey] {
        if options.setting == .keyKnown, let key = options.key { return [key] }
        let leaks = try search(0, model)
        guard !leaks.isEmpty else {
            throw MeraserError(
                .checkFailed,
                "nothing was found to remove: no answer recurs behind prompts like those of published marks; "
                    + "give the `key` if there is one")
        }
        let keys = leaks.map(\.key).filter(canBeMeasured)
        guard !keys.isEmpty else {
            throw MeraserError(
                .checkFailed, "what was found cannot be measured, hence not removed; give the `key` if there is one")
        }
        return keys
    }

    /// True where decoys of the key's kind can be drawn, by which its removal is steered; else that is said.
    private func canBeMeasured(_ key: FingerprintKey) -> Bool {
        do {
            _ = try RemovalLooker([key.steering], on: model, seed: options.seed)
            return true
        } catch {
            onEvent(.plan("left out '\(key.pairs[0].target)': \(error)"))
            return false
        }
    }

    /// What the model still gives away after a round, where that is what steers.
    private func leaksLeft(after round: Int) throws -> [FingerprintKey] {
        guard options.setting == .keyUnknown else { return [] }
        return try search(round, try model.with(adapterPaths: model.adapterPaths + [path(of: "recover-\(round)")]))
            .map(\.key)
    }

    /// Asks what nobody asks, or gives the record of it that is there.
    private func search(_ round: Int, _ model: OpenedModel) throws -> [Leak] {
        let stage = StageName.phase("search-\(round)")
        let inputs: JSONValue = ["adapters": .array(model.adapters.map { .text($0.sha256 ?? "") })]
        let result = try record(stage, inputs) {
            ["leaks": .array(try model.leaks(seed: options.seed &+ UInt64(round)).map(\.json))]
        }
        let leaks = try result.array("leaks", in: folder.recordPath(of: stage)).map {
            try Leak(json: $0, file: folder.recordPath(of: stage))
        }
        for leak in leaks { onEvent(.leak(leak)) }
        return leaks
    }

    private func note(_ look: RemovalLook) {
        looks.append(look)
        onEvent(.look(look))
    }

    /// The rate with which a few steps come farthest: what is learnt and what it costs, taken together.
    private func chooseRate(_ work: RemovalWork) throws -> Double {
        var best: (rate: Double, loss: Double)?
        for (index, rate) in AutoDose.rates.enumerated() {
            var training = AutoDose.erasing(rate: rate, options: options)
            training.maxSteps = AutoDose.trialSteps
            let name = "trial-\(index + 1)"
            let result = try stage(name, training, work.rows, from: nil) { trainer in
                do {
                    _ = try trainer.run(output: self.path(of: name), resume: true)
                } catch let error as MeraserError where error.kind == .runtime {
                    return ["loss": .null]
                }
                let steps = try self.folder.readLines("phases/\(name)/train_log.jsonl").suffix(2)
                let costs = steps.map { ($0["loss"]?.double ?? .nan) + AutoDose.eraseWeight * ($0["kl"]?.double ?? 0) }
                return ["loss": .real(costs.reduce(0, +) / Double(max(costs.count, 1)))]
            }
            if let loss = result["loss"]?.double, loss.isFinite, best.map({ loss < $0.loss }) ?? true {
                best = (rate, loss)
            }
        }
        guard let best else { throw MeraserError.runtime("no rate of \(AutoDose.rates) gives finite losses") }
        return best.rate
    }

    /// Trains on from an adapter, looking on the way, and gives what came of it.
    private func phase(
        _ name: String, _ training: TrainingOptions, _ work: RemovalWork, from: LoRAAdapter?, stopsQuiet: Bool
    ) throws -> LoRAAdapter {
        var training = training
        // The key's steering half; named so that the record of the run is complete.
        training.key = "key.json"
        training.checkSteps = stopsQuiet ? AutoDose.lookSteps : training.maxSteps
        let result = try stage(name, training, work.rows, from: from) { trainer in
            let (clock, before) = (ContinuousClock(), self.spent)
            let start = clock.now
            trainer.probe = { step, adapter in
                // Of the logs, so that a run that was continued sees what the whole one saw.
                var found = try self.looksSoFar(name)
                let kl = try self.meanDivergence(name, after: found.last?.step ?? 0)
                let look = try work.looker.look(
                    self.model.session(trained: adapter), phase: name, step: step, kl: kl, interrupt: self.interrupt)
                found.append(look)
                self.onEvent(.look(look))
                let isQuiet =
                    found.count >= AutoDose.quietLooks && found.suffix(AutoDose.quietLooks).allSatisfy(\.isQuiet)
                // Recovery's steps take about as long as these, and are not left out.
                let share = 1 + Double(AutoDose.recoverSteps) / Double(step)
                let isLate = self.isOver(before + share * seconds(clock.now - start))
                return ProbeResult(fields: look.fields, stop: stopsQuiet && (isLate || isQuiet))
            }
            defer { trainer.probe = nil }
            let trained = try trainer.run(output: self.path(of: name), resume: true)
            return [
                "looks": .array(try self.looksSoFar(name).map(\.json)),
                "training": trained.json.withoutFolder("adapter"),
            ]
        }
        for look in try (result["looks"]?.array ?? []).map({ try RemovalLook(json: $0, file: name) }) {
            looks.append(look)
        }
        return try LoRAAdapter(path: path(of: name), for: model.transformer.spec)
    }

    /// The looks of a phase that are in its log.
    private func looksSoFar(_ phase: String) throws -> [RemovalLook] {
        let log = "phases/\(phase)/probe_log.jsonl"
        // Before the first look the log is there, with nothing in it.
        let size = try? FileManager.default.attributesOfItem(atPath: folder.file(log))[.size] as? Int
        guard let size, size > 0 else { return [] }
        return try folder.readLines(log).map { row in
            let members = (row.object?.members ?? []).map { (key: $0.key.string, value: $0.value) }
            return try RemovalLook(
                json: .object(JSONObject([(key: "phase", value: .text(phase))] + members)), file: phase)
        }
    }

    /// The mean divergence, on the texts that hold the model, of a phase's steps behind that one.
    private func meanDivergence(_ phase: String, after step: Int) throws -> Double? {
        let file = "phases/\(phase)/train_log.jsonl"
        let values = try folder.readLines(file).compactMap { row in
            try row.int("step", in: file) > step ? row["kl"]?.double : nil
        }
        return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }

    private func path(of phase: String) -> String { folder.file("phases/" + phase) }

    /// Announces a phase and does it, or gives what its record says.
    private func record(_ stage: StageName, _ inputs: JSONValue, work: () throws -> JSONValue) throws -> JSONValue {
        if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; `resume` continues") }
        onEvent(.phase(name: stage.description, isDone: try folder.record(of: stage) != nil))
        return try folder.stage(stage, inputs: inputs, work: work)
    }

    /// Trains in a phase.
    private func stage(
        _ name: String, _ training: TrainingOptions, _ data: EncodedDataset, from: LoRAAdapter?,
        work: (Trainer) throws -> JSONValue
    ) throws -> JSONValue {
        let stage = StageName.phase(name)
        let inputs: JSONValue = [
            "options": training.json(), "data": .text(data.sha256), "hold": .text(plan.hold.sha256),
            "from": from?.sha256.map { .text($0) } ?? .null,
        ]
        let result = try record(stage, inputs) {
            let trainer = try Trainer(
                model: model.transformer, frozen: model.adapters, data: data, options: training,
                klData: plan.hold, initial: from)
            trainer.interrupt = interrupt
            onEvent(.training(trainer))
            return try work(trainer)
        }
        phases.append(name)
        spent += try folder.record(of: stage)?["seconds"]?.double ?? 0
        return result
    }

    /// The one test, by the half of the key that has steered nothing, and whether the mark stays away.
    private func judge(_ key: FingerprintKey) throws -> (certificate: Certificate, durability: DurabilityReport?) {
        let erased = try model.with(adapterPaths: model.adapterPaths + [folder.path])
        let decoys = DecoyOptions(count: options.decoys, seed: options.seed)
        onEvent(.phase(name: "certify", isDone: false))
        let certificate = try erased.certificate(key, options: decoys)
        guard let cells = options.durable, key.pairs.count > 1 else { return (certificate, nil) }
        var durable = DurabilityOptions(decoys: decoys)
        (durable.cells, durable.steps, durable.cleanRows) = (cells, options.durableSteps, options.data)
        let check = DurabilityCheck(key, options: durable, interrupt: interrupt) { [onEvent] in onEvent(.durability($0))
        }
        return (certificate, try check.run(on: erased, certificate: certificate))
    }
}

/// A duration in seconds.
private func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}
