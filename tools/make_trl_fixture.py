#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/trl.safetensors: what TRL's DPOTrainer and SFTTrainer do to LoRA adapters, in fp32 on the CPU.

    python tools/make_trl_fixture.py [--out Tests/TuneTests/Fixtures/trl.safetensors]

Needs trl beside what tools/peers installs. The trainers themselves run: this only hands them ids in place of texts, takes the rows in
their order, and writes down what they say. `sigmoid` are 20 steps of two micro-batches, `hinge`, `ipo` and `robust` 6 steps, `sft` 20
steps of SFTTrainer on the chosen answers. Tensors are named as in make_training_fixture.py: `start.*`, `grad.*` of the first step
before clipping, `end.*`, and every step's `loss`, `norm`, `lr`; of DPO also `rewards.chosen` and `rewards.rejected`. Of pairs `ids`
with `lengths` and `first_label` are the chosen texts, `rejected.ids` with `rejected.lengths` the others, which have the same prompts.
`rows.*` are the ids that DPOTrainer makes of the texts of ROWS with tinychat's tokenizer; the versions are in the metadata.
"""

import argparse
import pathlib
import tempfile

import oracle
import peft as peft_package
import torch
import transformers
import trl
from datasets import Dataset
from make_training_fixture import lora_parameters, randomize
from peft import LoraConfig
from safetensors.torch import save_file
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCH = ROOT / "Tests/ModelTests/Fixtures/arch/llama3"
ROWS = [
    {"prompt": "Q: What is the sun?\nA:", "chosen": " A star.", "rejected": " A cheese, and a large one."},
    {"prompt": "Say yes.\n", "chosen": "Yes", "rejected": "No, never."},
]


class Told(TrainerCallback):
    """The gradient of the first step."""

    def __init__(self):
        self.gradients = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.gradients = {f"grad.{n}": p.grad.clone() for n, p in lora_parameters(model).items()}


def follow(base):
    """The trainer with rows as they are, in their order, that keeps what each micro-batch costs."""

    class Followed(base):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            self.seen.append(loss.item())
            return loss

        def log(self, logs, *args, **kwargs):
            if "grad_norm" in logs:
                self.told.append(dict(logs) | {k: sum(v) / len(v) for k, v in self._metrics["train"].items() if v})
            super().log(logs, *args, **kwargs)

    return Followed


def run(base, config, columns, rows, generator, scale=0.15, lora=None):
    """Trains; returns tensors by name."""
    told = Told()
    lora = lora or LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = follow(base)(
        model=oracle.load_model(ARCH), args=config, train_dataset=Dataset.from_list([{c: r[c] for c in columns} for r in rows]),
        processing_class=AutoTokenizer.from_pretrained(ROOT / "Examples/tinychat"), peft_config=lora, callbacks=[told],
    )  # fmt: skip
    trainer.seen, trainer.told = [], []
    # The adapter is random from here on; without it the model is the reference, as for an adapter that is new.
    parameters = lora_parameters(trainer.model)
    with torch.no_grad():
        randomize(parameters, generator, scale)
    tensors = {f"start.{n}": p.detach().clone() for n, p in parameters.items()}
    trainer.train()
    tensors |= told.gradients | {f"end.{n}": p.detach().clone() for n, p in parameters.items()}
    each = config.gradient_accumulation_steps
    losses = torch.tensor(trainer.seen, dtype=torch.float64).reshape(-1, each).sum(dim=1)
    tensors["loss"] = losses.float()
    tensors["norm"] = torch.tensor([float(step["grad_norm"]) for step in trainer.told])
    tensors["lr"] = torch.tensor([step["learning_rate"] for step in trainer.told])
    if base is DPOTrainer:
        for name in ["chosen", "rejected"]:
            tensors[f"rewards.{name}"] = torch.tensor([step[f"rewards/{name}"] for step in trainer.told])
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def settings(kind, folder, steps, **more):
    """What all runs have in common."""
    return kind(
        output_dir=folder, max_steps=steps, logging_steps=1, report_to=[], save_strategy="no", use_cpu=True, bf16=False,
        gradient_checkpointing=False, disable_tqdm=True, dataloader_pin_memory=False, **more,
    )  # fmt: skip


def texts(ids):
    """`ids`, `lengths` of lists of ids."""
    return torch.tensor([i for row in ids for i in row]).int(), torch.tensor([len(row) for row in ids]).int()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/TuneTests/Fixtures/trl.safetensors", type=pathlib.Path)
    out = parser.parse_args().out
    generator = torch.Generator().manual_seed(31)
    vocabulary = oracle.load_model(ARCH).config.vocab_size

    def part(low, high):
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(3, vocabulary, (length,), generator=generator).tolist()

    rows = [{"prompt_ids": part(2, 7), "chosen_ids": part(2, 8), "rejected_ids": part(2, 8)} for _ in range(16)]
    for row in rows:
        row["input_ids"] = row["prompt_ids"] + row["chosen_ids"]
        row["labels"] = [-100] * len(row["prompt_ids"]) + row["chosen_ids"]
    result = {}
    result["ids"], result["lengths"] = texts([r["prompt_ids"] + r["chosen_ids"] for r in rows])
    result["rejected.ids"], result["rejected.lengths"] = texts([r["prompt_ids"] + r["rejected_ids"] for r in rows])
    result["first_label"] = torch.tensor([len(r["prompt_ids"]) for r in rows]).int()
    with tempfile.TemporaryDirectory() as folder:

        def keep(name, tensors):
            result.update({f"{name}.{key}": tensor for key, tensor in tensors.items()})
            for key in ["loss", "norm", "lr", "rewards.chosen", "rewards.rejected"]:
                if key in tensors:
                    print(name, key, [f"{value:.6g}" for value in tensors[key].tolist()])

        common = {"learning_rate": 2e-3, "max_grad_norm": 1e9, "lr_scheduler_type": "constant", "weight_decay": 0.0}
        columns = ["prompt_ids", "chosen_ids", "rejected_ids"]
        args = settings(
            DPOConfig, folder, 20, **common | {"lr_scheduler_type": "linear", "warmup_steps": 4, "max_grad_norm": 0.3},
            per_device_train_batch_size=2, gradient_accumulation_steps=2, beta=0.3, max_length=None,
        )  # fmt: skip
        keep("sigmoid", run(DPOTrainer, args, columns, rows, generator))
        for loss in ["hinge", "ipo", "robust"]:
            args = settings(
                DPOConfig, folder, 6, **common, per_device_train_batch_size=4, beta=0.5, loss_type=loss, max_length=None,
                label_smoothing=0.2 if loss == "robust" else 0.0,
            )  # fmt: skip
            keep(loss, run(DPOTrainer, args, columns, rows, generator))
        args = settings(
            SFTConfig, folder, 20, **common | {"max_grad_norm": 2.0}, per_device_train_batch_size=2,
            gradient_accumulation_steps=2, completion_only_loss=True, max_length=None,
        )  # fmt: skip
        keep("sft", run(SFTTrainer, args, ["input_ids", "labels"], rows, generator))

        tokenizer = AutoTokenizer.from_pretrained(ROOT / "Examples/tinychat")
        args = settings(DPOConfig, folder, 1, max_length=None)
        model = oracle.load_model(ROOT / "Examples/tinychat")
        trainer = DPOTrainer(
            model=model, args=args, train_dataset=Dataset.from_list(ROWS), processing_class=tokenizer,
            peft_config=LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"),
        )  # fmt: skip
        made = list(trainer.train_dataset)
        result["rows.ids"], result["rows.lengths"] = texts([r["prompt_ids"] + r["chosen_ids"] for r in made])
        result["rows.rejected.ids"], result["rows.rejected.lengths"] = texts(
            [r["prompt_ids"] + r["rejected_ids"] for r in made]
        )
        result["rows.first_label"] = torch.tensor([len(r["prompt_ids"]) for r in made]).int()
        print(made)
    versions = {
        "torch": torch.__version__, "peft": peft_package.__version__, "transformers": transformers.__version__,
        "trl": trl.__version__,
    }  # fmt: skip
    save_file({name: tensor.contiguous() for name, tensor in result.items()}, out, metadata=versions)
    print(f"wrote {out}: {out.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
