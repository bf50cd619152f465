#!/usr/bin/env python3
"""Writes the adapters of Tests/PipelineTests/Fixtures/token_rows: PEFT's own files with rows of the embedding, and what they give.

    python tools/make_token_fixture.py [--out Tests/PipelineTests/Fixtures/token_rows]

For the tiny models of Tests/ModelTests/Fixtures/arch: a LoRA of q_proj with trainable_token_indices on qwen2, whose head is its
embedding, and on qwen3, whose head is not (there as PEFT's dict); `rows` is qwen2 with rows alone (TRAINABLE_TOKENS). Each folder
has PEFT's two files and golden.safetensors: `ids` [T], `logits` [T, vocabulary], `loss` (mean over all tokens but the first),
and its gradients `grad.*` under PEFT's names. All in fp32; all numbers of an adapter are random.
"""

import argparse
import json
import pathlib

import oracle
import torch
import torch.nn.functional as F
from peft import LoraConfig, TrainableTokensConfig, get_peft_model
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = [5, 3, 17]
CONFIGS = {
    "tied": ("qwen2", LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], trainable_token_indices=TOKENS)),
    "untied": (
        "qwen3",
        LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": TOKENS}),
    ),
    "rows": ("qwen2", TrainableTokensConfig(token_indices=TOKENS)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/PipelineTests/Fixtures/token_rows", type=pathlib.Path)
    out = parser.parse_args().out
    for name, (arch, config) in CONFIGS.items():
        model = oracle.load_model(ROOT / "Tests/ModelTests/Fixtures/arch" / arch)
        config.task_type = "CAUSAL_LM"
        peft = get_peft_model(model, config).eval()
        generator = torch.Generator().manual_seed(7)
        parameters = {n: p for n, p in peft.named_parameters() if p.requires_grad}
        for parameter in parameters.values():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
        folder = out / name
        peft.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        # A name of this machine means nothing elsewhere.
        path = folder / "adapter_config.json"
        settings = json.loads(path.read_text())
        settings["base_model_name_or_path"] = arch
        path.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
        ids = torch.tensor([1, 5, 9, 3, 17, 2, 5, 30, 11, 3, 40, 17])
        logits = peft(ids[None]).logits[0]
        loss = F.cross_entropy(logits[:-1], ids[1:])
        loss.backward()
        tensors = {"ids": ids.int(), "logits": logits.detach().contiguous(), "loss": loss.detach().reshape(1)}
        for key, parameter in parameters.items():
            key = key.replace(".default", "")
            tensors[f"grad.{key}"] = parameter.grad.contiguous()
        save_file(tensors, folder / "golden.safetensors")
        print(name, arch, model.config.tie_word_embeddings, loss.item(), [k for k in tensors])


if __name__ == "__main__":
    main()
