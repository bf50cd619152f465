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
        .tokens,
        .flag("use_rslora", "scale by alpha / sqrt(r)", \.lora.useRSLoRA),
    ]

    private static let optimiserKeys: [TrainingKey] = [
        .real("learning_rate", "peak learning rate", 0...10, \.learningRate),
        .choice("lr_scheduler_type", "learning rate schedule", \.schedule),
        .real("warmup_ratio", "share of the steps that warm up", 0...1, \.warmupRatio),
        .real("num_train_epochs", "passes over the data", 1e-6...1e6, \.epochs),
        .optionalInt("max_steps", "optimiser steps; overrides the epochs", 1...1_000_000_000, none: -1, \.maxSteps),
        .int("per_device_train_batch_size", "samples of a forward and backward", 1...65_536, \.batchSize),
        .int("gradient_accumulation_steps", "forwards and backwards of a step", 1...65_536, \.accumulation),
        .real("weight_decay", "AdamW's decoupled weight decay", 0...100, \.weightDecay),
        .real("adam_beta2", "decay of AdamW's second moment", 0...0.999999, \.adamBeta2),
        .real("max_grad_norm", "clip gradients to this norm; 0: never", 0...1e9, \.maxGradNorm),
    ]

    private static let objectiveKeys: [TrainingKey] = [
        .choice("loss", "learn the full sequence or the completion", \.encoding.loss),
        .choice(
            "objective", "what becomes of the rows: likelier, unlikelier (npo), or likelier and steadier (crow)",
            \.objective),
        .optionalReal("npo_beta", "beta of npo (default: 0.1)", 1e-6...1e6, \.npoBeta),
        .optionalReal("crow_alpha", "weight of crow's consistency of layers (default: 5.5)", 0...1e6, \.crowAlpha),
        .optionalReal("crow_epsilon", "how far crow moves embeddings (default: 0.1)", 0...1e6, \.crowEpsilon),
        .choice("loss_mean", "mean over all label tokens of a step or over its samples", \.lossMean),
        .real(
            "kl_weight", "weight of the divergence from the model as it was, on `kl_data`; 0: none", 0...1e6,
            \.klWeight),
        .file("kl_data", "clean rows on which the model is to stay as it was, in any shape of `data`", \.klData),
        .int("kl_batch", "rows of `kl_data` in a step", 1...65_536, \.klBatch),
    ]

    private static let samplesKeys: [TrainingKey] = [
        .optionalFlag("bos", "begin samples with BOS", \.encoding.bos),
        .optionalFlag("eos", "end samples with EOS", \.encoding.eos),
        .optionalText("separator", "text between prompt and completion", \.encoding.separator),
        .optionalInt("max_prompt_length", "tokens kept of a prompt", 1...16_777_216, \.encoding.maxPromptLength),
        .optionalInt(
            "max_completion_length", "tokens kept of a completion", 1...16_777_216, \.encoding.maxCompletionLength),
        .optionalInt("max_length", "tokens kept of a sample", 2...16_777_216, \.encoding.maxLength),
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

// MARK: - Kinds of keys

extension TrainingKey {
    private typealias Path<T> = any WritableKeyPath<TrainingOptions, T> & Sendable

    init(
        _ name: String, _ help: String, form: Form = .value, isOperational: Bool = false,
        read: @escaping @Sendable (TrainingOptions) -> JSONValue,
        write: @escaping @Sendable (inout TrainingOptions, JSONValue) throws -> Void
    ) {
        self.name = name
        self.help = help
        self.form = form
        self.isOperational = isOperational
        self.read = read
        self.write = write
    }

    /// A usage error about a value of that key.
    static func wrong(_ name: String, _ value: JSONValue, _ expected: String) -> MeraserError {
        .usage("`\(name)`: \(value.serialized()), expected \(expected)")
    }

    private static func int(
        _ name: String, _ help: String, _ range: ClosedRange<Int>, isOperational: Bool = false, _ path: Path<Int>
    ) -> TrainingKey {
        TrainingKey(name, help, isOperational: isOperational, read: { .integer($0[keyPath: path]) }) { options, value in
            guard let number = value.int, range.contains(number) else {
                throw wrong(name, value, "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = number
        }
    }

    private static func optionalInt(
        _ name: String, _ help: String, _ range: ClosedRange<Int>, none: Int? = nil, isOperational: Bool = false,
        _ path: Path<Int?>
    ) -> TrainingKey {
        TrainingKey(
            name, help, isOperational: isOperational, read: { $0[keyPath: path].map { .integer($0) } ?? .null }
        ) { options, value in
            let number = value.int.flatMap { $0 == none ? nil : $0 }
            let isNone = value.isNull || (none != nil && value.int == none)
            guard isNone || number.map(range.contains) == true else {
                throw wrong(name, value, "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = number
        }
    }

    private static func real(
        _ name: String, _ help: String, _ range: ClosedRange<Double>, _ path: Path<Double>
    ) -> TrainingKey {
        TrainingKey(name, help, read: { .real($0[keyPath: path]) }) { options, value in
            guard let number = value.double, range.contains(number) else {
                throw wrong(name, value, "a number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = number
        }
    }

    private static func optionalReal(
        _ name: String, _ help: String, _ range: ClosedRange<Double>, _ path: Path<Double?>
    ) -> TrainingKey {
        TrainingKey(name, help, read: { $0[keyPath: path].map { .real($0) } ?? .null }) { options, value in
            guard value.isNull || value.double.map(range.contains) == true else {
                throw wrong(name, value, "a number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = value.double
        }
    }

    private static func flag(
        _ name: String, _ help: String, isOperational: Bool = false, _ path: Path<Bool>
    ) -> TrainingKey {
        TrainingKey(
            name, help, form: .on, isOperational: isOperational, read: { .bool($0[keyPath: path]) }
        ) { options, value in
            guard let flag = value.bool else { throw wrong(name, value, "true or false") }
            options[keyPath: path] = flag
        }
    }

    private static func optionalFlag(_ name: String, _ help: String, _ path: Path<Bool?>) -> TrainingKey {
        TrainingKey(
            name, help, form: .onOrOff, read: { $0[keyPath: path].map { .bool($0) } ?? .null }
        ) { options, value in
            guard value.isNull || value.bool != nil else { throw wrong(name, value, "true or false") }
            options[keyPath: path] = value.bool
        }
    }

    private static func optionalText(_ name: String, _ help: String, _ path: Path<String?>) -> TrainingKey {
        TrainingKey(name, help, read: { $0[keyPath: path].map { .text($0) } ?? .null }) { options, value in
            guard value.isNull || value.string != nil else { throw wrong(name, value, "a string") }
            options[keyPath: path] = value.string
        }
    }

    /// The record of a run is published with its adapter: it must not show where files lie.
    private static func file(_ name: String, _ help: String, _ path: Path<String?>) -> TrainingKey {
        TrainingKey(
            name, help, form: .path,
            read: { $0[keyPath: path].map { .text(fileName(ofPath: $0)) } ?? .null }
        ) { options, value in
            guard value.isNull || value.string != nil else { throw wrong(name, value, "a string") }
            options[keyPath: path] = value.string
        }
    }

    private static func choice<T: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ help: String, isOperational: Bool = false, _ path: Path<T>
    ) -> TrainingKey {
        TrainingKey(
            name, help, isOperational: isOperational, read: { .text($0[keyPath: path].rawValue) }
        ) { options, value in
            options[keyPath: path] = try chosen(name, value)
        }
    }

    private static func optionalChoice<T: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ help: String, _ path: Path<T?>
    ) -> TrainingKey {
        TrainingKey(name, help, read: { $0[keyPath: path].map { .text($0.rawValue) } ?? .null }) { options, value in
            options[keyPath: path] = value.isNull ? nil : try chosen(name, value) as T
        }
    }

    private static func chosen<T: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ value: JSONValue
    ) throws -> T {
        guard let choice = value.string.flatMap(T.init(rawValue:)) else {
            throw wrong(name, value, "one of " + T.allCases.map(\.rawValue).joined(separator: " "))
        }
        return choice
    }
}

// MARK: - Keys of their own kind

extension TrainingKey {
    private static let noShuffle = TrainingKey(
        "no_shuffle", "take the samples in file order", form: .on, read: { .bool(!$0.shuffle) },
        write: { options, value in
            guard let flag = value.bool else { throw wrong("no_shuffle", value, "true or false") }
            options.shuffle = !flag
        })

    private static let seed = TrainingKey(
        "seed", "seed of initialisation, order and dropout", read: { .integer(Int(clamping: $0.seed)) },
        write: { options, value in
            guard let seed = value.int, seed >= 0 else { throw wrong("seed", value, "a whole number, at least 0") }
            options.seed = UInt64(seed)
        })

    /// Bytes, or a text such as `6G`.
    private static let memory = TrainingKey(
        "memory", "memory that the run may take, such as 6G", isOperational: true,
        read: { $0.memory.map { .integer($0) } ?? .null },
        write: { options, value in
            let bytes = value.int ?? value.string.flatMap(byteCount(text:))
            guard value.isNull || bytes.map({ $0 > 0 }) == true else {
                throw wrong("memory", value, "bytes, or a number with K, M, G or T behind it")
            }
            options.memory = bytes
        })

    /// `6G`, `1.5GiB`, `800M`, `4096`: powers of 1024.
    static func byteCount(text: String) -> Int? {
        let upper = text.uppercased().filter { $0 != " " }
        let digits = upper.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let units = ["": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4]
        var suffix = String(upper.dropFirst(digits.count))
        for end in ["IB", "B"] where suffix.count > end.count && suffix.hasSuffix(end) {
            suffix.removeLast(end.count)
            break
        }
        guard let number = Double(digits), let power = units[suffix] else { return nil }
        let bytes = (0..<power).reduce(number) { value, _ in value * 1024 }
        return bytes < 9e18 ? Int(bytes) : nil
    }
}
