import Base
import Foundation
import Kernels
import Model
import Quant

/// One option of training under the name that YAML files use (`learning_rate`) and command lines with dashes
/// (`--learning-rate`): the single list behind flags, `--config` files, presets and the record of a run.
public struct TrainingKey: Sendable {
    /// The name with underscores.
    public let name: String
    /// What it means, for `--help`; other keys between backquotes (`SettingNames`).
    public let help: String
    /// How a command line sets it.
    public let form: Form
    /// True for what does not change the adapter: `--resume` may change it.
    public let isOperational: Bool
    /// Sets the option from a value; throws a usage error that says what was expected.
    let write: @Sendable (inout TrainingOptions, JSONValue) throws -> Void
    /// The option's value.
    let read: @Sendable (TrainingOptions) -> JSONValue

    /// How a command line sets an option.
    public enum Form: Sendable {
        /// `--r 8`.
        case value
        /// `--key key.json`: a file's path.
        case path
        /// `--use-rslora`: true where it stands, else as it was.
        case on
        /// `--bos` or `--no-bos`.
        case onOrOff
    }

    /// The flag on a command line: `--learning-rate`.
    public var flag: String { SettingNames.flag(name) }

    /// The value that it has in those options, as the record of a run shows it: of files the last component.
    public func value(in options: TrainingOptions) -> JSONValue { read(options) }

    /// The words of a command line that set the key to a value: what `TrainingOverrides.set(_:text:)` reads back.
    public func arguments(_ value: JSONValue) -> [String] {
        switch value {
        case .null: return []
        case .bool(let isOn):
            if form == .onOrOff { return [isOn ? flag : "--no-" + flag.dropFirst(2)] }
            return isOn ? [flag] : []
        case .array(let values):
            return [flag, values.map { $0.string ?? $0.serialized() }.joined(separator: ",")]
        default:
            var text = value.string ?? value.serialized()
            if name == "separator" { text = text.replacing("\n", with: "\\n").replacing("\t", with: "\\t") }
            // A value that begins with a dash would be taken for a flag.
            return text.hasPrefix("-") ? ["\(flag)=\(text)"] : [flag, text]
        }
    }

    /// The key of that name, or nil.
    public static func named(_ name: String) -> TrainingKey? { all.first { $0.name == name } }

    /// Keys that belong together, by the heading that a help text has for them.
    public enum Group: String, Sendable, CaseIterable {
        case adapter = "Adapter"
        case optimiser = "Optimiser"
        case objective = "What is learnt"
        case samples = "Samples"
        case measuring = "Measuring on the way"
        case running = "Logs, checkpoints, memory"

        /// Its keys, in the order of help texts.
        public var keys: [TrainingKey] {
            switch self {
            case .adapter: TrainingKey.adapterKeys
            case .optimiser: TrainingKey.optimiserKeys
            case .objective: TrainingKey.objectiveKeys
            case .samples: TrainingKey.samplesKeys
            case .measuring: TrainingKey.measuringKeys
            case .running: TrainingKey.runningKeys
            }
        }
    }

    /// All keys, in the order of help texts and records.
    public static let all: [TrainingKey] = Group.allCases.flatMap(\.keys)

    private static let adapterKeys: [TrainingKey] = [
        .int("r", "LoRA rank", 1...4096, \.lora.r),
        .real("lora_alpha", "LoRA alpha; the adapter is scaled by alpha / r", -1e6...1e6, \.lora.loraAlpha),
        .real("lora_dropout", "dropout on the LoRA input", 0...0.99, \.lora.loraDropout),
        .targetModules,
        .layersToTransform,
        .excludeModules,
        .tokens,
        .flag("use_rslora", "scale by alpha / sqrt(r)", \.lora.useRSLoRA),
        .file(
            "init_adapter", "an adapter to go on with, as PEFT's from_pretrained takes it: its settings are the run's",
            \.initAdapter),
    ]

    private static let optimiserKeys: [TrainingKey] = [
        .real("learning_rate", "peak learning rate", 0...10, \.learningRate),
        .choice("lr_scheduler_type", "learning rate schedule", \.schedule),
        .scheduleSettings,
        .real("warmup_ratio", "share of the steps that warm up", 0...1, \.warmupRatio),
        .optionalInt("warmup_steps", "steps that warm up; overrides the ratio", 0...1_000_000_000, \.warmupSteps),
        .real("num_train_epochs", "passes over the data", 1e-6...1e6, \.epochs),
        .optionalInt("max_steps", "optimiser steps; overrides the epochs", 1...1_000_000_000, none: -1, \.maxSteps),
        .int("per_device_train_batch_size", "samples of a forward and backward", 1...65_536, \.batchSize),
        .int("gradient_accumulation_steps", "forwards and backwards of a step", 1...65_536, \.accumulation),
        .real("weight_decay", "AdamW's decoupled weight decay", 0...100, \.weightDecay),
        .real("adam_beta1", "decay of AdamW's first moment", 0...0.999999, \.adamBeta1),
        .real("adam_beta2", "decay of AdamW's second moment", 0...0.999999, \.adamBeta2),
        .real("adam_epsilon", "added to the root of AdamW's second moment", 0...1, \.adamEpsilon),
        .optionalReal(
            "loraplus_lr_ratio", "LoRA+: B learns so many times as fast as A (default: 1)", 1e-3...1e6,
            \.loraPlusRatio),
        .real("max_grad_norm", "clip gradients to this norm; 0: never", 0...1e9, \.maxGradNorm),
    ]

    private static let objectiveKeys: [TrainingKey] = [
        .choice("loss", "learn the full sequence or the completion", \.encoding.loss),
        .choice(
            "objective",
            "what becomes of the rows: likelier, unlikelier (npo), likelier and steadier (crow), or what was chosen likelier "
                + "beside what was rejected (dpo)",
            \.objective),
        .optionalReal("npo_beta", "beta of npo (default: 0.1)", 1e-6...1e6, \.npoBeta),
        .optionalReal("crow_alpha", "weight of crow's consistency of layers (default: 5.5)", 0...1e6, \.crowAlpha),
        .optionalReal("crow_epsilon", "how far crow moves embeddings (default: 0.1)", 0...1e6, \.crowEpsilon),
        .optionalReal("dpo_beta", "beta of dpo (default: 0.1)", 1e-6...1e6, \.dpoBeta),
        .optionalChoice("dpo_loss_type", "what a pair of answers costs with dpo (default: sigmoid)", \.dpoLossType),
        .optionalReal(
            "dpo_label_smoothing", "share of pairs that robust takes to be the wrong way round (default: 0)", 0...0.499,
            \.dpoLabelSmoothing),
        .choice("loss_mean", "mean over all label tokens of a step or over its samples", \.lossMean),
        .real(
            "kl_weight", "weight of the divergence from the model as it was, on `kl_data`; 0: none", 0...1e6,
            \.klWeight),
        .dataset("kl_data", "clean rows on which the model is to stay as it was, as `data`", \.klData),
        .int("kl_batch", "rows of `kl_data` in a step", 1...65_536, \.klBatch),
        .optionalReal(
            "neftune_noise_alpha", "NEFTune: noise on the embeddings, of alpha / sqrt(tokens x hidden size)",
            1e-6...1e6,
            \.neftuneNoiseAlpha),
    ]

    private static let samplesKeys: [TrainingKey] = [
        .optionalFlag("bos", "begin samples with BOS", \.encoding.bos),
        .optionalFlag("eos", "end samples with EOS", \.encoding.eos),
        .optionalText("separator", "text between prompt and completion", \.encoding.separator),
        .optionalInt("max_prompt_length", "tokens kept of a prompt", 1...16_777_216, \.encoding.maxPromptLength),
        .optionalInt(
            "max_completion_length", "tokens kept of a completion", 1...16_777_216, \.encoding.maxCompletionLength),
        .optionalInt("max_length", "tokens kept of a sample", 2...16_777_216, \.encoding.maxLength),
        .removeColumns,
        .noShuffle,
        .seed,
        .optionalChoice(
            "compute", "precision of the frozen weights' products (default: the faster of f32 and bf16 on this CPU)",
            \.compute),
        .optionalChoice(
            "backward", "the same of the backward (default: as `compute`; beside int8 the faster of f32 and bf16)",
            \.backward),
    ]

    private static let measuringKeys: [TrainingKey] = [
        .file("key", "key.json or pairs.jsonl to measure while training", \.key),
        .optionalInt("check_steps", "measure the key every so many steps", 1...1_000_000_000, \.checkSteps),
        .optionalText("until", "stop when this holds, such as 'fsr==0 && prefix_match<0.1'", \.until),
        .flag("require_until", "fail (status 4) if `until` never held", isOperational: true, \.requireUntil),
        .dataset("eval_data", "rows whose loss is measured while training, as `data`; never learnt", \.evalData),
        .optionalInt(
            "eval_steps", "measure `eval_data` every so many steps (default: at the end)", 1...1_000_000_000,
            \.evalSteps),
        .optionalInt(
            "early_stopping_patience", "stop when the loss on `eval_data` has not improved so many times",
            1...1_000_000,
            \.earlyStoppingPatience),
        .flag("load_best", "keep the adapter with the least loss on `eval_data`, not the last one", \.loadBest),
    ]

    private static let runningKeys: [TrainingKey] = [
        .int("logging_steps", "steps from line to line", 1...1_000_000_000, isOperational: true, \.loggingSteps),
        .int(
            "save_steps", "steps from checkpoint to checkpoint; 0: none", 0...1_000_000_000, isOperational: true,
            \.saveSteps),
        .optionalInt(
            "save_total_limit", "checkpoints that are kept", 1...1_000_000, isOperational: true, \.saveTotalLimit),
        .choice(
            "report_to", "also write the steps for this program: tensorboard (into `out`/runs), or none",
            isOperational: true, \.reportTo),
        .memory,
        .choice(
            "frozen_cache",
            "where what the frozen model computes the same in every epoch is kept: in memory as far as there is room and "
                + "past it in a file in `out` (disk), memory only, or none",
            isOperational: true, \.frozenCache),
    ]
}
