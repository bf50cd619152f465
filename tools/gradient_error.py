#!/usr/bin/env python3
"""What a precision of the forward does to a model's LoRA gradients: `meraser logits --gradients` in f32 and in --compute.

    python tools/gradient_error.py HF_DIR --model MODEL.mqf --text FILE [--windows 6] [--tokens 256] [--compute int8,bf16]
                                   [--modules q_proj,v_proj] [--meraser .build/release/meraser] [--isa NAME]

HF_DIR has the model's config.json (Llama's shapes), --model is what is measured (default: HF_DIR itself). The text is cut
into windows of --tokens tokens, from its beginning to its end; the adapter has rank 8 and both factors random (B as large as
after some training: 0.01), the same for every precision. Per tensor of the adapter the error is |g - g_f32| / |g_f32| (L2);
printed are, for each window and over all, median and worst of the tensors, the error of all tensors as one vector, and the
cosine between the two. MERASER_ISA (--isa avx2) keeps the backward in fp32 where the CPU has bf16.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

RANK = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="Hugging Face folder")
    parser.add_argument("--model", help="the model to measure")
    parser.add_argument("--text", required=True, type=pathlib.Path, help="plain text")
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=256, help="of a window")
    parser.add_argument("--compute", default="int8", help="precisions, with commas; int8+int8: the backward's behind a +")
    parser.add_argument("--modules", default="q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj")
    parser.add_argument("--meraser", default=".build/release/meraser", help="the program")
    parser.add_argument("--isa", help="MERASER_ISA")
    return parser.parse_args()


def write_adapter(config, modules, out):
    """A PEFT folder with both factors random."""
    random = np.random.default_rng(1)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    query, value, wide = heads * head, config["num_key_value_heads"] * head, config["intermediate_size"]
    shapes = {"q_proj": (hidden, query), "k_proj": (hidden, value), "v_proj": (hidden, value), "o_proj": (query, hidden),
              "gate_proj": (hidden, wide), "up_proj": (hidden, wide), "down_proj": (wide, hidden)}
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module in modules:
            columns, rows = shapes[module]
            path = f"base_model.model.model.layers.{layer}.{'self_attn' if module[0] in 'qkvo' else 'mlp'}.{module}"
            tensors[path + ".lora_A.weight"] = random.normal(0, 1 / math.sqrt(columns), (RANK, columns))
            tensors[path + ".lora_B.weight"] = random.normal(0, 0.01, (rows, RANK))
    save_file({name: t.astype(np.float32) for name, t in tensors.items()}, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": modules}))


def main():
    args = arguments()
    environment = dict(os.environ, **({"MERASER_ISA": args.isa} if args.isa else {}))

    def meraser(*words):
        return subprocess.run([args.meraser, *words, "-q"], check=True, env=environment, stdout=subprocess.PIPE).stdout

    with tempfile.TemporaryDirectory() as folder:
        folder, adapter = pathlib.Path(folder), pathlib.Path(folder) / "adapter"
        adapter.mkdir()
        write_adapter(json.loads((args.folder / "config.json").read_text()), args.modules.split(","), adapter)
        text = args.text.read_text()
        # Windows at equal distances: enough characters for the tokens, cut to them afterwards.
        starts = [len(text) * i // args.windows for i in range(args.windows)]

        def gradients(ids, compute):
            forward, _, backward = compute.partition("+")
            precision = ["--compute", forward] + (["--backward", backward] if backward else [])
            out = folder / "out.safetensors"
            meraser("logits", "--model", args.model or str(args.folder), "--adapter", str(adapter), "--gradients",
                    "--transfer", *precision, "--ids", ids, "--out", str(out), "--overwrite")
            tensors = load_file(out)
            return {name: t.astype(np.float64) for name, t in tensors.items() if ".lora_" in name}

        texts = []
        for start in starts:
            piece = folder / "text.safetensors"
            meraser("logits", "--model", str(args.folder), "--text", text[start:start + 8 * args.tokens], "--out",
                    str(piece), "--overwrite")
            texts.append(",".join(map(str, load_file(piece)["input_ids"][:args.tokens])))
        wanted = [gradients(ids, "f32") for ids in texts]
        for compute in args.compute.split(","):
            every, totals = [], []
            for i, ids in enumerate(texts):
                got = gradients(ids, compute)
                errors = {n: np.linalg.norm(got[n] - g) / np.linalg.norm(g) for n, g in wanted[i].items()}
                difference = math.sqrt(sum(((got[n] - g) ** 2).sum() for n, g in wanted[i].items()))
                size = math.sqrt(sum((g ** 2).sum() for g in wanted[i].values()))
                dot = sum((got[n] * g).sum() for n, g in wanted[i].items())
                cosine = dot / size / math.sqrt(sum((g ** 2).sum() for g in got.values()))
                worst = max(errors, key=errors.get)
                every += errors.values()
                totals.append(difference / size)
                print(f"{compute} window {i}: median {statistics.median(errors.values()):.5f}, worst {errors[worst]:.5f} "
                      f"({worst.removeprefix('base_model.model.model.')}), all {difference / size:.5f}, cosine {cosine:.6f}")
            print(f"{compute}: median {statistics.median(every):.5f}, worst {max(every):.5f}, "
                  f"all {statistics.mean(totals):.5f} (mean of the windows)")


if __name__ == "__main__":
    main()
