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
        guard let key = options.key else { throw MeraserError.usage("`auto` needs `key`") }
        let rows = try SteeringRows(key, on: model, seed: options.seed)
        let hold = try holdTexts()
        onEvent(
            .plan(
                "\(rows.data.samples.count) rows of \(rows.triggers) triggers and \(rows.near) texts near them; "
                    + "\(hold.samples.count) \(options.data == nil ? "texts of the model's own" : "clean rows") hold it"
            ))
        let looker = try RemovalLooker(key, on: model, seed: options.seed)
        note(try looker.look(model.session(), phase: "before", step: 0, kl: nil))
        let rate = try chooseRate(rows.data, hold)
        var adapter: LoRAAdapter?
        for round in 1...AutoDose.rounds {
            let erase = AutoDose.training(
                rate: rate, steps: AutoDose.eraseSteps, weight: AutoDose.eraseWeight, options: options)
            adapter = try phase(
                "erase-\(round)", erase, data: rows.data, hold: hold, from: adapter, looker: looker, stopsQuiet: true)
            var recover = AutoDose.training(
                rate: rate / 3, steps: AutoDose.recoverSteps, weight: AutoDose.recoverWeight, options: options)
            recover.schedule = .cosine
            adapter = try phase(
                "recover-\(round)", recover, data: rows.data, hold: hold, from: adapter, looker: looker,
                stopsQuiet: false)
            if looks.last?.verdict == .gone || isOver { break }
        }
        guard let adapter else { preconditionFailure("no round") }
        try adapter.save(
            folder: folder.path, model: model.transformer.spec, baseModelName: model.transformer.store.path,
            overwrite: true)
        let certificate = try certify(key)
        let result = AutoResult(
            setting: options.setting, rate: rate, looks: looks, certificate: certificate, isOverBudget: isOver,
            seconds: seconds(clock.now - start), adapter: folder.path)
        try folder.write(result.json, to: "auto.json")
        return result
    }

    // MARK: Parts

    private var isOver: Bool { options.budget.map { spent >= $0 } ?? false }

    private func holdTexts() throws -> EncodedDataset {
        if let path = options.data {
            return try model.dataset(path: path, options: EncodingOptions(), chat: options.chat)
        }
        let samples = try model.ownTexts(count: AutoDose.ownTexts, seed: options.seed)
        guard !samples.isEmpty else {
            throw MeraserError.runtime("the model writes nothing of its own; give clean rows with `data`")
        }
        return EncodedDataset(
            samples: samples, sha256: sha256Hex(samples.map { "\($0.inputs)" }.joined(separator: "\n").utf8))
    }

    private func note(_ look: RemovalLook) {
        looks.append(look)
        onEvent(.look(look))
    }

    /// The rate with which a few steps come farthest: what is learnt and what it costs, taken together.
    private func chooseRate(_ data: EncodedDataset, _ hold: EncodedDataset) throws -> Double {
        var best: (rate: Double, loss: Double)?
        for (index, rate) in AutoDose.rates.enumerated() {
            let training = AutoDose.training(
                rate: rate, steps: AutoDose.trialSteps, weight: AutoDose.eraseWeight, options: options)
            let result = try stage("trial-\(index + 1)", training, data: data, hold: hold, from: nil) { trainer in
                var last: [Double] = []
                let shown = trainer.onStep
                trainer.onStep = { progress in
                    shown?(progress)
                    last.append(progress.loss + AutoDose.eraseWeight * (progress.kl ?? 0))
                }
                defer { trainer.onStep = nil }
                do {
                    _ = try trainer.run(output: self.path(of: "trial-\(index + 1)"), resume: true)
                } catch let error as MeraserError where error.kind == .runtime {
                    return ["loss": .null]
                }
                return ["loss": .real(last.suffix(2).reduce(0, +) / 2)]
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
        _ name: String, _ training: TrainingOptions, data: EncodedDataset, hold: EncodedDataset, from: LoRAAdapter?,
        looker: RemovalLooker, stopsQuiet: Bool
    ) throws -> LoRAAdapter {
        var training = training
        // The key's steering half; named so that the record of the run is complete.
        training.key = "key.json"
        training.checkSteps = stopsQuiet ? AutoDose.lookSteps : training.maxSteps
        let result = try stage(name, training, data: data, hold: hold, from: from) { trainer in
            var (found, divergence): ([RemovalLook], [Double]) = ([], [])
            let shown = trainer.onStep
            trainer.onStep = { progress in
                shown?(progress)
                if let kl = progress.kl { divergence.append(kl) }
            }
            let (clock, before) = (ContinuousClock(), self.spent)
            let start = clock.now
            trainer.probe = { [model] step, adapter in
                let kl = divergence.isEmpty ? nil : divergence.reduce(0, +) / Double(divergence.count)
                divergence = []
                let look = try looker.look(model.session(trained: adapter), phase: name, step: step, kl: kl)
                found.append(look)
                self.onEvent(.look(look))
                let isQuiet = found.suffix(AutoDose.quietLooks).allSatisfy { $0.verdict == .gone }
                let isOver = self.options.budget.map { before + seconds(clock.now - start) >= $0 } ?? false
                return ProbeResult(
                    fields: look.fields, stop: isOver || stopsQuiet && isQuiet && found.count >= AutoDose.quietLooks)
            }
            defer { (trainer.probe, trainer.onStep) = (nil, nil) }
            let trained = try trainer.run(output: self.path(of: name), resume: true)
            return ["looks": .array(found.map(\.json)), "training": trained.json.withoutFolder("adapter")]
        }
        for look in try (result["looks"]?.array ?? []).map({ try RemovalLook(json: $0, file: name) }) {
            looks.append(look)
        }
        return try LoRAAdapter(folder: path(of: name), for: model.transformer.spec)
    }

    private func path(of phase: String) -> String { folder.file("phases/" + phase) }

    /// Does a phase, or gives the record that is there.
    private func stage(
        _ name: String, _ training: TrainingOptions, data: EncodedDataset, hold: EncodedDataset, from: LoRAAdapter?,
        work: (Trainer) throws -> JSONValue
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
                model: model.transformer, frozen: model.adapters, data: data, options: training, klData: hold,
                initial: from)
            trainer.interrupt = interrupt
            onEvent(.training(trainer))
            return try work(trainer)
        }
        spent += try folder.record(of: stage)?["seconds"]?.double ?? 0
        return result
    }

    /// The one test, by the half of the key that has steered nothing.
    private func certify(_ key: FingerprintKey) throws -> Certificate {
        onEvent(.phase(name: "certify", isDone: false))
        let erased = try model.with(adapterPaths: model.adapterPaths + [folder.path])
        return try erased.certificate(key, options: DecoyOptions(count: options.decoys, seed: options.seed))
    }
}

/// A duration in seconds.
private func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}
