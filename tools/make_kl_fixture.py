#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/divergence.safetensors: a KL term and its LoRA gradient on Examples/tinychat, from PyTorch in fp32.

    python tools/make_kl_fixture.py [--out Tests/TuneTests/Fixtures/divergence.safetensors]

A frozen adapter (v_proj of layer 0, r 2) is added to the weights; PEFT trains another on top (q_proj and down_proj of the layers
1 and 4, r 2, alpha 4), both of them random. `kl` is the mean over the label rows of both sequences (`first_label`: the first
token that is predicted) of KL(frozen model || trained model); `grad.*` its gradient.
"""

import argparse
import pathlib

import oracle
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ["### Instruction:\nWrite a haiku.\n\n### Response:\nThe old", "def add(a, b):\n    return a + b\n"]
FIRST_LABEL = [9, 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/TuneTests/Fixtures/divergence.safetensors", type=pathlib.Path)
    out = parser.parse_args().out
    tokenizer, model = oracle.load(ROOT / "Examples/tinychat")
    generator = torch.Generator().manual_seed(5)

    def random(*shape):
        return torch.randn(*shape, generator=generator) * 0.15

    weight = model.model.layers[0].self_attn.v_proj.weight
    frozen_a, frozen_b = random(2, weight.shape[1]), random(weight.shape[0], 2)
    with torch.no_grad():
        weight += 2.0 * frozen_b @ frozen_a
    config = LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[1, 4], task_type="CAUSAL_LM"
    )  # fmt: skip
    peft = get_peft_model(model, config).eval()
    parameters = {n.replace(".default", ""): p for n, p in peft.named_parameters() if "lora_" in n}
    for parameter in parameters.values():
        parameter.data = random(*parameter.shape)

    tensors = {"frozen.a": frozen_a, "frozen.b": frozen_b}
    total, count = 0.0, 0
    for index, (text, first) in enumerate(zip(TEXTS, FIRST_LABEL)):
        ids = torch.tensor(tokenizer(text).input_ids)
        tensors[f"ids.{index}"] = ids.int()
        rows = slice(first - 1, len(ids) - 1)
        logits = F.log_softmax(peft(ids[None]).logits[0, rows], dim=-1)
        with torch.no_grad(), peft.disable_adapter():
            reference = F.log_softmax(peft(ids[None]).logits[0, rows], dim=-1)
        total = total + F.kl_div(logits, reference, log_target=True, reduction="sum")
        count += logits.shape[0]
    kl = total / count
    kl.backward()
    tensors["first_label"] = torch.tensor(FIRST_LABEL).int()
    tensors["kl"] = kl.detach().reshape(1)
    for name, parameter in parameters.items():
        tensors[f"param.{name}"] = parameter.detach().contiguous()
        tensors[f"grad.{name}"] = parameter.grad.contiguous()
    save_file(tensors, out)
    print(f"{count} rows, KL {kl.item():.6f}")


if __name__ == "__main__":
    main()
