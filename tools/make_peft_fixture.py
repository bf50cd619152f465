#!/usr/bin/env python3
"""Writes the adapters of Tests/ModelTests/Fixtures/peft_adapter: PEFT's own files for Examples/tinychat, and the logits there.

    python tools/make_peft_fixture.py [--out Tests/ModelTests/Fixtures/peft_adapter]

Three folders, each with adapter_config.json, adapter_model.safetensors (or .bin) and golden.safetensors: `ids` [T] (with
BOS), `positions` [2] and `logits` [2, vocabulary] of these positions, in fp32 on the bf16 weights. All numbers of an adapter
are random, so that one which is not applied, or scaled wrongly, cannot pass:

- `plain`: r 4, alpha 8, q_proj and v_proj; beside it adapter.gguf, the same with llama.cpp's names and its order of rows.
- `patterns`: rsLoRA, r 2, alpha 6, q_proj and down_proj of the layers 1, 2 and 5 only, with a rank_pattern and an
  alpha_pattern that match by suffix.
- `dora`: a DoRA of q_proj and down_proj in layer 1, with all norms in modules_to_save, as adapter_model.bin.
"""

import argparse
import pathlib

import gguf
import oracle
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

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
    "dora": LoraConfig(
        r=2,
        lora_alpha=6,
        use_dora=True,
        target_modules=["q_proj", "down_proj"],
        layers_to_transform=[1],
        modules_to_save=["norm"],
        task_type="CAUSAL_LM",
    ),
}
GGUF_NAMES = {"q_proj": "attn_q", "v_proj": "attn_v"}


def write_gguf(folder, heads):
    """The adapter of a PEFT folder as llama.cpp's convert_lora_to_gguf.py writes it for its architecture `llama`: the rows of
    q lie as its rotary embedding has them, a head's halves interleaved."""
    writer = gguf.GGUFWriter(folder / "adapter.gguf", "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for name, values in load_file(folder / "adapter_model.safetensors").items():
        layer, module, factor = (name.split(".")[i] for i in (4, 6, 7))
        if factor == "lora_B" and module == "q_proj":
            rows, rank = values.shape
            values = values.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank)
        writer.add_tensor(f"blk.{layer}.{GGUF_NAMES[module]}.weight.{factor.lower()}", values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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
        for weight_name, weight in peft.named_parameters():
            if "magnitude" in weight_name or "modules_to_save" in weight_name:
                weight.mul_(1 + 0.3 * torch.randn_like(weight))
            elif "lora_" in weight_name:
                weight.normal_(0, 0.1)
        logits = peft(ids[None]).logits[0, positions]
        peft.peft_config["default"].base_model_name_or_path = "tinychat"  # no local path in the repository
        peft.save_pretrained(out / name, save_embedding_layers=False, safe_serialization=name != "dora")
        (out / name / "README.md").unlink(missing_ok=True)
        golden = {"ids": ids.int(), "positions": positions.int(), "logits": logits.contiguous()}
        save_file(golden, out / name / "golden.safetensors")
        if name == "plain":
            write_gguf(out / name, model.config.num_attention_heads)
        print(f"{name}: {len(ids)} ids, logits moved by {(logits - base).abs().max():.3f} at most")


if __name__ == "__main__":
    main()
