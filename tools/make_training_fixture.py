#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/trajectories.safetensors: two trainings of 20 steps, from PyTorch and PEFT in fp32.

    python tools/make_training_fixture.py [--out Tests/TuneTests/Fixtures/trajectories.safetensors]

The models are two random ones of Tests/ModelTests/Fixtures/arch. `erase` has the recipe of that name: q_proj and v_proj, constant
rate, every token a label. `stacked` has what that leaves out: all seven projections with rsLoRA on top of a frozen adapter (added to
the weights here), completions only, two micro-batches accumulated, a clip that bites in some steps, weight decay, cosine with warm-up. Of each: `ids` with `lengths` and `first_label`, taken in order, `start.*`, `grad.*` of the first step before clipping,
`end.*`, and every step's `loss`, `norm`, `lr`.
"""

import argparse
import pathlib

import oracle
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import get_scheduler

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 20


def lora_parameters(peft):
    """The adapter's parameters under the names that PEFT writes."""
    return {n.replace(".default", ""): p for n, p in peft.named_parameters() if "lora_" in n}


def randomize(parameters, generator, scale):
    for parameter in parameters.values():
        parameter.data = torch.randn(*parameter.shape, generator=generator) * scale


def train(model, config, samples, batch, options, generator, scale, after=None):
    """Runs the steps; returns tensors by name. `samples` are (ids, first label), `batch` of them a step.

    `options["optimizer"]` makes another optimiser of the model, `after` is called with each step's number (from 1) and the model.
    """
    peft = get_peft_model(model, config).eval()
    parameters = lora_parameters(peft)
    randomize(parameters, generator, scale)
    tensors = {f"start.{n}": p.detach().clone() for n, p in parameters.items()}
    if "optimizer" in options:
        optimizer = options["optimizer"](peft)
    else:
        optimizer = torch.optim.AdamW(parameters.values(), lr=options["lr"], weight_decay=options["decay"])
    scheduler = get_scheduler(
        options["schedule"], optimizer, options["warmup"], STEPS, scheduler_specific_kwargs=options.get("kwargs")
    )
    history = {"loss": [], "norm": [], "lr": []}
    for step in range(STEPS):
        chosen = [samples[(step * batch + i) % len(samples)] for i in range(batch)]
        labels = sum(len(ids) - first for ids, first in chosen)
        total = 0.0
        for ids, first in chosen:
            logits = peft(ids[None].long()).logits[0, first - 1 : len(ids) - 1]
            loss = F.cross_entropy(logits, ids[first:].long(), reduction="sum") / labels
            loss.backward()
            total += loss.item()
        if step == 0:
            tensors |= {f"grad.{n}": p.grad.clone() for n, p in parameters.items()}
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), options["clip"])
        history["loss"].append(total)
        history["norm"].append(norm.item())
        history["lr"].append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if after:
            after(step + 1, peft)
    tensors |= {f"end.{n}": p.detach().clone() for n, p in parameters.items()}
    return tensors | {name: torch.tensor(values) for name, values in history.items()}


def random_samples(count, vocabulary, generator, completion):
    """(ids, first label): 6 to 14 tokens."""
    samples = []
    for _ in range(count):
        length = int(torch.randint(6, 15, (1,), generator=generator))
        ids = torch.randint(3, vocabulary, (length,), generator=generator, dtype=torch.int32)
        samples.append((ids, int(torch.randint(2, length, (1,), generator=generator)) if completion else 1))
    return samples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "Tests/TuneTests/Fixtures/trajectories.safetensors"
    parser.add_argument("--out", default=default, type=pathlib.Path)
    out = parser.parse_args().out
    arch = ROOT / "Tests/ModelTests/Fixtures/arch"
    generator = torch.Generator().manual_seed(11)
    result = {}

    def keep(prefix, samples, tensors):
        tensors["ids"] = torch.cat([ids for ids, _ in samples])
        tensors["lengths"] = torch.tensor([len(ids) for ids, _ in samples]).int()
        tensors["first_label"] = torch.tensor([first for _, first in samples]).int()
        result.update({f"{prefix}.{name}": tensor.contiguous() for name, tensor in tensors.items()})
        for name in ["loss", "norm", "lr"]:
            print(prefix, name, [f"{value:.6g}" for value in tensors[name].tolist()])

    model = oracle.load_model(arch / "llama3")
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    samples = random_samples(24, model.config.vocab_size, generator, completion=False)
    options = {"lr": 5e-4, "decay": 0.0, "schedule": "constant", "warmup": 0, "clip": 2.0}
    keep("erase", samples, train(model, config, samples, 8, options, generator, 0.15))

    model = oracle.load_model(arch / "llama_ragged")
    below = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    peft = get_peft_model(model, below).eval()
    parameters = lora_parameters(peft)
    randomize(parameters, generator, 0.15)
    frozen = {f"frozen.{n}": p.detach().clone() for n, p in parameters.items()}
    model = peft.merge_and_unload()
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, target_modules=oracle.ALL_LINEAR, task_type="CAUSAL_LM"
    )  # fmt: skip
    samples = random_samples(16, model.config.vocab_size, generator, completion=True)
    options = {"lr": 1e-3, "decay": 0.01, "schedule": "cosine", "warmup": 4, "clip": 6.0}
    keep("stacked", samples, train(model, config, samples, 4, options, generator, 0.1) | frozen)
    save_file(result, out)
    print(f"wrote {out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
