import Base
import Foundation
import Kernels
import Model
import Quant

/// Trains one LoRA adapter on a frozen model with frozen adapters below it.
///
/// The same model, data, options and instruction set give the same bits for any number of threads, and a run that was
/// interrupted or killed at any moment and resumed gives the bits of one that was not. Not thread-safe.
public final class Trainer {
    /// Measures a key with the adapter as it is after a step.
    public typealias Probe = (_ step: Int, _ adapter: LoRAAdapter) throws -> ProbeResult

    /// What the run is going to do and need.
    public let plan: TrainingPlan
    /// Called after every step.
    public var onStep: ((TrainingProgress) -> Void)?
    /// Called after every measurement, with the step.
    public var onProbe: ((Int, ProbeResult) -> Void)?
    /// Called after every measurement of `eval_data`.
    public var onEvaluation: ((EvaluationProgress) -> Void)?
    /// Called with what the user should know, as one line.
    public var onWarning: ((String) -> Void)?
    /// Called every `check_steps` steps and at the end.
    public var probe: Probe?
    /// Looked at between layers; when set, the step in progress is dropped.
    public var interrupt: InterruptFlag?

    let model: Transformer
    let frozen: [LoRAAdapter]
    let data: EncodedDataset
    let kl: (data: EncodedDataset, plan: KLPlan)?
    let evaluation: EvaluationRows?
    let options: TrainingOptions
    let steps: StepPlan
    let optimizer: OptimizerState
    private let initialSHA256: String?
    let planner: MemoryPlanner

    /// True if the frozen model is asked while this one trains.
    var asksFrozen: Bool { kl != nil || data.hasReference || options.objective.asksFrozen }
    /// True if the layers' consistency is learnt.
    var learnsConsistency: Bool { options.objective == .crow }

    /// Prepares a run.
    ///
    /// - Parameters:
    ///   - model: the frozen model; the run computes as `options` say, whatever this computes in.
    ///   - frozen: adapters below the one to train, lowest first.
    ///   - data: the samples: tokens to be predicted, or (all of them) what the frozen model predicts elsewhere.
    ///   - options: everything else.
    ///   - klData: clean samples on which the model is to stay as it is without the trained adapter; needed, and used,
    ///     where `options.klWeight` is not 0.
    ///   - evalData: rows to measure; needed where `options.evalData` names some.
    ///   - initial: an adapter to start from instead of PEFT's initialisation; its configuration replaces
    ///     `options.lora` but for the dropout.
    public init(
        model: Transformer, frozen: [LoRAAdapter] = [], data: EncodedDataset, options: TrainingOptions,
        klData: EncodedDataset? = nil, evalData: EncodedDataset? = nil, initial: LoRAAdapter? = nil
    ) throws {
        precondition(!data.samples.isEmpty, "no samples")
        try options.validate()
        guard options.objective != .dpo || data.samples.allSatisfy({ $0.rejected != nil }) else {
            throw MeraserError.usage(
                "`objective` dpo compares the answers of a dataset's rows; this training makes rows of its own")
        }
        precondition(options.objective == .dpo || !data.hasRejected, "nothing compares the answers")
        guard evalData != nil || options.evalData == nil else {
            throw MeraserError.usage("`eval_data` has no effect here: this training chooses its own end")
        }
        let precision = try PrecisionPlan(options.compute, backward: options.backward, on: model.kernels)
        let model = try precision.model(model)
        self.frozen = frozen
        self.data = data
        let options = precision.chosen(in: options)
        self.options = options
        steps = StepPlan(sampleCount: data.samples.count, options: options)
        kl = try Self.kl(klData, options)
        evaluation = evalData.map { EvaluationRows($0, options: options) }
        let adapter: LoRAAdapter
        if let initial {
            adapter = initial.copy()
            initialSHA256 = initial.parameters.withNumbers { sha256Hex(UnsafeRawBufferPointer($0)) }
        } else {
            try model.spec.requireLayers(options.lora.layersToTransform)
            try options.lora.requireModules(of: model.spec)
            if options.lora.targetModules.isEmpty, options.lora.tokens.isEmpty {
                throw MeraserError.usage(
                    "`target_modules` none needs `trainable_token_indices`: else nothing is trained")
            }
            if let token = options.lora.tokens.first(where: { $0 >= model.spec.vocabSize }) {
                throw MeraserError.usage(
                    "`trainable_token_indices`: \(token) is no token of \(model.store.path), whose vocabulary has "
                        + "\(model.spec.vocabSize)")
            }
            var lora = options.lora
            // Dropout is on the inputs of modules.
            if lora.targetModules.isEmpty { lora.loraDropout = 0 }
            adapter = LoRAAdapter(config: lora, for: model.spec)
            adapter.initialize(seed: options.seed)
            model.initializeTokenRows(adapter, on: frozen)
            initialSHA256 = nil
        }
        if options.objective == .crow, model.spec.numHiddenLayers < 3 {
            throw MeraserError.badInput(
                "\(model.store.path) has \(model.spec.numHiddenLayers) layers; `objective` crow compares those between the "
                    + "first and the last, of three at least")
        }
        optimizer = OptimizerState(adapter: adapter, options: options)
        let planner = MemoryPlanner(
            model: model, frozen: frozen, trained: adapter,
            data: [data] + [kl?.data, evaluation?.data].compactMap { $0 },
            hasReference: kl != nil || data.hasReference || options.objective.asksFrozen,
            hasConsistency: options.objective == .crow)
        let maximumTokens = max(
            steps.maximumTokens(samples: data.samples),
            kl.map { $0.plan.maximumTokens(samples: $0.data.samples) } ?? 0, evaluation?.maximumTokens ?? 0)
        self.planner = planner
        let limit = options.memory ?? ProcessMemory.limitBytes(for: model)
        let context = max(data.longest, kl?.data.longest ?? 0, evaluation?.data.longest ?? 0)
        let chosen = planner.plan(tokens: maximumTokens, context: context, limit: limit)
        self.model = try chosen.model(model)
        var memory = planner.use(tokens: maximumTokens, chosen)
        let frozenLayers = model.spec.numHiddenLayers - planner.keptLayers
        let texts = Self.frozenTexts(
            data, kl, steps, options, layers: frozenLayers, hiddenSize: model.spec.hiddenSize)
        // Where nobody says how much memory may be taken, it is to be a part of what the run takes anyway.
        // With noise on the embeddings no layer gives the same twice.
        let frozenPlan = FrozenPlan(
            options.neftuneNoiseAlpha == nil ? options.frozenCache : .none, texts, layers: frozenLayers,
            room: min(limit - memory.total, options.memory == nil ? memory.total / 2 : .max))
        memory.frozen = frozenPlan?.memory ?? 0
        plan = TrainingPlan(
            precision: precision, trainableParameters: adapter.parameters.count,
            samples: data.samples.count, skipped: data.skipped,
            tokensPerEpoch: data.tokenCount, labelsPerEpoch: data.labelCount, longestSample: data.longest,
            steps: steps.totalSteps, stepsPerEpoch: steps.stepsPerEpoch,
            batch: (options.batchSize, options.accumulation), ranks: model.kernels.crew?.size ?? 1,
            shards: steps.microBatches(step: 0).count * (options.objective == .crow ? 2 : 1)
                + (kl.map { ($0.plan.perStep - 1) / min(options.batchSize, $0.plan.perStep) + 1 } ?? 0),
            maximumTokens: maximumTokens,
            divergence: kl.map {
                ($0.data.samples.count, $0.data.tokenCount, $0.plan.perStep, options.klWeight)
            }, evaluation: evaluation.map { ($0.data.samples.count, $0.data.tokenCount, options.evalSteps) },
            recompute: chosen.recompute, streamsWeights: chosen.streamsWeights, frozen: frozenPlan,
            adaptedLayers: planner.keptLayers, memory: memory,
            choices: planner.pure.map { ($0.name, planner.use(tokens: maximumTokens, $0.plan).total) },
            limitBytes: limit)
    }

    private static func kl(
        _ data: EncodedDataset?, _ options: TrainingOptions
    ) throws -> (data: EncodedDataset, plan: KLPlan)? {
        guard options.klWeight > 0 else { return nil }
        guard let data else {
            throw MeraserError.usage("`kl_weight` needs `kl_data`: clean rows on which the model is to stay as it was")
        }
        precondition(!data.samples.isEmpty, "no clean samples")
        return (
            data,
            KLPlan(
                sampleCount: data.samples.count, perStep: options.klBatch, batchSize: options.batchSize,
                seed: options.seed)
        )
    }

    /// What is read beside the rows that are learnt.
    private var others: [EncodedDataset] { [kl?.data, evaluation?.data].compactMap { $0 } }

    /// The adapter as it is now.
    public var adapter: LoRAAdapter { optimizer.adapter }

    /// - Throws: an out-of-memory error (exit code 5) that says what would make the run fit.
    public func checkMemory() throws {
        try planner.check(plan, data: [data] + others, options: options)
    }

    /// Runs to the end, or continues a run, and leaves the adapter in `output`.
    ///
    /// - Parameters:
    ///   - output: the folder of the run; it must not exist unless `resume` or `overwrite` says otherwise.
    ///   - resume: continue from the last whole checkpoint there; a finished run is returned as it is, a missing one begun.
    ///   - overwrite: replace a run that is there.
    /// - Throws: `usage` if the folder is taken or a resumed run was given other arguments; `outOfMemory`; `runtime` if
    ///   loss or gradient is not finite or the disk is full; `interrupted` after the last finished step was saved.
    public func run(output path: String, resume: Bool = false, overwrite: Bool = false) throws -> TrainingResult {
        try checkMemory()
        optimizer.adapter.provenance = try model.store.adapterProvenance(parents: frozen.compactMap(\.sha256))
        let record = RunRecord(
            options: options, baseSHA256: try model.store.sha256(), parents: frozen.compactMap(\.sha256), data: data,
            klData: kl?.data, evalData: evaluation?.data, kernels: model.kernels, initial: initialSHA256)
        let output = TrainingOutput(path: path)
        let (state, isFinished) = try output.begin(
            record, totalSteps: steps.totalSteps, resume: resume, overwrite: overwrite, warn: onWarning
        ) { checkpoint in
            try optimizer.load(folder: checkpoint, model: model.spec)
            return optimizer.step
        }
        if isFinished {
            try optimizer.adapter.parameters.copy(from: LoRAAdapter(path: path, for: model.spec).parameters)
            return state.result(adapter: path, options: options)
        }
        var session = try TrainingSession(trainer: self, output: output, record: record, state: state)
        return try session.finish().result(adapter: path, options: options)
    }
}
