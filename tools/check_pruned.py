#!/usr/bin/env python3
"""Does Transformers load what `meraser prune` writes, and does it compute the whole model with the same parts silenced?

    /opt/venv/bin/python tools/check_pruned.py --meraser .build/debug/meraser --model Examples/tinychat
"""
import argparse
import json
import subprocess
import tempfile

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(2)


def kept(whole, part, unit, by_row):
    """Units of a weight's rows or columns that are in its pruned form."""
    if not by_row:
        whole, part = whole.T, part.T
    rows = {tuple(row.tolist()): i for i, row in enumerate(whole)}
    return sorted({rows[tuple(row.tolist())] // unit for row in part})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/debug/meraser")
    parser.add_argument("--model", default="Examples/tinychat")
    arguments = parser.parse_args()
    tokens = torch.randint(0, 500, (2, 40), generator=torch.Generator().manual_seed(0))
    for method in ("magnitude_l1", "magnitude_l2", "random"):
        with tempfile.TemporaryDirectory() as work:
            command = [arguments.meraser, "prune", "--model", arguments.model, "--method", method, "--ratio", "0.3",
                       "--out", f"{work}/out", "-q", "--json"]
            report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            pruned, info = AutoModelForCausalLM.from_pretrained(
                f"{work}/out", dtype=torch.float32, output_loading_info=True)
            whole = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
            config = whole.config
            width = config.num_attention_heads // config.num_key_value_heads * config.head_dim
            for big, small in zip(whole.model.layers, pruned.model.layers):
                channels = kept(big.mlp.up_proj.weight, small.mlp.up_proj.weight, 1, True)
                groups = kept(big.self_attn.q_proj.weight, small.self_attn.q_proj.weight, width, True)
                with torch.no_grad():
                    for weight, units, unit in ((big.mlp.down_proj.weight, channels, 1),
                                                (big.self_attn.o_proj.weight, groups, width)):
                        mask = torch.zeros(weight.shape[1] // unit, dtype=torch.bool)
                        mask[units] = True
                        weight *= mask.repeat_interleave(unit)
            with torch.no_grad():
                difference = (whole(tokens).logits - pruned(tokens).logits).abs().max().item()
            problems = {key: value for key, value in info.items() if value}
            print(f"{method}: {report['parameters']} of {report['source_parameters']} parameters, logits differ by at most "
                  f"{difference:.1e}, loading problems: {problems or 'none'}")
            assert difference < 1e-4 and not problems


if __name__ == "__main__":
    main()
