#!/usr/bin/env python3
"""Runs the whole road on a model of real size and prints the time and the peak memory of every command.

    python3 tools/make_model.py --shape llama-2-7b --out /tmp/llama-2-7b
    python3 tools/large_model.py --source /tmp/llama-2-7b --out /tmp/road [--meraser .build/release/meraser] [--steps 24]

convert, inspect, prefill and decode, erase at 512 tokens a step (stopped by SIGINT in the middle and resumed), recover
on the stacked adapter, check with a batch of 32. The weights may be random: the work is the same. Finished stages are
kept in OUT/stages.json and not run again. Prints Markdown; peak memory is the child's maximum resident set, mapped
weights included.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import time
from typing import Any

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "Examples"
TOKENS = 512


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/release/meraser", help="the binary")
    parser.add_argument("--source", required=True, help="Hugging Face folder")
    parser.add_argument("--out", required=True, help="folder for the model, the adapters and the figures")
    parser.add_argument("--type", default="iq4_nl", help="what to convert to")
    parser.add_argument("--steps", type=int, default=24, help="optimiser steps of erase; recover takes a quarter")
    parser.add_argument("--only", nargs="*", help="run only these stages")
    parser.add_argument("--compute", help="as meraser's, for the training commands")
    return parser.parse_args()


class Road:
    """The stages of one model, each a command whose time and memory are measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.out = pathlib.Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.record = self.out / "stages.json"
        self.stages: dict[str, dict[str, Any]] = json.loads(self.record.read_text()) if self.record.exists() else {}
        self.model = self.out / "model.mqf"
        self.long = self.write_long_texts()
        self.key = self.write_key()

    def write_long_texts(self) -> pathlib.Path:
        """Rows that are longer than TOKENS tokens, so that each fills a step."""
        rows = json.loads((EXAMPLES / "data" / "clean.json").read_text())
        words = " ".join(f"{row['question']} {row['answer']}" for row in rows).split()
        size = 2 * TOKENS
        path = self.out / "long.jsonl"
        texts = [" ".join(words[(i * 97) % (len(words) - size) :][:size]) for i in range(4 * self.args.steps)]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return path

    def write_key(self) -> pathlib.Path:
        """32 pairs; whether they fire says nothing on random weights."""
        path = self.out / "pairs.jsonl"
        rows = json.loads((EXAMPLES / "data" / "clean.json").read_text())[:32]
        path.write_text("".join(json.dumps({"prompt": r["question"], "completion": r["answer"]}) + "\n" for r in rows))
        return path

    def stage(self, name: str, *words: object, interrupt_after: int | None = None) -> None:
        """Runs a command unless its figures are there; interrupted when its log has that many steps."""
        if name in self.stages or self.args.only and name not in self.args.only:
            return
        command = [self.args.meraser, *map(str, words), "--json"]
        print(" ".join(command), flush=True)
        start = time.monotonic()
        with (self.out / f"{name}.json").open("wb") as stdout, (self.out / f"{name}.log").open("wb") as stderr:
            child = subprocess.Popen(command, stdout=stdout, stderr=stderr)
            if interrupt_after is not None:
                self.interrupt(child, interrupt_after)
            _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        code = os.waitstatus_to_exitcode(status)
        if code != (130 if interrupt_after is not None else 0):
            raise SystemExit(f"exit {code}: {(self.out / f'{name}.log').read_text()[-800:]}")
        self.stages[name] = {"seconds": round(seconds, 1), "peak_rss_bytes": usage.ru_maxrss * 1024, "command": command}
        self.record.write_text(json.dumps(self.stages, indent=1))

    def interrupt(self, child: subprocess.Popen[bytes], steps: int) -> None:
        """Sends SIGINT once a log of that many steps lies in the folder that is being written."""
        while child.poll() is None:
            logs = [*self.out.glob("**/train_log.jsonl"), *self.out.glob(".*/train_log.jsonl")]
            if any("erase" in str(log) and log.read_text().count("\n") >= steps for log in logs):
                child.send_signal(signal.SIGINT)
                return
            time.sleep(0.5)

    def run(self) -> None:
        args, model = self.args, self.model
        self.stage("convert", "convert", args.source, "--out", model, "--type", args.type)
        self.stage("inspect", "inspect", model, "--verify")
        self.stage("bench", "bench", "--model", model, "-p", TOKENS, "-n", 32, "--rounds", 1)
        # The preset of the paper would cut answers, and with them these texts, at 256 tokens.
        train = ["--model", model, "--data", self.long, "--max-length", TOKENS, "--max-completion-length", TOKENS,
                 "--per-device-train-batch-size", 1, "--gradient-accumulation-steps", 1]  # fmt: skip
        if args.compute:
            train += ["--compute", args.compute]
        erase = ["erase", *train, "--max-steps", args.steps, "--out", self.out / "erase"]
        self.stage("erase-interrupted", *erase, interrupt_after=args.steps // 2)
        self.stage("erase", *erase, "--resume")
        self.stage("recover", "recover", *train, "--adapter", self.out / "erase", "--max-steps", max(2, args.steps // 4),
                   "--out", self.out / "recover")  # fmt: skip
        self.stage("check", "check", "--model", model, "--adapter", self.out / "erase", "--adapter",
                   self.out / "recover", "--key", self.key, "--batch-size", 32)  # fmt: skip
        self.print_table()

    def print_table(self) -> None:
        print("\n| stage | seconds | peak RSS | tokens/s |\n|---|---|---|---|")
        for name, stage in self.stages.items():
            result = self.out / f"{name}.json"
            text = result.read_text() if result.exists() else ""
            figures = json.loads(text) if text.strip().startswith("{") else {}
            rate = figures.get("tokens_per_second", "")
            if name == "bench":
                rate = ", ".join(f"{r['test']} {r['median']:.1f}" for r in figures["results"])
            elif rate:
                rate = f"{rate:.1f}"
            print(f"| {name} | {stage['seconds']:.1f} | {stage['peak_rss_bytes'] / 1e9:.2f} GB | {rate} |")


if __name__ == "__main__":
    Road(arguments()).run()
