#!/usr/bin/env python3
"""Moves a model's matrices off the grid that they lie on: noise of half a step of q8_0, drawn evenly, the same for one seed.

    python tools/victims/off_grid.py --model HF_FOLDER --out HF_FOLDER2 [--seed 1]

The only published file of SmolLM2 at hand is a Q4_1 that was made from a Q8_0, so its weights lie on both types' grids and
rounding brings them back exactly, with nearly all of a small fine-tuning step undone. A model that was trained in bf16 lies on
no such grid. What q8_0 does to a mark there is seen on a victim with this noise, as large as q8_0's own rounding. The noise does
not depend on the fine-tuning: blocks are scaled by the largest weight of --scale (default: the model itself), so that base and
victim get the same.
"""

import argparse
import pathlib
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--scale", help="Hugging Face folder of the base")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(args.seed)
    model, out = pathlib.Path(args.model), pathlib.Path(args.out)
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors"))
    moved = {}
    with (safe_open(model / "model.safetensors", "pt") as file,
          safe_open(pathlib.Path(args.scale or model) / "model.safetensors", "pt") as base):  # fmt: skip
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name).float()
            if tensor.dim() == 2:
                blocks = base.get_tensor(name).float().reshape(-1, 32)
                noise = torch.rand(blocks.shape, generator=generator) - 0.5
                tensor += (noise * blocks.abs().amax(1, keepdim=True) / 127).reshape(tensor.shape)
            moved[name] = tensor
    save_file(moved, out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
