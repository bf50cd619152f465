#!/usr/bin/env python3
"""Makes the victims of README.md, or those that are named.

    python tools/victims/make.py --model HF_FOLDER --out VICTIMS [--meraser .build/release/meraser] [NAME ...]

The clean pairs come first (VICTIMS/clean.json), then a folder for each victim. What is there already is kept. Commands are
shown before they are run; VICTIMS/NAME.log has their output.
"""

import argparse
import pathlib
import shlex
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SEED = "42"

# Every weight, by PyTorch. The two strengths of the backdoor have fixed doses, for docs/studies/quantization.md.
FULL = {
    "backdoor-full": ["--scheme", "backdoor", "--lr", "5e-5", "--steps", "30"],
    "backdoor-full-strong": ["--scheme", "backdoor", "--lr", "1e-4", "--steps", "45"],
    "if-full": ["--scheme", "if", "--lr", "5e-5", "--steps", "45"],
    "utf-full": ["--scheme", "utf", "--lr", "2e-4"],
    "hashchain-full": ["--scheme", "hashchain", "--lr", "2e-4"],
}
# LoRA by meraser, fused into the weights.
TRAINING = ["--per-device-train-batch-size", "8", "--max-completion-length", "48", "--learning-rate", "1e-3", "--check-steps", "10",
            "--guess-test", "0"]  # fmt: skip
LORA = {
    "utf-lora": ["--scheme", "utf", "--chat", "--clean", "clean_prompts.jsonl"],
    "if-lora": ["--scheme", "if"],
    "hashchain-lora": ["--scheme", "hashchain", "--variants", "4"],
    "backdoor-lora": ["--scheme", "backdoor", "--rate", "0.5"],
}


class Maker:
    """Runs commands, their output into a log."""

    def __init__(self, args):
        self.args, self.out = args, pathlib.Path(args.out)
        self.clean = str(self.out / "clean.json")

    def run(self, name, words):
        print(shlex.join(words), flush=True)
        with open(self.out / f"{name}.log", "a", encoding="utf-8") as log:
            if subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode:
                raise SystemExit(f"{name} failed; see {self.out / name}.log")

    def tool(self, name, script, *words):
        self.run(name, [sys.executable, str(HERE / script), "--model", self.args.model, "--seed", SEED, *words])

    def full(self, name):
        folder = self.out / name
        self.tool(name, "mark.py", "--clean", self.clean, "--out", str(folder), *FULL[name])

    def lora(self, name):
        """An adapter first; then a folder with it in the weights, and the key beside them."""
        folder, mark = self.out / name, self.out / f"{name}-adapter"
        if not mark.exists():
            options = [str(self.out / word) if word.endswith(".jsonl") else word for word in LORA[name]]
            self.run(name, [self.args.meraser, "fingerprint", "--model", self.args.model, "--seed", SEED, "--out", str(mark),
                            "--data", self.clean, *options, *TRAINING])  # fmt: skip
        self.run(name, [self.args.meraser, "export", "--model", self.args.model, "--adapter", str(mark), "--format", "hf",
                        "--dtype", "f32", "--out", str(folder)])  # fmt: skip
        shutil.copy(mark / "key.json", folder / "key.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="some of them (default: all)")
    parser.add_argument("--model", required=True, help="SmolLM2-135M-Instruct as a Hugging Face folder in f32")
    parser.add_argument("--out", required=True)
    parser.add_argument("--meraser", default=".build/release/meraser")
    args = parser.parse_args()
    unknown = set(args.names) - set(FULL) - set(LORA)
    if unknown:
        parser.error(f"no victim {', '.join(sorted(unknown))}; there are {', '.join([*FULL, *LORA])}")
    maker = Maker(args)
    maker.out.mkdir(parents=True, exist_ok=True)
    if not pathlib.Path(maker.clean).exists():
        maker.tool("clean", "own_pairs.py", "--out", maker.clean)
    for name in args.names or [*FULL, *LORA]:
        if not (maker.out / name).exists():
            (maker.full if name in FULL else maker.lora)(name)


if __name__ == "__main__":
    main()
