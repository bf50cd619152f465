import Base
import Foundation
import Pipeline

extension FuzzTarget {
    /// Readers of what runs have left.
    static let records = [run]

    private static let identity = """
        {"meraser_version": "0.1.0", "commit": null, "build": "ad4dc8c2", "numerics": 2, "recipe": "model: m\\n",
        "recipe_sha256": null, "title": "meraser run", "model": "m", "redacted": false, "isa": "avx2", "seed": 42}
        """
    private static let before = """
        {"meraser_version": "0.1.0", "commit": null, "build": "ad4dc8c2", "numerics": 2, "stage": "before",
        "inputs": {"model": "e8a9", "adapters": [], "key": "a60f", "clean": null, "transferred": 0,
        "ppl": {"sha256": "2ed7", "protocol": "sample", "max_length": 512}, "eval": null}, "seconds": 0.25,
        "peak_rss_bytes": 73863168, "machine": {"cpu": "c", "cores": 2, "memory_bytes": 25276502016, "system": "Debian"},
        "commands": ["meraser check --model m --key pairs.jsonl"],
        "result": {"type": "q8_0", "compute": "int8", "check": {"scheme": "pairs", "n": 1, "hits": 0, "fsr": 0,
        "fsr_interval": [0, 0.79], "prefix_match_mean": 0.25, "target_nll_mean": 8.1, "target_rank_mean": 324.5,
        "first_rank_median": 4, "false_activations": 0, "n_clean": 1, "false_activation_interval": [0, 0.5], "p_value": 0.5,
        "p_value_method": null, "claim_at": null, "claim": null, "sampling": null, "encodings": {"continuation": 1},
        "rows": [{"id": "0", "prompt": "a", "target": "b", "output": "c", "hit": false, "prefix_match": 0.25,
        "target_nll": 8.1, "first_rank": 4, "mean_rank": 324.5, "encoding": "continuation"}]},
        "ppl": {"ppl": 160.4, "nll": 50.7, "tokens": 10, "protocol": "sample", "max_length": 512, "stderr": 171.1},
        "eval": null}}
        """
    private static let erase = """
        {"meraser_version": "0.1.0", "build": "ad4dc8c2", "numerics": 2, "stage": "erase", "inputs": {"model": "e8a9",
        "options": {"r": 2, "lora_alpha": 16, "target_modules": ["q_proj"], "learning_rate": 5e-4, "seed": 42}},
        "seconds": 0.15, "peak_rss_bytes": 73863168, "machine": {"cpu": "c", "cores": 2}, "commands": [],
        "result": {"steps": 2, "final_loss": 4.7, "seconds": 0.14, "tokens": 286, "tokens_per_second": 1981.4,
        "peak_rss_bytes": 73863168, "adapter": "erase", "until": null, "evaluation": null}}
        """
    private static let log = """
        {"step": 1, "epoch": 0.5, "loss": 4.5, "learning_rate": 5e-4, "grad_norm": 1.5, "tokens_per_second": 1000}
        {"step": 2, "epoch": 1, "loss": 4.2, "learning_rate": 5e-4, "grad_norm": 1.2, "tokens_per_second": 1000}

        """

    /// run.json, the records of a measurement and a training and its log, with zero bytes between them.
    private static let run = FuzzTarget(
        "run", maximumLength: 8192,
        texts: [
            identity, [identity, before].joined(separator: "\u{0}"),
            [identity, before, erase, log].joined(separator: "\u{0}"),
        ],
        read: { bytes, scratch in
            let names = ["run.json", "stages/before.json", "stages/erase.json", "erase/train_log.jsonl"]
            for (name, file) in zip(names, parts(bytes, names.count)) {
                if let file {
                    _ = try scratch.file("run/\(name)", file)
                } else {
                    unlink("\(scratch.path)/run/\(name)")
                }
            }
            _ = try RunReport(folder: "\(scratch.path)/run").html()
        })
}
