#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/options.safetensors: what options of Trainer and PEFT do to trainings, from PyTorch in fp32.

    python tools/make_option_fixture.py [--out Tests/TuneTests/Fixtures/options.safetensors]

Tensors are named as in make_training_fixture.py. `loraplus` is PEFT's create_loraplus_optimizer with other betas and epsilon, weight
decay, a polynomial schedule and a warm-up in steps. `best` has a rate that is too high: every four steps the loss of other rows
(`eval.*`) is measured, as the mean over their label tokens (`eval_loss`), and `best.*` are the parameters where it was lowest.
`neftune` is the loss of two sequences whose embeddings have the noise `noise.0`, `noise.1` on them, and its gradient. The versions are
in the file's metadata.
"""

import argparse
import pathlib

import oracle
import peft as peft_package
import torch
import torch.nn.functional as F
import transformers
from make_training_fixture import lora_parameters, random_samples, randomize, train
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCH = ROOT / "Tests/ModelTests/Fixtures/arch/llama3"


def config():
    return LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/TuneTests/Fixtures/options.safetensors", type=pathlib.Path)
    out = parser.parse_args().out
    generator = torch.Generator().manual_seed(23)
    result = {}

    def keep(prefix, samples, tensors):
        tensors["ids"] = torch.cat([ids for ids, _ in samples])
        tensors["lengths"] = torch.tensor([len(ids) for ids, _ in samples]).int()
        tensors["first_label"] = torch.tensor([first for _, first in samples]).int()
        result.update({f"{prefix}.{name}": tensor.contiguous() for name, tensor in tensors.items()})

    model = oracle.load_model(ARCH)
    vocabulary = model.config.vocab_size
    samples = random_samples(12, vocabulary, generator, completion=True)
    options = {
        "lr": 1e-3, "schedule": "polynomial", "kwargs": {"power": 2.0, "lr_end": 1e-5}, "warmup": 5, "clip": 1.5,
        "optimizer": lambda peft: create_loraplus_optimizer(
            peft, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8.0, loraplus_weight_decay=0.02, betas=(0.8, 0.95),
            eps=1e-4),
    }  # fmt: skip
    keep("loraplus", samples, train(model, config(), samples, 4, options, generator, 0.15))

    samples = random_samples(8, vocabulary, generator, completion=True)
    others = samples[:1] + random_samples(20, vocabulary, generator, completion=True)  # falls first, rises then
    measured, best = [], {}

    def measure(step, peft):
        if step % 4:
            return
        with torch.no_grad():
            total = sum(
                F.cross_entropy(peft(ids[None].long()).logits[0, first - 1 : -1], ids[first:].long(), reduction="sum").item()
                for ids, first in others
            )
        measured.append(total / sum(len(ids) - first for ids, first in others))
        if measured[-1] == min(measured):
            best.update({f"best.{n}": p.detach().clone() for n, p in lora_parameters(peft).items()})

    model = oracle.load_model(ARCH)
    options = {"lr": 2e-2, "decay": 0.0, "schedule": "constant", "warmup": 0, "clip": 1.0}
    tensors = train(model, config(), samples, 4, options, generator, 0.15, after=measure)
    keep("best", samples, tensors | best | {"eval_loss": torch.tensor(measured)})
    keep("best.eval", others, {})
    print("eval", [f"{value:.5f}" for value in measured])

    model = oracle.load_model(ARCH)
    peft = get_peft_model(model, config()).eval()
    parameters = lora_parameters(peft)
    randomize(parameters, generator, 0.15)
    tensors = {f"start.{n}": p.detach().clone() for n, p in parameters.items()}
    samples = random_samples(2, vocabulary, generator, completion=False)
    labels = sum(len(ids) - first for ids, first in samples)
    total = 0.0
    for index, (ids, first) in enumerate(samples):
        embedded = model.get_input_embeddings()(ids[None].long()).detach()
        noise = (torch.rand(embedded.shape, generator=generator) * 2 - 1) * 5 / embedded[0].numel() ** 0.5
        tensors[f"noise.{index}"] = noise[0]
        logits = peft(inputs_embeds=embedded + noise).logits[0, first - 1 : -1]
        total = total + F.cross_entropy(logits, ids[first:].long(), reduction="sum") / labels
    total.backward()
    tensors |= {f"grad.{n}": p.grad.clone() for n, p in parameters.items()}
    keep("neftune", samples, tensors | {"loss": total.detach().reshape(1)})

    versions = {"torch": torch.__version__, "peft": peft_package.__version__, "transformers": transformers.__version__}
    save_file(result, out, metadata=versions)
    print(f"wrote {out}: {out.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
