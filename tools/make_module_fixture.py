#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/module_choices.json: which modules PEFT adapts for target_modules and exclude_modules.

    python tools/make_module_fixture.py [--out Tests/ModelTests/Fixtures/module_choices.json]

The models are random ones of Tests/ModelTests/Fixtures; PEFT's version is in the file.
"""

import argparse
import json
import pathlib

import oracle
import peft
from peft import LoraConfig, get_peft_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "Tests/ModelTests/Fixtures"
CHOICES = {
    "arch/llama3": [
        (r".*\.(q|v)_proj", None), (r"model\.layers\.[01]\.mlp\..*_proj", None), (r".*layers\.1\.self_attn\.k_proj|.*0.*down_proj", None),
        (r"q_proj|.*o_proj", None), (["q_proj", "up_proj"], ["layers.1.mlp.up_proj"]), (["q_proj", "k_proj"], r".*\.0\..*q_proj"),
        (oracle.ALL_LINEAR, ["v_proj", "model.layers.0.mlp.gate_proj"]), (r".*_proj", r".*self_attn.*"),
        (["q_proj", "v_proj"], ["_proj", "self_attn.v_proj"]),
    ],
    "small/phi3": [(r".*\.(qkv|gate_up)_proj", None), (["qkv_proj", "down_proj"], ["layers.0.self_attn.qkv_proj"])],
    "small/gpt_neox": [(r"gpt_neox\.layers\.\d+\.attention\.dense", None), (["query_key_value"], r".*\.1\..*")],
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=FIXTURES / "module_choices.json", type=pathlib.Path)
    out = parser.parse_args().out
    cases = []
    for name, choices in CHOICES.items():
        for target, exclude in choices:
            model = get_peft_model(
                oracle.load_model(FIXTURES / name),
                LoraConfig(r=1, target_modules=target, exclude_modules=exclude, task_type="CAUSAL_LM"),
            )
            found = sorted(n.removeprefix("base_model.model.") for n, m in model.named_modules() if hasattr(m, "lora_A"))
            cases.append({"model": name, "target": target, "exclude": exclude, "modules": found})
            print(name, target, exclude, len(found))
    text = json.dumps({"peft": peft.__version__, "cases": cases}, separators=(",", ":"))
    out.write_text(text.replace('{"model"', '\n{"model"') + "\n")


if __name__ == "__main__":
    main()
