import Base
import Kernels
import Model

/// Everything that defines a training run apart from model, adapters, data and output, in the words of Trainer and PEFT.
///
/// The defaults are theirs. `TrainingKey.all` lists the names under which command lines, YAML files and presets set them.
public struct TrainingOptions: Sendable, Equatable {
    /// `r`, `lora_alpha`, `lora_dropout`, `target_modules`, `layers_to_transform`, `use_rslora`.
    public var lora = LoRAConfig(r: 8, loraAlpha: 8, loraDropout: 0)
    /// `learning_rate`: the peak.
    public var learningRate = 5e-5
    /// `lr_scheduler_type`.
    public var schedule = LearningRateSchedule.Kind.linear
    /// `warmup_ratio`: share of the steps.
    public var warmupRatio = 0.0
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
    /// `adam_beta2`: decay of AdamW's second moment.
    public var adamBeta2 = 0.999
    /// `max_grad_norm`; 0: no clipping.
    public var maxGradNorm = 1.0
    /// `loss`, `bos`, `eos`, `separator`, `max_prompt_length`, `max_completion_length`, `max_length`.
    public var encoding = EncodingOptions()
    /// `kl_weight`: of the divergence from the frozen model on clean samples; 0: it is not learnt.
    public var klWeight = 0.0
    /// `kl_data`: a file with these samples.
    public var klData: String?
    /// `kl_batch`: so many of them in a step.
    public var klBatch = 8
    /// `objective`.
    public var objective = Objective.likelihood
    /// `npo_beta`: β of negative preference optimisation; nil: 0.1.
    public var npoBeta: Double?
    /// `crow_alpha`: weight of the layers' consistency; nil: 5.5.
    public var crowAlpha: Double?
    /// `crow_epsilon`: how far each number of the embeddings is moved; nil: 0.1.
    public var crowEpsilon: Double?
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

    /// What a step makes smaller, with its settings.
    var goal: Goal {
        switch objective {
        case .likelihood: .likelihood
        case .npo: .npo(beta: npoBeta ?? 0.1)
        case .crow: .crow(alpha: crowAlpha ?? 5.5, epsilon: crowEpsilon ?? 0.1)
        }
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
        for (name, isGiven, owner) in [
            ("npo_beta", npoBeta != nil, Objective.npo), ("crow_alpha", crowAlpha != nil, .crow),
            ("crow_epsilon", crowEpsilon != nil, .crow),
        ] where isGiven && objective != owner {
            throw MeraserError.usage(
                "`\(name)` has no effect with `objective` \(objective.rawValue); it goes with \(owner)")
        }
        if lora.targetModules.isEmpty, !lora.layersToTransform.isEmpty {
            throw MeraserError.usage("`layers_to_transform` has no effect with `target_modules` none")
        }
        if schedule == .constant, warmupRatio > 0 {
            throw MeraserError.usage(
                "`warmup_ratio` has no effect with `lr_scheduler_type` constant; use constant_with_warmup")
        }
    }

    /// Every option by its name, in the order of `TrainingKey.all`: the record of a run.
    public func json() -> JSONValue {
        .object(JSONObject(TrainingKey.all.map { (key: $0.name, value: $0.read(self)) }))
    }
}
