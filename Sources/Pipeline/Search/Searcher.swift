import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import Tune

/// Searches the doses of an erasing stage: successive halving over configurations, each erased and recovered, measured by
/// what is left of the mark and of the model.
///
/// At the first rung every configuration trains the smallest part of its steps; of `eta` configurations the most promising
/// one goes on to `eta` times as many. A trial leaves its record whole or not at all, so a search that was interrupted or
/// killed continues with the trial that it was in. The same files, seed and instruction set give the same report, but for
/// its times. Not thread-safe.
public final class Searcher {
    private let plan: SearchPlan
    private let output: String
    private let runner: Runner
    private let folder: RunFolder
    private let kernels: KernelContext

    /// Prepares a search; parameters as `Runner`'s.
    ///
    /// - Throws: a usage error if the folder holds something else, or another search.
    public init(
        plan: SearchPlan, output: String, kernels: KernelContext, overwrite: Bool = false,
        interrupt: InterruptFlag? = nil, onEvent: @escaping (Runner.Event) -> Void = { _ in }
    ) throws {
        self.plan = plan
        self.output = output
        self.kernels = kernels
        runner = try Runner(
            recipe: plan.recipe, output: output, kernels: kernels, overwrite: overwrite,
            search: sha256Hex("\(plan.text) \(plan.seed)".utf8))
        runner.interrupt = interrupt
        runner.onEvent = onEvent
        folder = runner.folder
    }

    /// Searches, or continues, to the end; leaves `search.json` and the adapters of the frontier.
    ///
    /// - Throws: what the stages throw; `interrupted` after the state was saved.
    public func run() throws -> SearchReport {
        let stand = try stand()
        var trials: [SearchTrial] = []
        var candidates = Array(plan.configurations.enumerated())
        for rung in 0..<plan.rungs {
            let tried = try candidates.map { try trial($0.offset, $0.element, rung: rung, stand) }
            trials += tried
            let best = mostPromising(tried.map(\.objective), count: max(1, tried.count / plan.eta))
            candidates = best.sorted().map { candidates[$0] }
        }
        let report = SearchReport(trials: trials, marked: stand.markedResult, reference: stand.referenceResult)
        try folder.write(report.json, to: SearchPage.jsonName)
        try SearchPage(folder).write()
        // What is beaten is not kept: its command makes it again.
        let kept = Set(report.frontier.map(\.name))
        for trial in trials where !kept.contains(trial.name) {
            try? FileManager.default.removeItem(atPath: folder.file("trials/\(trial.name)"))
        }
        return report
    }

    /// What every trial starts from.
    private struct Stand {
        let modelPath: String
        let marked: OpenedModel
        let measurement: Measurement
        let markedResult: JSONValue
        let referenceResult: JSONValue?
        let erase: Stage
        let recover: Stage
    }

    /// A stage's rows.
    private struct Stage {
        let data: String
        let chat: Bool
    }

    private func stand() throws -> Stand {
        let (modelPath, base) = try runner.openBase()
        let (marked, full) = try runner.mark(base)
        // Tasks would take longer than the trials themselves.
        let measurement = Measurement(
            key: full.key, cleanPrompts: full.cleanPrompts, perplexity: full.perplexity, evaluation: nil,
            redact: full.redact)
        var reference: OpenedModel?
        if let path = plan.reference {
            reference = try OpenedModel(path: path, kernels: kernels, compute: plan.recipe.compute)
            reference?.warnings.forEach { runner.onEvent(.warning($0)) }
        } else if !marked.adapterPaths.isEmpty {
            reference = try marked.with(adapterPaths: [])
        }
        let referenceResult = try reference.map { try runner.measure(.reference, $0, measurement) }
        func stage(_ training: Recipe.Training?) throws -> Stage {
            guard let training else { throw MeraserError.usage("the recipe has no stage to search") }
            guard let data = try runner.rows(of: training) else {
                throw MeraserError.usage("a search needs rows in files: give its stages 'data' or 'mismatch'")
            }
            return Stage(data: data, chat: training.chat)
        }
        return Stand(
            modelPath: modelPath, marked: marked, measurement: measurement,
            markedResult: try runner.measure(.before, marked, measurement), referenceResult: referenceResult,
            erase: try stage(plan.recipe.erase), recover: try stage(plan.recipe.recover))
    }

    // MARK: Trials

    /// One stage of a trial, before it is trained.
    private struct Prepared {
        let stage: Stage
        let data: EncodedDataset
        let options: TrainingOptions
        let path: String

        var steps: Int { options.maxSteps ?? 0 }
    }

    private func trial(
        _ index: Int, _ configuration: SearchSpace.Configuration, rung: Int, _ stand: Stand
    ) throws -> SearchTrial {
        let name = StageName.trial(number: index, of: plan.trials, rung: rung)
        let erase = try prepare(.erase, name, stand.erase, try plan.options(configuration), rung, stand.marked)
        let recover = try prepare(
            .recover, name, stand.recover, plan.recipe.recover?.options ?? TrainingOptions(), rung, stand.marked)
        let inputs: JSONValue = [
            "model": .text(try stand.marked.transformer.store.sha256()),
            "adapters": .array(stand.marked.adapters.map { .text($0.sha256 ?? "") }),
            "key": .text(sha256Hex(stand.measurement.key.json.serialized().utf8)),
            "erase": try inputs(erase), "recover": try inputs(recover),
            "measures": .object(JSONObject(try stand.measurement.inputs())),
        ]
        let result = try runner.stage(name, inputs: inputs) {
            let (erased, eraseResult) = try train(erase, on: stand.marked)
            let (recovered, recoverResult) = try train(recover, on: erased)
            let measured = try stand.measurement.measure(recovered)
            return [
                "erase": eraseResult, "recover": recoverResult, "check": measured["check"] ?? .null,
                "ppl": measured["ppl"] ?? .null,
            ]
        }
        let marks = stand.marked.adapterPaths
        return SearchTrial(
            name: name.description, rung: rung, configuration: configuration, steps: (erase.steps, recover.steps),
            commands: [
                command(.erase, erase, adapters: marks, stand).text,
                command(.recover, recover, adapters: marks + [erase.path], stand).text,
            ], result: result, cap: stand.referenceResult?["check"]?["target_nll_mean"]?.double)
    }

    /// A stage with the steps of a rung.
    private func prepare(
        _ kind: TrainedStage, _ trial: StageName, _ stage: Stage, _ all: TrainingOptions, _ rung: Int,
        _ model: OpenedModel
    ) throws -> Prepared {
        var options = all
        options.compute = options.compute ?? plan.recipe.compute
        let data = try model.dataset(
            path: stage.data, options: options.encoding, chat: stage.chat, seed: options.seed)
        let steps = StepPlan(sampleCount: data.samples.count, options: options).totalSteps
        options.maxSteps = plan.steps(steps, rung: rung)
        return Prepared(stage: stage, data: data, options: options, path: "\(output)/trials/\(trial)/\(kind.rawValue)")
    }

    private func inputs(_ prepared: Prepared) throws -> JSONValue {
        [
            "data": .text(prepared.data.sha256), "chat": .bool(prepared.stage.chat),
            "kl_data": try prepared.options.klDataInUse.map { .text(try DatasetList($0).sha256()) } ?? .null,
            "options": prepared.options.json(),
        ]
    }

    private func train(_ prepared: Prepared, on model: OpenedModel) throws -> (OpenedModel, JSONValue) {
        let trainer = try model.trainer(data: prepared.data, options: prepared.options, chat: prepared.stage.chat)
        runner.follow(trainer)
        let result = try trainer.run(output: prepared.path, resume: true)
        let measures: JSONValue = [
            "steps": .integer(result.steps), "final_loss": .real(result.finalLoss), "seconds": .real(result.seconds),
            "tokens": .integer(result.tokens), "peak_rss_bytes": .integer(result.peakRSSBytes),
        ]
        return (try model.with(adapterPaths: model.adapterPaths + [prepared.path]), measures)
    }

    private func command(
        _ kind: TrainedStage, _ prepared: Prepared, adapters: [String], _ stand: Stand
    ) -> TrainingCommand {
        TrainingCommand(
            command: kind, model: TrainingCommand.shortened(stand.modelPath),
            adapters: adapters.map(TrainingCommand.shortened), data: TrainingCommand.shortened(prepared.stage.data),
            chat: prepared.stage.chat, options: prepared.options, output: TrainingCommand.shortened(prepared.path))
    }
}
