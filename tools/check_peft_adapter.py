#!/usr/bin/env python3
"""Loads adapters with PEFT and compares the logits with those that meraser wrote.

    python tools/check_peft_adapter.py MODEL_DIR ADAPTER_DIR... --golden logits.safetensors [--tolerance 5e-5]
    python tools/check_peft_adapter.py MODEL_DIR ADAPTER_DIR... --ids 1,496,980 [--out logits.safetensors]

The file holds `ids` [T] or [B, T] and `logits` [T, vocabulary] or [B, T, vocabulary]; with `positions` [P] the logits are
those of these positions only. Several adapters are a stack, lowest first: each is fused in fp32 into what is below it, the
topmost stays unfused, as PEFT runs it. Exit code 1 if a logit differs by more than the tolerance.
"""

import argparse
import sys

import oracle
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face folder")
    parser.add_argument("adapters", nargs="*", help="PEFT folders, lowest first")
    parser.add_argument("--golden", help="safetensors file with ids and logits to compare with")
    parser.add_argument("--ids", help="token ids, separated by commas, if there is no --golden")
    parser.add_argument("--out", help="write ids and logits to this safetensors file")
    parser.add_argument("--tolerance", type=float, default=5e-5, help="largest difference of a logit")
    args = parser.parse_args()
    if bool(args.golden) == bool(args.ids):
        parser.error("give either --golden or --ids")
    return args


@torch.no_grad()
def main():
    args = arguments()
    model = oracle.load_model(args.model)
    for adapter in args.adapters[:-1]:
        model = oracle.merge(model, adapter)
    if args.adapters:
        model = PeftModel.from_pretrained(model, args.adapters[-1]).eval()
    golden = load_file(args.golden) if args.golden else {"ids": torch.tensor([int(i) for i in args.ids.split(",")])}
    ids = golden["ids"].long()
    logits = model(ids.reshape(-1, ids.shape[-1])).logits
    if "positions" in golden:
        logits = logits[:, golden["positions"].long()]
    logits = logits if ids.dim() == 2 else logits[0]
    if args.out:
        save_file({"ids": ids, "logits": logits.contiguous()}, args.out)
    if "logits" not in golden:
        print("greedy next tokens:", logits.argmax(-1).tolist())
        return 0
    wanted = golden["logits"].float()
    if wanted.shape != logits.shape:
        sys.exit(f"{args.golden}: logits are {list(wanted.shape)}, PEFT's are {list(logits.shape)}")
    difference = (wanted - logits).abs()
    same = (wanted.argmax(-1) == logits.argmax(-1)).float().mean().item()
    print(f"largest difference {difference.max():.3g}, mean {difference.mean():.3g}, same top token {100 * same:.1f} %")
    return 0 if difference.max() <= args.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
