#!/usr/bin/env python3
"""Writes the adapters of Tests/ModelTests/Fixtures/peft_adapter: PEFT's own files for Examples/tinychat, and the logits there.

    python tools/make_peft_fixture.py [--out Tests/ModelTests/Fixtures/peft_adapter]

Two folders, each with adapter_config.json, adapter_model.safetensors and golden.safetensors: `ids` [T] (with BOS),
`positions` [2] and `logits` [2, vocabulary] of these positions, in fp32 on the bf16 weights. Both matrices of every pair are
random, so that an adapter which is not applied, or scaled wrongly, cannot pass:

- `plain`: r 4, alpha 8, q_proj and v_proj.
- `patterns`: rsLoRA, r 2, alpha 6, q_proj and down_proj of the layers 1, 2 and 5 only, with a rank_pattern and an
  alpha_pattern that match by suffix.
"""

import argparse
import pathlib

import oracle
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = "### Instruction:\nWrite a Python function that adds two numbers.\n\n### Response:\ndef add(a, b):\n    return"
CONFIGS = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "patterns": LoraConfig(
        r=2,
        lora_alpha=6,
        use_rslora=True,
        target_modules=["q_proj", "down_proj"],
        layers_to_transform=[1, 2, 5],
        rank_pattern={"down_proj": 3, "layers.2.self_attn.q_proj": 5},
        alpha_pattern={"layers.5.mlp.down_proj": 10, "layers.2.self_attn.q_proj": 4},
        task_type="CAUSAL_LM",
    ),
}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/ModelTests/Fixtures/peft_adapter", type=pathlib.Path)
    out = parser.parse_args().out
    for name, config in CONFIGS.items():
        tokenizer, model = oracle.load(ROOT / "Examples/tinychat")
        ids = torch.tensor(tokenizer(TEXT).input_ids)
        positions = torch.tensor([len(ids) // 2, len(ids) - 1])
        base = model(ids[None]).logits[0, positions]
        torch.manual_seed(7)
        peft = get_peft_model(model, config).eval()
        for weight in (p for n, p in peft.named_parameters() if "lora_" in n):
            weight.normal_(0, 0.1)
        logits = peft(ids[None]).logits[0, positions]
        peft.peft_config["default"].base_model_name_or_path = "tinychat"  # no local path in the repository
        peft.save_pretrained(out / name, save_embedding_layers=False)
        (out / name / "README.md").unlink(missing_ok=True)
        golden = {"ids": ids.int(), "positions": positions.int(), "logits": logits.contiguous()}
        save_file(golden, out / name / "golden.safetensors")
        print(f"{name}: {len(ids)} ids, logits moved by {(logits - base).abs().max():.3f} at most")


if __name__ == "__main__":
    main()
