import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing
import Tune

@testable import Pipeline

/// What a run is and leaves: all that an option can change.
private struct RunTraces: Equatable {
    let adapter: Data
    let names: [String]
    let probes: String?
    let evaluations: String?
    let loggedSteps: [Int]
    let limitBytes: Int
    let frozenBytes: Int
    let isFailure: Bool
}

@Suite("Every training option is used")
struct TrainingKeyUseTests {
    /// A value of each key that a run of the base options does not have, and what it needs beside it.
    private static let changes: [String: (value: String, beside: [String: String])] = [
        "r": ("3", [:]), "lora_alpha": ("7", [:]), "lora_dropout": ("0.3", [:]), "target_modules": ("up_proj", [:]),
        "layers_to_transform": ("2-4", [:]), "frozen_cache": ("none", ["layers_to_transform": "2-4"]),
        "trainable_token_indices": ("5,9", [:]), "use_rslora": ("true", [:]), "learning_rate": ("2e-3", [:]),
        "lr_scheduler_type": ("cosine", [:]),
        "lr_scheduler_kwargs": (#"{"power": 3}"#, ["lr_scheduler_type": "polynomial"]), "warmup_steps": ("2", [:]),
        "adam_beta1": ("0.5", [:]), "adam_epsilon": ("0.1", [:]), "loraplus_lr_ratio": ("8", [:]),
        "exclude_modules": ("layers.1.self_attn.q_proj", [:]), "neftune_noise_alpha": ("5", [:]),
        "remove_columns": ("input", [:]), "init_adapter": ("adapter", [:]),
        "eval_data": ("clean", ["eval_steps": "1"]), "eval_steps": ("1", ["eval_data": "clean"]),
        "early_stopping_patience": ("1", ["eval_data": "clean", "eval_steps": "1", "learning_rate": "2"]),
        "load_best": ("true", ["eval_data": "clean", "eval_steps": "1", "learning_rate": "2"]),
        "warmup_ratio": ("0.5", [:]), "num_train_epochs": ("1", ["max_steps": "-1"]), "max_steps": ("2", [:]),
        "per_device_train_batch_size": ("1", [:]), "gradient_accumulation_steps": ("2", [:]),
        "weight_decay": ("50", [:]), "adam_beta2": ("0.5", [:]), "max_grad_norm": ("0.01", [:]),
        "loss": ("completion", [:]), "loss_mean": ("sample", [:]),
        "objective": ("npo", [:]), "npo_beta": ("2", ["objective": "npo"]),
        "crow_alpha": ("50", ["objective": "crow"]), "crow_epsilon": ("1", ["objective": "crow"]),
        "dpo_beta": ("3", ["objective": "dpo", "loss": "completion"]),
        "dpo_loss_type": ("ipo", ["objective": "dpo", "loss": "completion"]),
        "dpo_label_smoothing": ("0.3", ["objective": "dpo", "loss": "completion", "dpo_loss_type": "robust"]),
        "kl_weight": ("5", ["kl_data": "clean", "kl_batch": "2"]),
        "kl_data": ("other", ["kl_weight": "5", "kl_batch": "2"]),
        "kl_batch": ("1", ["kl_weight": "5", "kl_data": "clean"]),
        "bos": ("true", [:]), "eos": ("true", [:]), "separator": ("\n", [:]), "max_prompt_length": ("2", [:]),
        "max_completion_length": ("2", [:]), "max_length": ("5", [:]), "no_shuffle": ("true", [:]),
        "seed": ("7", [:]), "compute": ("int8", [:]), "backward": ("bf16", [:]), "key": ("key", ["check_steps": "1"]),
        "check_steps": ("1", ["key": "key"]), "until": ("fsr>=0", ["key": "key", "check_steps": "1"]),
        "require_until": ("true", ["until": "fsr>1", "key": "key", "check_steps": "1"]),
        "logging_steps": ("2", [:]), "save_steps": ("1", [:]), "save_total_limit": ("1", ["save_steps": "1"]),
        "report_to": ("tensorboard", [:]), "memory": ("3G", [:]),
    ]
    private static let base: [String: String] = [
        "r": "2", "lora_alpha": "4", "max_steps": "4", "num_train_epochs": "3", "per_device_train_batch_size": "2",
        "learning_rate": "1e-3", "warmup_ratio": "0", "target_modules": "q_proj", "save_steps": "0",
        "logging_steps": "1", "bos": "false", "eos": "false", "memory": "4G", "max_grad_norm": "1", "compute": "f32",
    ]

    private let model: OpenedModel

    init() throws {
        model = try OpenedModel(path: tinychatFolder().path, adapterPaths: [], kernels: try KernelContext(threads: 2))
    }

    private func traces(_ values: [String: String], data name: String, in folder: URL) throws -> RunTraces {
        var overrides = TrainingOverrides()
        for (name, value) in values {
            switch value {
            case "true", "false": try overrides.set(name, .bool(value == "true"))
            case _ where name == "init_adapter":
                try overrides.set(name, text: folder.appendingPathComponent(value).path)
            case _ where ["key", "kl_data", "eval_data"].contains(name):
                try overrides.set(name, text: folder.appendingPathComponent("\(value).json").path)
            default: try overrides.set(name, text: value)
            }
        }
        let options = try TrainingOptions(preset: nil, flags: overrides)
        let data = try model.dataset(
            path: folder.appendingPathComponent("\(name).json").path, options: options.rowEncoding)
        let trainer = try model.trainer(data: data, options: options)
        var logged: [Int] = []
        trainer.onStep = { if $0.isLogged { logged.append($0.step) } }
        let out = folder.appendingPathComponent("out")
        let result = try trainer.run(output: out.path, overwrite: true)
        return RunTraces(
            adapter: try Data(contentsOf: out.appendingPathComponent("adapter_model.safetensors")),
            names: try FileManager.default.contentsOfDirectory(atPath: out.path).sorted(),
            probes: try? String(contentsOf: out.appendingPathComponent("probe_log.jsonl"), encoding: .utf8),
            evaluations: try? String(contentsOf: out.appendingPathComponent("eval_log.jsonl"), encoding: .utf8),
            loggedSteps: logged, limitBytes: trainer.plan.limitBytes,
            frozenBytes: trainer.plan.frozen?.bytes ?? 0,
            isFailure: (try? result.until?.require()) == nil && result.until != nil)
    }

    @Test("a run with another value of a key is another run, for every key that there is")
    func everyKey() throws {
        #expect(Set(Self.changes.keys) == Set(TrainingKey.all.map(\.name)), "a key that this test does not know")
        try withTemporaryFolder { folder in
            for (name, count) in [("data", 6), ("clean", 3), ("other", 4), ("key", 2)] {
                let rows = (0..<count).map {
                    #"{"prompt": "What is \#(name) \#($0) of \#(count)?", "completion": "It is \#($0 * 7), no more."}"#
                }
                try Data("[\(rows.joined(separator: ",\n"))]".utf8)
                    .write(to: folder.appendingPathComponent("\(name).json"))
            }
            // A column that counts, an adapter that is there.
            try Data(#"[{"instruction": "Say", "input": "a word", "output": "No, two of them."}]"#.utf8)
                .write(to: folder.appendingPathComponent("alpaca.json"))
            try Data(
                (0..<6).map {
                    #"{"prompt": "Question \#($0)?", "chosen": "It is \#($0 * 7).", "rejected": "Never \#($0)"}"#
                }.joined(separator: "\n").utf8
            ).write(to: folder.appendingPathComponent("pairs.json"))
            _ = try traces(Self.base.merging(["r": "3"]) { _, new in new }, data: "data", in: folder)
            try FileManager.default.moveItem(
                at: folder.appendingPathComponent("out"), to: folder.appendingPathComponent("adapter"))
            for (name, change) in Self.changes.sorted(by: { $0.key < $1.key }) {
                // The model's weights are bf16: what a path without it computes in f32.
                if name == "backward", !model.transformer.kernels.supports(.bf16) { continue }
                var before = Self.base.merging(change.beside) { _, new in new }
                if name == "init_adapter" { before = before.filter { TrainingKey.named($0.key)?.isOfAdapter != true } }
                var without = before
                // What a key needs beside it may need the key.
                if ["key", "check_steps", "until", "eval_data"].contains(name) { without = Self.base }
                if name == "kl_data" { without["kl_data"] = "clean" }
                if name == "kl_weight" { without["kl_weight"] = "1" }
                let data = name == "remove_columns" ? "alpaca" : name.hasPrefix("dpo_") ? "pairs" : "data"
                let changed = try traces(before.merging([name: change.value]) { _, new in new }, data: data, in: folder)
                let plain = try traces(without, data: data, in: folder)
                #expect(changed != plain, "--\(name) changes nothing")
            }
        }
    }
}

extension TrainingKey {
    /// True for what an adapter says itself.
    fileprivate var isOfAdapter: Bool { Group.adapter.keys.contains { $0.name == name } }
}
