#!/usr/bin/env python3
"""Runs mergekit-extract-lora and `meraser extract-lora` on the same checkpoints and compares what they write.

    /opt/mergekit/bin/python tools/extract_parity.py --meraser .build/debug/meraser [--golden Tests/MergeTests/Fixtures]

Needs mergekit (checked with 0.1.5), peft and transformers. The checkpoints are small ones in fp32, with a head of their own and with
one that is the embedding, whose layers differ by a low rank and noise. Of each module that both have factors of the products B·A are
compared, relative to mergekit's, and the lengths of the factors' rows and columns (what a singular value's root goes into); of whole
tensors, which mergekit saves where nothing differs too, the numbers. PEFT then loads what meraser wrote at full rank: the logits
must be the tuned model's. `--golden` writes one case for the tests.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from mergekit.scripts.extract_lora import main as mergekit
from mergekit_parity import make_checkpoint
from safetensors.torch import load_file, save_file

os.environ["HF_HUB_OFFLINE"] = "1"
CASES = [
    ("plain", []), ("embed", ["--embed-lora"]), ("one side", ["--embed-lora", "--no-distribute-scale"]),
    ("epsilon", ["--embed-lora", "--sv-epsilon", "0.4"]), ("layers", ["--skip-undecomposable", "-e", "embed", "-e", "lm_head"]),
    ("saved", ["--save-module", "q_proj", "--save-module", "k_proj", "--skip-undecomposable"]),
]  # fmt: skip


def tune(base, tuned, generator):
    """A checkpoint that differs from `base` by rank 3 and a little noise in every tensor."""
    os.makedirs(tuned, exist_ok=True)
    tensors = load_file(f"{base}/model.safetensors")
    for name, tensor in tensors.items():
        change = torch.randn(tensor.shape, generator=generator) * 1e-3
        if tensor.dim() == 2:
            left = torch.randn(tensor.shape[0], 3, generator=generator) * torch.tensor([1.0, 0.5, 0.2])
            change += 0.05 * left @ torch.randn(3, tensor.shape[1], generator=generator)
        tensors[name] = (tensor.float() + change).contiguous()
    save_file(tensors, f"{tuned}/model.safetensors", metadata={"format": "pt"})
    with open(f"{base}/config.json") as source, open(f"{tuned}/config.json", "w") as target:
        target.write(source.read())


def parts(folder):
    """Factors by module, as the product's two sides [N, r] and [r, K], and whole tensors by name."""
    tensors = load_file(f"{folder}/adapter_model.safetensors")
    with open(f"{folder}/adapter_config.json") as file:
        config = json.load(file)
    factors, whole = {}, {}
    for name, tensor in tensors.items():
        short = name.removeprefix("base_model.model.")
        for a, b, turned in [(".lora_A.weight", ".lora_B.weight", False), (".lora_embedding_A", ".lora_embedding_B", True)]:
            if name.endswith(a):
                other = tensors[name.removesuffix(a) + b]
                factors[short.removesuffix(a)] = (other.double(), tensor.double(), turned)
        if ".lora_" not in name:
            whole[short] = tensor
    return factors, whole, config


def relative(got, want):
    return ((got - want).norm() / want.norm()).item()


def compare(ours, theirs):
    """The largest differences, and what only one of them has."""
    (factors, whole, config), (factors2, whole2, config2) = parts(ours), parts(theirs)
    result = {"modules": len(factors), "only one has": sorted(set(factors) ^ set(factors2))}
    product = lengths = 0.0
    for name in set(factors) & set(factors2):
        (b, a, turned), (b2, a2, turned2) = factors[name], factors2[name]
        assert turned == turned2 and a.shape == a2.shape and b.shape == b2.shape, (name, a.shape, a2.shape)
        product = max(product, relative(b @ a, b2 @ a2))
        lengths = max(lengths, relative(a.norm(dim=1), a2.norm(dim=1)), relative(b.norm(dim=0), b2.norm(dim=0)))
    result |= {"product": product, "lengths": lengths, "r": (config["r"], config2["r"])}
    result["whole differ"] = [n for n in whole if n not in whole2 or not torch.equal(whole[n].float(), whole2[n].float())]
    result["only mergekit saves"] = len(set(whole2) - set(whole))
    return result


def peft_logits(base, tuned, adapter):
    """The largest difference of PEFT's logits with the adapter from the tuned model's."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        want = AutoModelForCausalLM.from_pretrained(tuned, dtype=torch.float32)(ids).logits
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        return (PeftModel.from_pretrained(model, adapter)(ids).logits - want).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/debug/meraser")
    parser.add_argument("--golden")
    arguments = parser.parse_args()
    generator, failed = torch.Generator().manual_seed(9), False
    with tempfile.TemporaryDirectory() as root:
        for tied in (False, True):
            base, tuned = f"{root}/base{tied}", f"{root}/tuned{tied}"
            small = {"hidden": 16, "inter": 24, "layers": 1, "vocab": 40} if arguments.golden else {}
            make_checkpoint(base, 4, "float32", tied=tied, **small)
            tune(base, tuned, generator)
            for name, options in CASES:
                theirs, ours = f"{root}/theirs{tied}{name}".replace(" ", "_"), f"{root}/ours"
                common = ["--model", tuned, "--base-model", base, "--max-rank", "4", *options]
                if "--skip-undecomposable" not in options:
                    common.append("--skip-undecomposable")
                try:
                    mergekit([*common, "--out-path", theirs], standalone_mode=False)
                except Exception as error:
                    print(f"{'tied' if tied else 'own head':9} {name:9} mergekit fails: {error!r}")
                    continue
                program = [arguments.meraser, "extract-lora", *common, "--out", ours, "--overwrite", "-q"]
                subprocess.run(program, check=True, capture_output=True)
                result = compare(ours, theirs)
                failed |= result["product"] > 2e-6 or result["lengths"] > 1e-5 or bool(result["whole differ"])
                print(f"{'tied' if tied else 'own head':9} {name:9} {result}")
                if arguments.golden and name == "embed":
                    golden = {f"base.{n}": t for n, t in load_file(f"{base}/model.safetensors").items()}
                    golden |= {f"tuned.{n}": t for n, t in load_file(f"{tuned}/model.safetensors").items()}
                    golden |= {f"mergekit.{n}": t for n, t in load_file(f"{theirs}/adapter_model.safetensors").items()}
                    save_file(golden, f"{arguments.golden}/extract_{'tied' if tied else 'own'}.safetensors")
            program = [arguments.meraser, "extract-lora", "--model", tuned, "--base-model", base, "--embed-lora", "--out"]
            subprocess.run([*program, f"{root}/full", "--overwrite", "-q"], check=True, capture_output=True)
            difference = peft_logits(base, tuned, f"{root}/full")
            failed |= difference > 1e-4
            print(f"PEFT's logits with all singular values: {difference:.2g} from the tuned model's")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
