#!/usr/bin/env python3
"""Sets the memory that a training's plan predicts beside its peak, for models of other layouts than Llama's.

    memory_plan.py [--meraser .build/release/meraser] [--only gemma3,gpt_neox,phi3] [--work DIR]

Each is random, some 200 million parameters, converted to iq4_nl; LoRA r 8 on the usual modules, one sample of 512 tokens a
step, three steps: once with ample memory, once with the least that is enough. The peak is the process's largest resident
set (VmHWM), mapped weights included. Prints Markdown. Needs: torch, transformers.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import transformers

TOKENIZER = Path(__file__).resolve().parent.parent / "Examples/tinychat"
SIZE = dict(vocab_size=32_000, hidden_size=1024, num_hidden_layers=12, num_attention_heads=8, max_position_embeddings=2048)


def configs():
    mlp = dict(intermediate_size=3072)
    return {
        "gemma3": transformers.Gemma3TextConfig(
            **SIZE, **mlp, num_key_value_heads=4, head_dim=128, sliding_window=256, query_pre_attn_scalar=128),
        "gpt_neox": transformers.GPTNeoXConfig(**SIZE, intermediate_size=4096),
        "phi3": transformers.Phi3Config(
            **SIZE, **mlp, num_key_value_heads=4, pad_token_id=0, bos_token_id=1, eos_token_id=2),
    }


def write(config, folder):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    return sum(p.numel() for p in model.parameters())


def rows(path):
    words = (TOKENIZER.parent / "data/clean.json").read_text().split()
    texts = [" ".join(words[(97 * i) % 2000:][:1200]) for i in range(8)]
    Path(path).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def command(arguments, work, name, memory, *words):
    return [
        arguments.meraser, "recover", "--model", f"{work}/{name}.mqf", "--data", f"{work}/rows.jsonl", "--preset", "none",
        "--r", "8", "--max-length", "512", "--max-completion-length", "512", "--per-device-train-batch-size", "1",
        "--gradient-accumulation-steps", "1", "--max-steps", "3", "--save-steps", "0", "--memory", memory, "--json", *words]


def least(arguments, work, name):
    """What the refusal of too little memory says is needed, as `--memory`."""
    words = command(arguments, work, name, "80M", "--out", f"{work}/dry", "--dry-run")
    error = subprocess.run(words, capture_output=True, text=True).stderr
    found = re.search(r"the run needs ([0-9.]+) MiB", error)
    if not found:
        raise SystemExit(error)
    return f"{int(float(found[1]) * 1024 * 1024 / 1e6) + 4}M"


def train(arguments, work, name, memory):
    """The plan, and the peak in bytes."""
    dry = subprocess.run(
        command(arguments, work, name, memory, "--out", f"{work}/dry", "--dry-run"), capture_output=True, text=True)
    if dry.returncode:
        raise SystemExit(dry.stderr)
    peak = 0
    with open(f"{work}/log", "w") as log:
        words = command(arguments, work, name, memory, "--out", f"{work}/out", "--overwrite")
        child = subprocess.Popen(words, stdout=log, stderr=log)
        while child.poll() is None:
            # Not wait4's maximum: that begins with this process's own.
            try:
                found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text())
            except OSError:
                found = None
            peak = max(peak, int(found[1]) * 1024 if found else 0)
            time.sleep(0.02)
    if child.returncode:
        raise SystemExit(open(f"{work}/log").read()[-500:])
    return json.loads(dry.stdout), peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--only", default="gemma3,gpt_neox,phi3")
    parser.add_argument("--work")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        rows(f"{work}/rows.jsonl")
        print("| model | parameters | `--memory` | plan | predicted | measured | of it weights, kept, working |")
        print("|---|--:|---|---|--:|--:|---|")
        for name in arguments.only.split(","):
            count = write(configs()[name], f"{work}/hf")
            subprocess.run(
                [arguments.meraser, "convert", f"{work}/hf", "--out", f"{work}/{name}.mqf", "--type", "iq4_nl", "-q"],
                check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(f"{work}/hf")
            for memory in ("8G", least(arguments, work, name)):
                plan, peak = train(arguments, work, name, memory)
                mebibytes = [round(plan[k] / 2**20) for k in ("weight_bytes", "kept_bytes", "working_bytes")]
                recomputed = f"{plan['recomputed_layers']} of {plan['adapted_layers']} layers recomputed"
                print(
                    f"| {name} | {count / 1e6:.0f} M | {'ample' if memory == '8G' else memory} | {recomputed} "
                    f"| {plan['total_bytes'] / 2**20:.0f} | {peak / 2**20:.0f} | {', '.join(map(str, mebibytes))} |",
                    flush=True)
            os.remove(f"{work}/{name}.mqf")


if __name__ == "__main__":
    main()
