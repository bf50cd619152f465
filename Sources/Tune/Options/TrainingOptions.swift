import Base
import Kernels
import Model

/// Everything that defines a training run apart from model, adapters, data and output, in the words of Trainer and PEFT.
///
/// The defaults are theirs. `TrainingKey.all` lists the names under which command lines, YAML files and presets set them.
public struct TrainingOptions: Sendable, Equatable {
    /// `r`, `lora_alpha`, `lora_dropout`, `target_modules`, `layers_to_transform`, `exclude_modules`,
    /// `trainable_token_indices`, `use_rslora`.
    public var lora = LoRAConfig(r: 8, loraAlpha: 8, loraDropout: 0)
    /// `learning_rate`: the peak.
    public var learningRate = 5e-5
    /// `lr_scheduler_type`.
    public var schedule = LearningRateSchedule.Kind.linear
    /// `lr_scheduler_kwargs`: the schedule's own settings.
    public var scheduleSettings = JSONObject()
    /// `warmup_ratio`: share of the steps.
    public var warmupRatio = 0.0
    /// `warmup_steps`: overrides the ratio; nil: not set.
    public var warmupSteps: Int?
    /// `num_train_epochs`; fractions are allowed.
    public var epochs = 3.0
    /// `max_steps`: overrides the epochs; nil or −1 in files: not set.
    public var maxSteps: Int?
    /// `per_device_train_batch_size`: samples of a micro-batch.
    public var batchSize = 8
    /// `gradient_accumulation_steps`: micro-batches of a step.
    public var accumulation = 1
    /// `weight_decay`.
    public var weightDecay = 0.0
    /// `adam_beta1`: decay of AdamW's first moment.
    public var adamBeta1 = 0.9
    /// `adam_beta2`: decay of AdamW's second moment.
    public var adamBeta2 = 0.999
    /// `adam_epsilon`: added to the root of AdamW's second moment.
    public var adamEpsilon = 1e-8
    /// `loraplus_lr_ratio`: rate of the factors B over that of the factors A; nil: one rate for all.
    public var loraPlusRatio: Double?
    /// `max_grad_norm`; 0: no clipping.
    public var maxGradNorm = 1.0
    /// `loss`, `bos`, `eos`, `separator`, `max_prompt_length`, `max_completion_length`, `max_length`, `remove_columns`.
    public var encoding = EncodingOptions()
    /// `kl_weight`: of the divergence from the frozen model on clean samples; 0: it is not learnt.
    public var klWeight = 0.0
    /// `kl_data`: a file with these samples.
    public var klData: String?
    /// `kl_batch`: so many of them in a step.
    public var klBatch = 8
    /// `neftune_noise_alpha`: strength of the noise on embeddings; nil: none.
    public var neftuneNoiseAlpha: Double?
    /// `objective`.
    public var objective = Objective.likelihood
    /// `npo_beta`: β of negative preference optimisation; nil: 0.1.
    public var npoBeta: Double?
    /// `crow_alpha`: weight of the layers' consistency; nil: 5.5.
    public var crowAlpha: Double?
    /// `crow_epsilon`: how far each number of the embeddings is moved; nil: 0.1.
    public var crowEpsilon: Double?
    /// `dpo_beta`: β of direct preference optimisation; nil: 0.1.
    public var dpoBeta: Double?
    /// `dpo_loss_type`: what a pair of answers costs; nil: sigmoid.
    public var dpoLossType: PreferenceLossType?
    /// `dpo_label_smoothing`: share of pairs that are taken to be the wrong way round; nil: 0.
    public var dpoLabelSmoothing: Double?
    /// `loss_mean`.
    public var lossMean = LossMean.token
    /// `shuffle`; `no_shuffle` in files.
    public var shuffle = true
    /// `seed`: of initialisation, order and dropout.
    public var seed: UInt64 = 42
    /// `compute`: precision of the products with the frozen weights; nil: what `KernelContext.trainingPrecision` says.
    public var compute: Compute?
    /// `backward`: the same of the backward; nil: as `compute`, or beside int8 what `trainingPrecision` says.
    public var backward: Compute?
    /// `key`: a key or pairs file to measure while training.
    public var key: String?
    /// `check_steps`: measure every so many steps.
    public var checkSteps: Int?
    /// `until`: stop when this expression over the measured values holds.
    public var until: String?
    /// `require_until`: fail where `until` never held.
    public var requireUntil = false
    /// `eval_data`: rows to measure the loss on while training.
    public var evalData: String?
    /// `eval_steps`: measure them every so many steps; nil: at the end only.
    public var evalSteps: Int?
    /// `early_stopping_patience`: measurements without a lower loss that end the run; nil: none does.
    public var earlyStoppingPatience: Int?
    /// `load_best`: the adapter with the lowest loss is the result.
    public var loadBest = false
    /// `init_adapter`: an adapter to go on with; its settings replace `lora`.
    public var initAdapter: String?
    /// `logging_steps`: steps from one line on the terminal to the next; the log file has every step.
    public var loggingSteps = 10
    /// `save_steps`: steps from one checkpoint to the next; 0: none but on interruption.
    public var saveSteps = 50
    /// `save_total_limit`: checkpoints that are kept; nil: all.
    public var saveTotalLimit: Int? = 2
    /// `report_to`: a program that the steps are written for too.
    public var reportTo = ReportTarget.none
    /// `memory`: bytes that the run may take; nil: what the machine has.
    public var memory: Int?
    /// `frozen_cache`: where what the layers below the lowest adapter compute is kept.
    public var frozenCache = FrozenCache.disk

    /// Trainer's and PEFT's defaults.
    public init() {}

    /// Samples of an optimiser step.
    public var effectiveBatchSize: Int { batchSize * accumulation }

    /// `klData` where its weight says that it is used.
    public var klDataInUse: String? { klWeight > 0 ? klData : nil }

    /// AdamW's part of them.
    var adamW: AdamWOptions {
        AdamWOptions(beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon, weightDecay: weightDecay)
    }

    /// What a step makes smaller, with its settings.
    var goal: Goal {
        switch objective {
        case .likelihood: .likelihood
        case .npo: .npo(beta: npoBeta ?? 0.1)
        case .crow: .crow(alpha: crowAlpha ?? 5.5, epsilon: crowEpsilon ?? 0.1)
        case .dpo:
            .dpo(
                DirectPreference(
                    loss: dpoLossType ?? .sigmoid, beta: dpoBeta ?? 0.1, labelSmoothing: dpoLabelSmoothing ?? 0))
        }
    }

    /// How rows that are learnt, or measured beside them, become samples.
    public var rowEncoding: EncodingOptions {
        var result = encoding
        result.comparesAnswers = objective == .dpo
        return result
    }

    /// Checks what no single value shows.
    ///
    /// - Throws: a usage error naming the keys.
    public func validate() throws {
        if checkSteps != nil, key == nil {
            throw MeraserError.usage("`check_steps` needs `key`: a key.json or pairs.jsonl to measure")
        }
        if until != nil, key == nil || checkSteps == nil {
            throw MeraserError.usage("`until` needs `key` and `check_steps`: what to measure, and how often")
        }
        if requireUntil, until == nil {
            throw MeraserError.usage("`require_until` needs `until`: the condition that has to hold")
        }
        for (name, isGiven) in [("eval_steps", evalSteps != nil)] + needsEvaluations where isGiven && evalData == nil {
            throw MeraserError.usage("`\(name)` needs `eval_data`: rows to measure")
        }
        for (name, isGiven) in needsEvaluations where isGiven && evalSteps == nil {
            throw MeraserError.usage("`\(name)` needs `eval_steps`: how often to measure")
        }
        if lora.targetModules.isEmpty, lora.excludeModules != nil {
            throw MeraserError.usage("`exclude_modules` has no effect with `target_modules` none")
        }
        if loadBest, until != nil {
            throw MeraserError.usage("`load_best` and `until` choose different adapters; leave one of them out")
        }
        if neftuneNoiseAlpha != nil, objective != .likelihood {
            throw MeraserError.usage(
                "`neftune_noise_alpha` has no effect with `objective` \(objective.rawValue); it goes with likelihood")
        }
        for (name, isGiven, owner) in [
            ("npo_beta", npoBeta != nil, Objective.npo), ("crow_alpha", crowAlpha != nil, .crow),
            ("crow_epsilon", crowEpsilon != nil, .crow), ("dpo_beta", dpoBeta != nil, .dpo),
            ("dpo_loss_type", dpoLossType != nil, .dpo), ("dpo_label_smoothing", dpoLabelSmoothing != nil, .dpo),
        ] where isGiven && objective != owner {
            throw MeraserError.usage(
                "`\(name)` has no effect with `objective` \(objective.rawValue); it goes with \(owner)")
        }
        if objective == .dpo, encoding.loss != .completion {
            throw MeraserError.usage("`objective` dpo compares answers: it needs `loss` completion")
        }
        if dpoLabelSmoothing != nil, dpoLossType != .robust {
            throw MeraserError.usage(
                "`dpo_label_smoothing` has no effect with `dpo_loss_type` \((dpoLossType ?? .sigmoid).rawValue); it goes with "
                    + "robust")
        }
        if lora.targetModules.isEmpty, !lora.layersToTransform.isEmpty {
            throw MeraserError.usage("`layers_to_transform` has no effect with `target_modules` none")
        }
        if lora.targetPattern != nil, !lora.layersToTransform.isEmpty {
            throw MeraserError.usage(
                "`layers_to_transform` has no effect where `target_modules` is an expression over whole paths")
        }
        if [.constant, .reduceOnPlateau].contains(schedule), warmupRatio > 0 || (warmupSteps ?? 0) > 0 {
            throw MeraserError.usage(
                "`\((warmupSteps ?? 0) > 0 ? "warmup_steps" : "warmup_ratio")` has no effect with `lr_scheduler_type` "
                    + schedule.rawValue + (schedule == .constant ? "; use constant_with_warmup" : ""))
        }
        _ = try LearningRateSchedule(options: self, totalSteps: 1)
    }

    /// Options that follow what `eval_data` gives on the way.
    private var needsEvaluations: [(name: String, isGiven: Bool)] {
        [
            ("early_stopping_patience", earlyStoppingPatience != nil), ("load_best", loadBest),
            ("lr_scheduler_type", schedule == .reduceOnPlateau),
        ]
    }

    /// Every option by its name, in the order of `TrainingKey.all`: the record of a run.
    public func json() -> JSONValue {
        .object(JSONObject(TrainingKey.all.map { (key: $0.name, value: $0.read(self)) }))
    }
}
