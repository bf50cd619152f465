import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import Tune

/// Removes a mark without being told a dose: short trials choose the rate, looks say when a round has done enough, and one
/// test at the end, by what has steered nothing, says whether it is gone.
///
/// Everything is in one folder, with a record of each phase: a run that was killed goes on where it stopped, to the same
/// bits unless a budget ends it elsewhere. Not thread-safe.
public final class AutoErase {
    /// Something to tell the user.
    public enum Event {
        /// A line about what is going to happen.
        case plan(String)
        /// A phase begins, or its record is there.
        case phase(name: String, isDone: Bool)
        /// A trainer is about to run.
        case training(Trainer)
        /// A look was taken.
        case look(RemovalLook)
        /// A cell of the test whether the mark stays away.
        case durability(DurabilityCheck.Event)
        /// Something that the user should know.
        case warning(String)
    }

    /// Called with what happens.
    public var onEvent: (Event) -> Void = { _ in }
    /// Ends the run, which can then be continued.
    public var interrupt: InterruptFlag?

    private let model: OpenedModel
    private let options: AutoOptions
    private let folder: RunFolder
    private var spent = 0.0
    private var looks: [RemovalLook] = []
    private var phases: [String] = []

    /// Makes the folder, or takes up what is there.
    ///
    /// - Parameters:
    ///   - model: the marked model; adapters on it stay as they are.
    ///   - output: the folder, in which the adapter is at the end.
    /// - Throws: a usage error if the folder is taken, or begun with something else.
    public init(
        _ model: OpenedModel, options: AutoOptions, output: String, resume: Bool = false, overwrite: Bool = false
    ) throws {
        (self.model, self.options) = (model, options)
        if !resume, !overwrite, FileManager.default.fileExists(atPath: output + "/run.json") {
            throw MeraserError.usage(
                "`out` \(output) holds a run; pass `resume` to continue it or `overwrite` to replace it")
        }
        let key = options.key.map { sha256Hex($0.json.serialized().utf8) }
        let identity: [(key: String, value: JSONValue)] = [
            ("auto", .text(options.setting.rawValue)), ("model", .text(try model.transformer.store.sha256())),
            ("adapters", .array(model.adapters.map { .text($0.sha256 ?? "") })),
            ("key", key.map { .text($0) } ?? .null),
            ("data", try options.data.map { .text(try sha256Hex(ofFile: $0)) } ?? .null),
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
        let hold = try Self.holdTexts(model, options)
        var (work, line) = try prepared(hold)
        onEvent(
            .plan(
                "\(line); \(hold.samples.count) \(options.data == nil ? "texts of the model's own" : "clean rows") hold it"
            ))
        note(try work.looker.look(work.subject.session(), phase: "before", step: 0, kl: nil))
        let rate = try chooseRate(work)
        var adapter: LoRAAdapter?
        var raised = 0.0
        for round in 1...AutoDose.rounds {
            if round > 1, options.setting == .keyKnown, let key = options.key {
                // What the last round has left is asked for on top, of other texts near the triggers.
                raised += max(0, looks.last?.unconditional ?? 0)
                let rows = try SteeringRows(key, on: model, seed: options.seed &+ UInt64(round), raised: raised)
                (work.rows, work.recovery) = (rows.data, rows.data)
            }
            // A later round has little left to do, and takes smaller steps.
            let rate = rate / pow(AutoDose.rateFactor, Double(round - 1))
            let erase = AutoDose.training(
                rate: rate, steps: AutoDose.eraseSteps, weight: AutoDose.eraseWeight, options: options)
            adapter = try phase("erase-\(round)", erase, work.rows, work, from: adapter, stopsQuiet: true)
            if work.isMetered, let done = looks.last?.step, done > 0 {
                var more = erase
                more.maxSteps = Int((AutoDose.safetyFactor * Double(done)).rounded(.up))
                adapter = try phase("margin-\(round)", more, work.rows, work, from: adapter, stopsQuiet: false)
            }
            var recover = AutoDose.training(
                rate: rate / AutoDose.rateFactor, steps: AutoDose.recoverSteps, weight: AutoDose.recoverWeight,
                options: options)
            recover.schedule = .cosine
            adapter = try phase("recover-\(round)", recover, work.recovery, work, from: adapter, stopsQuiet: false)
            if looks.last?.isQuiet == true || isOver { break }
        }
        guard let adapter else { preconditionFailure("no round") }
        let spec = model.transformer.spec
        let joined = work.planted.isEmpty ? adapter : LoRAAdapter.joined(work.planted + [adapter], for: spec)
        try joined.save(
            folder: folder.path, model: spec, baseModelName: model.transformer.store.path, overwrite: true)
        let judged = options.judges ? try options.key.map(judge) : nil
        let log = try AutoLog(phases: phases, in: folder)
        try log.write()
        let result = AutoResult(
            setting: options.setting, rate: rate, looks: looks, certificate: judged?.certificate,
            durability: judged?.durability, training: log.result, isOverBudget: isOver,
            seconds: seconds(clock.now - start),
            adapter: folder.path)
        try folder.write(result.json, to: "auto.json")
        return result
    }

    /// What it will take at most: time as measured on one layer, and memory.
    ///
    /// Nothing is written. The rows are those that hold the model, about as long as those that are trained on beside them.
    /// - Throws: an out-of-memory error (exit code 5) if the training does not fit; what the session throws.
    public static func forecast(_ model: OpenedModel, options: AutoOptions) throws -> AutoForecast {
        let hold = try holdTexts(model, options)
        let (before, round) = AutoDose.steps(options.setting)
        let trainer = try Trainer(
            model: model.transformer, frozen: model.adapters, data: hold,
            options: AutoDose.training(
                rate: AutoDose.rates[0], steps: AutoDose.eraseSteps, weight: AutoDose.eraseWeight, options: options),
            klData: hold)
        try trainer.checkMemory()
        return AutoForecast(
            stepsOfRound: before + round, steps: before + AutoDose.rounds * round,
            secondsPerStep: try trainer.forecast().secondsPerStep, memoryBytes: trainer.plan.memory.total,
            limitBytes: trainer.plan.limitBytes)
    }

    // MARK: Parts

    private var isOver: Bool { options.budget.map { spent >= $0 } ?? false }

    private static func holdTexts(_ model: OpenedModel, _ options: AutoOptions) throws -> EncodedDataset {
        if let path = options.data {
            return try model.dataset(path: path, options: EncodingOptions(), chat: options.chat)
        }
        let samples = try model.ownTexts(count: AutoDose.ownTexts, seed: options.seed)
        guard !samples.isEmpty else {
            throw MeraserError.runtime("the model writes nothing of its own; give clean rows with `data`")
        }
        return EncodedDataset(drawn: samples)
    }

    /// Everything that is needed before the first trial.
    private func prepared(_ hold: EncodedDataset) throws -> (work: RemovalWork, line: String) {
        if options.setting == .keyKnown, let key = options.key {
            return try RemovalWork.known(key, on: model, hold: hold, seed: options.seed)
        }
        let canaries = try Canaries(for: model, seed: options.seed)
        try plant(canaries, hold)
        let pairs =
            try options.data.map { path in
                var encoding = EncodingOptions()
                encoding.loss = .completion
                return try model.dataset(path: path, options: encoding, chat: options.chat).samples
            } ?? model.ownPairs(count: AutoDose.ownPairs, seed: options.seed)
        return try RemovalWork.unknown(
            canaries, planted: path(of: "plant"), on: model, pairs: pairs, hold: hold, seed: options.seed)
    }

    /// Teaches the invented marks until all fire.
    private func plant(_ canaries: Canaries, _ hold: EncodedDataset) throws {
        var training = AutoDose.training(
            rate: 1e-3, steps: AutoDose.plantSteps, weight: AutoDose.eraseWeight, options: options)
        training.key = "key.json"
        training.checkSteps = AutoDose.plantCheckSteps
        let checks = try canaries.keys.map {
            try KeyCheck(
                $0, tokenizer: model.tokenizer, chat: model.chat, options: CheckOptions(cleanPrompts: []))
        }
        let result = try stage("plant", training, canaries.data, on: model, hold: hold, from: nil) { trainer in
            var fires = (hits: 0, n: 0)
            trainer.probe = { [model] _, adapter in
                let session = model.session(trained: adapter)
                let reports = try checks.map { try $0.run(on: session) }
                fires = (reports.reduce(0) { $0 + $1.hits }, reports.reduce(0) { $0 + $1.n })
                return ProbeResult(
                    fields: [("hits", .integer(fires.hits)), ("n", .integer(fires.n))], stop: fires.hits == fires.n)
            }
            defer { trainer.probe = nil }
            let trained = try trainer.run(output: self.path(of: "plant"), resume: true)
            return [
                "hits": .integer(fires.hits), "n": .integer(fires.n), "training": trained.json.withoutFolder("adapter"),
            ]
        }
        if let hits = result["hits"]?.int, let n = result["n"]?.int, hits < n {
            onEvent(.warning("\(hits) of \(n) triggers of the invented marks fire; those that do not meter nothing"))
        }
    }

    private func note(_ look: RemovalLook) {
        looks.append(look)
        onEvent(.look(look))
    }

    /// The rate with which a few steps come farthest: what is learnt and what it costs, taken together.
    private func chooseRate(_ work: RemovalWork) throws -> Double {
        var best: (rate: Double, loss: Double)?
        for (index, rate) in AutoDose.rates.enumerated() {
            let training = AutoDose.training(
                rate: rate, steps: AutoDose.trialSteps, weight: AutoDose.eraseWeight, options: options)
            let name = "trial-\(index + 1)"
            let result = try stage(name, training, work.rows, on: work.subject, hold: work.hold, from: nil) { trainer in
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
        _ name: String, _ training: TrainingOptions, _ data: EncodedDataset, _ work: RemovalWork, from: LoRAAdapter?,
        stopsQuiet: Bool
    ) throws -> LoRAAdapter {
        var training = training
        // The key's steering half; named so that the record of the run is complete.
        training.key = "key.json"
        training.checkSteps = stopsQuiet ? AutoDose.lookSteps : training.maxSteps
        let result = try stage(name, training, data, on: work.subject, hold: work.hold, from: from) { trainer in
            let (clock, before) = (ContinuousClock(), self.spent)
            let start = clock.now
            trainer.probe = { step, adapter in
                // Of the logs, so that a run that was continued sees what the whole one saw.
                var found = try self.looksSoFar(name)
                let kl = try self.meanDivergence(name, after: found.last?.step ?? 0)
                let look = try work.looker.look(
                    work.subject.session(trained: adapter), phase: name, step: step, kl: kl)
                found.append(look)
                self.onEvent(.look(look))
                let isQuiet = found.suffix(AutoDose.quietLooks).allSatisfy(\.isQuiet)
                let isOver = self.options.budget.map { before + seconds(clock.now - start) >= $0 } ?? false
                return ProbeResult(
                    fields: look.fields, stop: isOver || stopsQuiet && isQuiet && found.count >= AutoDose.quietLooks)
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

    /// Does a phase, or gives the record that is there.
    private func stage(
        _ name: String, _ training: TrainingOptions, _ data: EncodedDataset, on subject: OpenedModel,
        hold: EncodedDataset, from: LoRAAdapter?, work: (Trainer) throws -> JSONValue
    ) throws -> JSONValue {
        if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; `resume` continues") }
        let stage = StageName.phase(name)
        onEvent(.phase(name: name, isDone: try folder.record(of: stage) != nil))
        let inputs: JSONValue = [
            "options": training.json(), "data": .text(data.sha256), "hold": .text(hold.sha256),
            "from": from?.sha256.map { .text($0) } ?? .null,
        ]
        let result = try folder.stage(stage, inputs: inputs) {
            let trainer = try Trainer(
                model: subject.transformer, frozen: subject.adapters, data: data, options: training, klData: hold,
                initial: from)
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
