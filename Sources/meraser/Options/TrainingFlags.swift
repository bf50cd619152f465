import ArgumentParser
import Kernels
import Pipeline
import Quant
import Tune

/// The flags of training, in the words of Trainer and PEFT; each is a `TrainingKey` under its flag.
struct TrainingFlags: ParsableArguments {
    @Option(
        help: "A named set of options: meraser-erase, meraser-recover, osft, sande, or none for Trainer's defaults.")
    var preset: String?
    @Option(help: "A YAML file with options under these names, underscores for dashes; flags win.", completion: .file())
    var config: String?

    @Option(help: help("r")) var r: String?
    @Option(help: help("lora_alpha")) var loraAlpha: String?
    @Option(help: help("lora_dropout")) var loraDropout: String?
    @Option(help: help("target_modules")) var targetModules: String?
    @Flag(help: help("use_rslora")) var useRslora = false
    @Option(help: help("learning_rate")) var learningRate: String?
    @Option(help: help("lr_scheduler_type")) var lrSchedulerType: String?
    @Option(help: help("warmup_ratio")) var warmupRatio: String?
    @Option(help: help("num_train_epochs")) var numTrainEpochs: String?
    @Option(help: help("max_steps")) var maxSteps: String?
    @Option(help: help("per_device_train_batch_size")) var perDeviceTrainBatchSize: String?
    @Option(help: help("gradient_accumulation_steps")) var gradientAccumulationSteps: String?
    @Option(help: help("weight_decay")) var weightDecay: String?
    @Option(help: help("adam_beta2")) var adamBeta2: String?
    @Option(help: help("max_grad_norm")) var maxGradNorm: String?
    @Option(help: help("loss")) var loss: String?
    @Option(help: help("loss_mean")) var lossMean: String?
    @Option(help: help("kl_weight")) var klWeight: String?
    @Option(help: help("kl_data"), completion: .file()) var klData: String?
    @Option(help: help("kl_batch")) var klBatch: String?
    @Flag(inversion: .prefixedNo, help: help("bos")) var bos: Bool?
    @Flag(inversion: .prefixedNo, help: help("eos")) var eos: Bool?
    @Option(help: help("separator")) var separator: String?
    @Option(help: help("max_prompt_length")) var maxPromptLength: String?
    @Option(help: help("max_completion_length")) var maxCompletionLength: String?
    @Option(help: help("max_length")) var maxLength: String?
    @Flag(help: help("no_shuffle")) var noShuffle = false
    @Option(help: help("key"), completion: .file()) var key: String?
    @Option(help: help("check_steps")) var checkSteps: String?
    @Option(help: help("until")) var until: String?
    @Option(help: help("logging_steps")) var loggingSteps: String?
    @Option(help: help("save_steps")) var saveSteps: String?
    @Option(help: help("save_total_limit")) var saveTotalLimit: String?
    @Option(help: help("memory")) var memory: String?

    /// The files that training reads besides its data.
    var inputs: [String] { [config, klData, key].compactMap { $0 } }

    private static func help(_ name: String) -> ArgumentHelp {
        ArgumentHelp(stringLiteral: TrainingKey.named(name)?.help ?? "")
    }

    /// The options of these flags over `--config` over the preset, `standard` unless `--preset` names another.
    ///
    /// - Throws: usage errors that name flag or key.
    func options(
        standard: TrainingPreset?, base: TrainingOptions = TrainingOptions(), common: CommonOptions,
        model: ModelOptions
    ) throws -> TrainingOptions {
        let preset = try preset.map { $0 == "none" ? nil : try TrainingPreset.named($0) } ?? standard
        let file = try config.map { try trainingOverrides(yamlFile: $0) } ?? TrainingOverrides()
        var options = base
        try preset?.overrides.apply(to: &options)
        try file.merging(try overrides(common: common, model: model)).apply(to: &options)
        try options.validate()
        return options
    }

    private func overrides(common: CommonOptions, model: ModelOptions) throws -> TrainingOverrides {
        var result = TrainingOverrides()
        for (name, text) in texts {
            if let text { try result.set(name, text: text) }
        }
        if useRslora { try result.set("use_rslora", .bool(true)) }
        if noShuffle { try result.set("no_shuffle", .bool(true)) }
        if let bos { try result.set("bos", .bool(bos)) }
        if let eos { try result.set("eos", .bool(eos)) }
        if let seed = common.seed { try result.set("seed", .integer(Int(clamping: seed))) }
        if let compute = model.compute { try result.set("compute", .text(compute.rawValue)) }
        return result
    }

    private var texts: [(name: String, text: String?)] {
        [
            ("r", r), ("lora_alpha", loraAlpha), ("lora_dropout", loraDropout), ("target_modules", targetModules),
            ("learning_rate", learningRate), ("lr_scheduler_type", lrSchedulerType), ("warmup_ratio", warmupRatio),
            ("num_train_epochs", numTrainEpochs), ("max_steps", maxSteps),
            ("per_device_train_batch_size", perDeviceTrainBatchSize),
            ("gradient_accumulation_steps", gradientAccumulationSteps), ("weight_decay", weightDecay),
            ("adam_beta2", adamBeta2), ("max_grad_norm", maxGradNorm), ("loss", loss), ("loss_mean", lossMean),
            ("kl_weight", klWeight), ("kl_data", klData), ("kl_batch", klBatch), ("separator", separator),
            ("max_prompt_length", maxPromptLength), ("max_completion_length", maxCompletionLength),
            ("max_length", maxLength), ("key", key), ("check_steps", checkSteps), ("until", until),
            ("logging_steps", loggingSteps), ("save_steps", saveSteps), ("save_total_limit", saveTotalLimit),
            ("memory", memory),
        ]
    }
}
