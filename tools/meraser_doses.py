#!/usr/bin/env python3
"""Erases and recovers one mark at several doses with meraser: the frontier that docs/studies/doses.md shows.

    python3 tools/meraser_doses.py --meraser .build/release/meraser --model tinychat-iq4_nl.mqf --doses tools/doses.json \
        --mark RUN/mark --mismatched mismatched_dataset.json --clean recover_dataset.json --heldout heldout.jsonl \
        --out /tmp/doses

It reads the same doses file as tools/peft_doses.py and prints the same table, so that the two can be laid side by side.
Rows go in file order, without dropout, on both sides. --mark is what `meraser fingerprint` wrote (key.json and a PEFT folder).
"""

import argparse
import json
import pathlib
import subprocess

FLAGS = [
    "r", "lora_alpha", "learning_rate", "num_train_epochs", "max_steps", "max_grad_norm", "lr_scheduler_type",
    "warmup_ratio", "weight_decay", "separator", "loss", "max_prompt_length", "max_completion_length",
    "check_steps", "until",
]  # fmt: skip


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/release/meraser", help="the binary")
    parser.add_argument("--model", required=True, help=".mqf file or Hugging Face folder")
    parser.add_argument("--doses", required=True, help="JSON list of doses, as tools/peft_doses.py describes it")
    parser.add_argument("--mark", required=True, help="folder with key.json and the mark's adapter")
    parser.add_argument("--mismatched", required=True, help="pairs to erase with")
    parser.add_argument("--clean", required=True, help="pairs to recover with")
    parser.add_argument("--heldout", required=True, help="rows {text}, perplexity by protocol sample")
    parser.add_argument("--compute", help="precision of training: f32, bf16 or int8 (default: meraser's)")
    parser.add_argument("--only", nargs="*", help="run only the doses of these names")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


class Bench:
    """One model and one mark; every dose is a chain of meraser commands in its own folder."""

    def __init__(self, args):
        self.args = args
        self.out = pathlib.Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.key = str(pathlib.Path(args.mark) / "key.json")

    def run(self, *words):
        """One command's JSON."""
        command = [self.args.meraser, *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-600:]}")
        return json.loads(done.stdout)

    def measure(self, adapters):
        """Check and perplexity of the model with those adapters."""
        common = ["--model", self.args.model] + [word for a in adapters for word in ("--adapter", a)]
        measured = self.run("check", *common, "--key", self.key)
        measured.pop("rows", None)
        measured["ppl"] = self.run("ppl", *common, "--data", self.args.heldout, "--protocol", "sample")["ppl"]
        return measured

    def stage(self, command, stage, default_data, adapters, folder):
        """Trains one stage; returns its measures."""
        data = stage.get("data", default_data)
        if "rows" in stage or "first_row" in stage:
            rows = json.loads(pathlib.Path(data).read_text(encoding="utf-8"))
            start = stage.get("first_row", 0)
            data = self.out / f"{folder.replace('/', '-')}.json"
            data.write_text(json.dumps(rows[start : start + stage.get("rows", len(rows))]))
        words = ["--model", self.args.model, "--data", data, "--out", self.out / folder, "--overwrite"]
        words += [word for a in adapters for word in ("--adapter", a)]
        words += ["--no-shuffle", "--lora-dropout", "0", "--gradient-accumulation-steps", "1"]
        if self.args.compute:
            words += ["--compute", self.args.compute]
        words += ["--per-device-train-batch-size", stage.get("batch", 8)]
        targets = stage.get("target_modules", ["q_proj", "v_proj"])
        words += ["--target-modules", targets if isinstance(targets, str) else ",".join(targets)]
        # Any preset's own numbers must not leak into a dose: what a dose leaves out has the oracle's default.
        filled = {"lora_alpha": 2 * stage["r"], "lr_scheduler_type": "constant", "separator": ""} | stage
        filled.setdefault("max_grad_norm", 1.0)
        for name in FLAGS:
            if name in filled:
                words += [f"--{name.replace('_', '-')}", filled[name]]
        if "until" in stage or "check_steps" in stage:
            words += ["--key", self.key]
        trained = self.run(command, *words)
        return self.measure([*adapters, self.out / folder]) | {
            "steps": trained["steps"], "final_loss": trained["final_loss"], "seconds": trained["seconds"],
        }  # fmt: skip


def row(name, measured):
    """One Markdown row of the table."""
    return (
        f"| {name} | {measured.get('steps', '')} | {measured['hits']}/{measured['n']} "
        f"| {measured['prefix_match_mean']:.3f} | {measured['target_nll_mean']:.2f} | {measured['ppl']:.3f} |"
    )


def main():
    args = arguments()
    doses = json.loads(pathlib.Path(args.doses).read_text(encoding="utf-8"))
    bench = Bench(args)
    clean = bench.run("ppl", "--model", args.model, "--data", args.heldout, "--protocol", "sample")["ppl"]
    print(f"clean perplexity {clean:.4f}\n")
    print("| dose, stage | steps | fires | prefix match | target NLL | perplexity |\n|---|--:|--:|--:|--:|--:|")
    results = {"clean_ppl": clean, "marked": bench.measure([args.mark]), "doses": []}
    print(row("marked", results["marked"]), flush=True)
    for dose in doses:
        if args.only and dose["name"] not in args.only:
            continue
        name = dose["name"]
        result = {"name": name}
        result["erased"] = bench.stage("erase", dose["erase"], args.mismatched, [args.mark], f"{name}/erase")
        print(row(f"{name}: erased", result["erased"]), flush=True)
        if dose.get("recover"):
            adapters = [args.mark, bench.out / name / "erase"]
            result["recovered"] = bench.stage("recover", dose["recover"], args.clean, adapters, f"{name}/recover")
            print(row(f"{name}: recovered", result["recovered"]), flush=True)
        results["doses"].append(result)
    (bench.out / "meraser.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
