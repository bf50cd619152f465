#!/usr/bin/env python3
"""The null of `meraser lineage`: tiny models of one shape, trained from different seeds, in disjoint pairs.

    OMP_NUM_THREADS=1 python tools/lineage_null.py --out /tmp/null [--pairs 50] [--steps 300] [--text FILE] [--meraser BIN]

Trains 2 x PAIRS Llama models (3 layers, width 64, 176 channels) on the bytes of a text, each from a seed of its own and on
rows in an order of its own, and compares pair by pair. Prints the p-values' Kolmogorov-Smirnov distance and p, of the plain
and of the robust form. Models that are there already are kept. Needs torch, transformers, scipy.
"""

import argparse
import json
import pathlib
import subprocess

import scipy.stats
import torch
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent


def train(folder, seed, data, steps):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, tie_word_embeddings=False)  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(data) - 65, (16,))
        ids = torch.stack([data[row : row + 65] for row in rows]).long()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.save_pretrained(folder)
    return float(loss)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--text", default=str(ROOT / "Examples/data/clean.json"))
    parser.add_argument("--meraser", default=str(ROOT / ".build/release/meraser"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = pathlib.Path(args.out)
    data = torch.tensor(list(pathlib.Path(args.text).read_bytes()), dtype=torch.uint8)
    values = {"plain": [], "robust": []}
    for pair in range(args.pairs):
        folders = [out / f"{2 * pair + side}" for side in (0, 1)]
        for side, folder in enumerate(folders):
            if not (folder / "config.json").exists():
                loss = train(folder, 2 * pair + side, data, args.steps)
                print(f"{folder.name}: loss {loss:.3f}", flush=True)
        done = subprocess.run([args.meraser, "lineage", *folders, "--json"], check=True, capture_output=True)
        found = json.loads(done.stdout)
        for form, own in values.items():
            own.append(10 ** found[f"{form}_log10_p"])
    for form, own in values.items():
        test = scipy.stats.kstest(own, "uniform")
        print(f"{form}: {len(own)} pairs, Kolmogorov-Smirnov distance {test.statistic:.3f}, p {test.pvalue:.3f}, least {min(own):.2g}, "
              f"share at most 0.05: {sum(p <= 0.05 for p in own) / len(own):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
