#!/usr/bin/env python3
"""Runs `meraser logits` and Transformers (with an adapter: PEFT) on the same tokens and prints the largest differences.

    python tools/check_logits.py MODEL_DIR [--adapter DIR | --random-adapter q_proj,v_proj] [--ids 1,2,3 | --tokens 40]
                                 [--meraser .build/release/meraser] [--compute f32] [--save hidden.safetensors]

Both sides read the same Hugging Face folder; Transformers computes in fp32 with eager attention. Of logits and hidden states
the largest absolute difference counts, of the loss the relative one, of gradients the largest relative L2 of a tensor.
`--random-adapter` makes a PEFT adapter of rank 4 with both factors random, so that gradients of both can be compared.
Without --ids the tokens are random. `--save` keeps Transformers' hidden states for a test. Exit status 1: logits or hidden
states differ by more than --tolerance, loss or gradients by more than --gradient-tolerance.
"""

import argparse
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face folder")
    parser.add_argument("--adapter", help="PEFT folder")
    parser.add_argument("--random-adapter", metavar="MODULES", help="make one for these modules, with commas")
    parser.add_argument("--ids", help="token ids, with commas")
    parser.add_argument("--tokens", type=int, default=40, help="number of random tokens without --ids")
    parser.add_argument("--meraser", default=".build/release/meraser", help="the program")
    parser.add_argument("--compute", default="f32", help="meraser's precision")
    parser.add_argument("--save", help="write Transformers' hidden states here")
    parser.add_argument("--tolerance", type=float, default=2e-4, help="of logits and hidden states, absolute")
    parser.add_argument("--gradient-tolerance", type=float, default=1e-4, help="of loss and gradients, relative")
    args = parser.parse_args()
    if args.adapter and args.random_adapter:
        parser.error("give either --adapter or --random-adapter")
    return args


def load_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def random_adapter(folder, modules, out):
    """A PEFT folder with both factors random."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=modules.split(","), task_type="CAUSAL_LM")
    model = get_peft_model(load_model(folder), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(out)
    return out


def run_meraser(args, adapter, ids, out):
    command = [args.meraser, "logits", "--model", args.model, "--ids", ",".join(map(str, ids)), "--hidden"]
    command += ["--compute", args.compute, "--out", out, "-q"]
    if adapter:
        command += ["--adapter", adapter, "--gradients"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_file(out)


def run_transformers(model_dir, adapter, ids):
    """The same tensors under the same names."""
    model = load_model(model_dir)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True).eval()
    tokens = torch.tensor([ids])
    result = model(tokens, labels=tokens if adapter else None, output_hidden_states=True, use_cache=False)
    tensors = {"input_ids": tokens[0], "logits": result.logits[0]}
    tensors |= {f"hidden_states.{i}": state[0] for i, state in enumerate(result.hidden_states)}
    if adapter:
        result.loss.backward()
        tensors["loss"] = result.loss.reshape(1)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                tensors[name.replace(".default.weight", ".weight")] = parameter.grad
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        adapter = args.adapter
        if args.random_adapter:
            adapter = random_adapter(args.model, args.random_adapter, folder + "/adapter")
        if args.ids:
            ids = [int(word) for word in args.ids.split(",")]
        else:
            vocabulary = load_model(args.model).config.vocab_size
            ids = torch.randint(vocabulary, (args.tokens,), generator=torch.Generator().manual_seed(0)).tolist()
        ours = run_meraser(args, adapter, ids, folder + "/out.safetensors")
        theirs = run_transformers(args.model, adapter, ids)
    if ours.keys() != theirs.keys():
        sys.exit(f"the tensors differ: {sorted(ours.keys() ^ theirs.keys())}")
    if args.save:
        save_file({name: t for name, t in theirs.items() if name.startswith("hidden_states.")}, args.save)
    differences = {"logits": 0.0, "hidden states": 0.0, "loss": 0.0, "gradients": 0.0}
    for name in theirs.keys() - {"input_ids"}:
        difference, wanted = (ours[name] - theirs[name]).double(), theirs[name].double()
        if name == "logits" or name.startswith("hidden_states."):
            kind, value = ("logits" if name == "logits" else "hidden states"), difference.abs().max().item()
        else:
            kind, value = ("loss" if name == "loss" else "gradients"), (difference.norm() / wanted.norm()).item()
        differences[kind] = max(differences[kind], value)
    same = (ours["logits"].argmax(-1) == theirs["logits"].argmax(-1)).double().mean().item()
    print(f"{args.model}: {len(ids)} tokens, same top token {100 * same:.1f} %")
    for kind, value in differences.items():
        if adapter or kind in ("logits", "hidden states"):
            print(f"  {kind:14} {value:.2e}")
    wrong = max(differences["logits"], differences["hidden states"]) > args.tolerance
    return 1 if wrong or max(differences["loss"], differences["gradients"]) > args.gradient_tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
