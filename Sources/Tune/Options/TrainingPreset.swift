import Base

/// Named sets of options. Batches are the papers' effective ones: they ran one sample on each of several processes.
public enum TrainingPreset: String, Sendable, CaseIterable {
    /// MEraser's erasure (`cf.py`): mismatched pairs, 8 samples a step, constant rate. The script also gives a warm-up
    /// ratio of 0.1, which transformers ignores for this schedule.
    case meraserErase = "meraser-erase"
    /// MEraser's recovery (`recover.py`): clean pairs with a newline behind the question, 36 samples a step.
    case meraserRecover = "meraser-recover"
    /// SANDE's overwriting of a known trigger (OSFT): its code's batch, schedule, clipping and AdamW. It tunes all weights
    /// at 5e-6; adapter and rate are ours.
    case osft
    /// SANDE's second stage; as `osft`.
    case sande
    /// NPO's forgetting of known pairs: its paper's β, batch, epochs, warm-up and decay. It tunes all weights at 1e-5; adapter
    /// and rate are ours.
    case npo
    /// CROW's consistency finetuning on clean pairs, as its scripts have it: LoRA, rate, schedule, batch, epochs, α and ε.
    case crow
    /// Direct preference optimisation as TRL's DPOConfig has it (β, loss, batch, epochs, schedule); adapter and rate, which
    /// TRL names for LoRA, are ours.
    case dpo

    /// The options that the preset sets.
    public var overrides: TrainingOverrides {
        get throws {
            let values =
                switch self {
                case .meraserErase, .meraserRecover: meraser
                case .osft, .sande: sande
                case .npo: npo
                case .crow: crow
                case .dpo: dpo
                }
            return try TrainingOverrides(values, source: "preset \(rawValue)")
        }
    }

    private var meraser: [(key: String, value: JSONValue)] {
        let shared: [(key: String, value: JSONValue)] = [
            ("lora_dropout", .real(0.05)), ("target_modules", .text("q_proj,v_proj")),
            ("use_rslora", .bool(false)), ("learning_rate", .real(5e-4)), ("warmup_ratio", .real(0)),
            ("per_device_train_batch_size", .integer(1)), ("weight_decay", .real(0)), ("loss", .text("full")),
            ("loss_mean", .text("token")), ("bos", .bool(false)), ("eos", .bool(false)),
            ("max_prompt_length", .integer(256)), ("max_completion_length", .integer(256)),
            ("no_shuffle", .bool(false)), ("max_steps", .null),
        ]
        if self == .meraserErase {
            return shared + [
                ("r", .integer(8)), ("lora_alpha", .real(16)), ("lr_scheduler_type", .text("constant")),
                ("num_train_epochs", .real(5)), ("gradient_accumulation_steps", .integer(8)),
                ("max_grad_norm", .real(0.5)), ("separator", .text("")),
            ]
        }
        return shared + [
            ("r", .integer(16)), ("lora_alpha", .real(32)), ("lr_scheduler_type", .text("cosine")),
            ("num_train_epochs", .real(2)), ("gradient_accumulation_steps", .integer(36)),
            ("max_grad_norm", .real(1)), ("separator", .text("\n")),
        ]
    }

    private var sande: [(key: String, value: JSONValue)] {
        [
            ("r", .integer(16)), ("lora_alpha", .real(32)), ("lora_dropout", .real(0)),
            ("target_modules", .text("all-linear")), ("use_rslora", .bool(false)), ("learning_rate", .real(2e-4)),
            ("lr_scheduler_type", .text("cosine")), ("warmup_ratio", .real(0.03)), ("num_train_epochs", .real(1)),
            ("per_device_train_batch_size", .integer(4)), ("gradient_accumulation_steps", .integer(1)),
            ("weight_decay", .real(0)), ("adam_beta2", .real(0.95)), ("max_grad_norm", .real(1)),
            ("loss", .text("completion")), ("loss_mean", .text("token")), ("bos", .null), ("eos", .bool(true)),
            ("max_length", .null), ("no_shuffle", .bool(false)), ("max_steps", .null),
        ]
    }

    private var npo: [(key: String, value: JSONValue)] {
        [
            ("objective", .text("npo")), ("npo_beta", .real(0.1)),
            ("r", .integer(16)), ("lora_alpha", .real(32)), ("lora_dropout", .real(0)),
            ("target_modules", .text("all-linear")), ("use_rslora", .bool(false)), ("learning_rate", .real(2e-4)),
            ("lr_scheduler_type", .text("linear")), ("warmup_ratio", .real(0.1)), ("num_train_epochs", .real(10)),
            ("per_device_train_batch_size", .integer(8)), ("gradient_accumulation_steps", .integer(4)),
            ("weight_decay", .real(0.01)), ("max_grad_norm", .real(1)), ("loss", .text("completion")),
            ("loss_mean", .text("sample")), ("no_shuffle", .bool(false)), ("max_steps", .null),
        ]
    }

    private var dpo: [(key: String, value: JSONValue)] {
        [
            ("objective", .text("dpo")), ("dpo_beta", .real(0.1)), ("dpo_loss_type", .text("sigmoid")),
            ("r", .integer(16)), ("lora_alpha", .real(32)), ("lora_dropout", .real(0)),
            ("target_modules", .text("all-linear")), ("use_rslora", .bool(false)), ("learning_rate", .real(1e-5)),
            ("lr_scheduler_type", .text("linear")), ("warmup_ratio", .real(0)), ("num_train_epochs", .real(3)),
            ("per_device_train_batch_size", .integer(8)), ("gradient_accumulation_steps", .integer(1)),
            ("weight_decay", .real(0)), ("max_grad_norm", .real(1)), ("loss", .text("completion")),
            ("loss_mean", .text("sample")), ("no_shuffle", .bool(false)), ("max_steps", .null),
        ]
    }

    private var crow: [(key: String, value: JSONValue)] {
        [
            ("objective", .text("crow")), ("crow_alpha", .real(5.5)), ("crow_epsilon", .real(0.1)),
            ("r", .integer(8)), ("lora_alpha", .real(16)), ("lora_dropout", .real(0)),
            ("target_modules", .text("all-linear")), ("use_rslora", .bool(false)), ("learning_rate", .real(1e-3)),
            ("lr_scheduler_type", .text("cosine")), ("warmup_ratio", .real(0.1)), ("num_train_epochs", .real(5)),
            ("per_device_train_batch_size", .integer(2)), ("gradient_accumulation_steps", .integer(4)),
            ("weight_decay", .real(0)), ("max_grad_norm", .real(1)), ("loss", .text("completion")),
            ("loss_mean", .text("token")), ("no_shuffle", .bool(false)), ("max_steps", .null),
        ]
    }

    /// The preset of that name. Throws a usage error that lists them.
    public static func named(_ name: String) throws -> TrainingPreset {
        guard let preset = TrainingPreset(rawValue: name) else {
            let names = allCases.map(\.rawValue).joined(separator: " ")
            throw MeraserError.usage("`preset` \(name): unknown, expected one of \(names)")
        }
        return preset
    }
}

extension TrainingOptions {
    /// Options in layers: the defaults, a preset over them, a `--config` file over that, flags over everything.
    public init(preset: TrainingPreset?, config: TrainingOverrides = .init(), flags: TrainingOverrides = .init()) throws
    {
        self.init()
        try apply(preset, and: config.merging(flags))
        try validate()
    }

    /// Puts a preset over these options, and `overrides` over it. A batch that says nothing of accumulation is a whole step:
    /// whoever asks for 16 samples does not mean 16 times what the preset adds up.
    public mutating func apply(_ preset: TrainingPreset?, and overrides: TrainingOverrides) throws {
        try preset?.overrides.apply(to: &self)
        if overrides.values["per_device_train_batch_size"] != nil { accumulation = 1 }
        try overrides.apply(to: &self)
        let own = TrainingKey.Group.adapter.keys.map(\.name).filter { $0 != "init_adapter" }
        if initAdapter != nil, let name = own.first(where: { overrides.values[$0] != nil }) {
            throw MeraserError.usage("`\(name)` is what the adapter of `init_adapter` says; leave it out")
        }
    }
}
