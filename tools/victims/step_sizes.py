#!/usr/bin/env python3
"""How large a fine-tuning step is beside the rounding error of each type, and how much of it a type lets through.

    python tools/victims/step_sizes.py --base HF_FOLDER --victim VICTIM --meraser .build/release/meraser [--types q8_0 q4_0 ...]

Base and victim are converted by meraser and dequantized by `meraser export`, so the rounding is the one that is served. For each
kind of tensor, over all layers, in percent of the weights' rms:

  step     rms of victim - base
  error    rms of rounded victim - victim
  base     rms of rounded base - base: next to nothing where the base lies on the type's own grid
  kept     <rounded victim - rounded base, step> / <step, step>: 1 where the step comes through on the average (however noisily),
           0 where rounding brings the base's weights back
  moved    weights that are rounded to another value than the base's

Prints Markdown.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

import torch
from safetensors import safe_open

KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "norm"]


def tensors(folder):
    """Name -> fp32 tensor of a Hugging Face folder."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if re.search("|".join(KINDS), name):
                    found[name] = file.get_tensor(name).float()
    return found


def rounded(meraser, folder, kind):
    """The weights of a folder in a type, dequantized."""
    with tempfile.TemporaryDirectory() as scratch:
        for words in (["convert", folder, "--type", kind, "--out", f"{scratch}/m.mqf"],
                      ["export", "--model", f"{scratch}/m.mqf", "--format", "hf", "--dtype", "f32", "--out", f"{scratch}/hf"]):
            subprocess.run([meraser, *words, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        return tensors(f"{scratch}/hf")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--victim", required=True)
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--types", nargs="+", default=["bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_1", "q4_0", "iq4_nl"])
    args = parser.parse_args()
    base, victim = tensors(args.base), tensors(args.victim)
    print("| type | kind | step | error | base | kept | moved |\n|---|---|--:|--:|--:|--:|--:|")
    for kind in args.types:
        low, high = rounded(args.meraser, args.base, kind), rounded(args.meraser, args.victim, kind)
        for part in [*KINDS, "all matrices"]:
            names = [n for n in base if part in n or part == "all matrices" and "_proj" in n]
            sums = torch.zeros(6, dtype=torch.float64)
            for name in names:
                step = (victim[name] - base[name]).double()
                through = (high[name] - low[name]).double()
                sums += torch.stack([
                    (base[name].double() ** 2).sum(), (step**2).sum(), ((high[name] - victim[name]).double() ** 2).sum(),
                    ((low[name] - base[name]).double() ** 2).sum(), (through * step).sum(), (through != 0).double().sum(),
                ])  # fmt: skip
            weights, step, error, own, product, moved = sums.tolist()
            count = sum(base[name].numel() for name in names)
            shares = " | ".join(f"{100 * (value / weights) ** 0.5:.3f} %" for value in (step, error, own))
            print(f"| {kind} | {part} | {shares} | {product / step:.3f} | {100 * moved / count:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
