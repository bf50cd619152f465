#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/schedules.json: the learning rates of transformers' schedules, step by step.

    python tools/make_schedule_fixture.py [--out Tests/TuneTests/Fixtures/schedules.json]

`plateau` has what torch's own ReduceLROnPlateau makes of losses, measured after each step: the rate after each. Each other case has `lr_scheduler_type`, `lr_scheduler_kwargs`, warm-up, total and peak, and the rates of all steps as Trainer asks for them
(get_scheduler on torch's AdamW).
"""

import argparse
import json
import pathlib

import torch
import transformers
from transformers import get_scheduler

ROOT = pathlib.Path(__file__).resolve().parent.parent
KWARGS = {
    "constant": [{}], "constant_with_warmup": [{}], "linear": [{}], "inverse_sqrt": [{}],
    "cosine": [{}, {"num_cycles": 1.25}],
    "cosine_with_restarts": [{}, {"num_cycles": 3}],
    "polynomial": [{}, {"lr_end": 1e-4, "power": 2.5}],
    "cosine_with_min_lr": [{"min_lr": 1e-4}, {"min_lr_rate": 0.3, "num_cycles": 0.75}],
    "cosine_warmup_with_min_lr": [{"min_lr": 1e-4}, {"min_lr_rate": 0.2, "warmup_lr_rate": 0.4}],
    "warmup_stable_decay": [
        {"num_decay_steps": 9}, {"num_decay_steps": 7, "warmup_type": "cosine", "decay_type": "linear", "min_lr_ratio": 0.1},
        {"num_decay_steps": 6, "num_stable_steps": 4, "warmup_type": "1-sqrt", "decay_type": "1-sqrt"},
        {"num_decay_steps": 6, "num_cycles": 1.5, "min_lr_ratio": 0.05},
    ],
}  # fmt: skip

PLATEAU = [
    {}, {"patience": 1}, {"patience": 0, "factor": 0.5, "cooldown": 2}, {"patience": 2, "threshold": 0.05, "factor": 0.3},
    {"patience": 1, "threshold": 0.02, "threshold_mode": "abs", "min_lr": 3e-4, "factor": 0.4},
    {"patience": 0, "factor": 0.7, "eps": 4e-4, "mode": "min"},
]  # fmt: skip


def plateaus():
    """Losses that fall, stay, rise and fall again, and torch's rates behind them."""
    generator = torch.Generator().manual_seed(5)
    noise = (torch.rand(40, generator=generator, dtype=torch.float64) * 0.06).tolist()
    losses = [2.0 * 0.93 ** min(step, 9) + (0.02 * (step - 20) if step > 20 else 0) + noise[step] for step in range(40)]
    losses[33:] = [loss - 0.9 for loss in losses[33:]]
    cases = []
    for kwargs in PLATEAU:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
        scheduler, rates = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **kwargs), []
        for loss in losses:
            scheduler.step(loss)
            rates.append(optimizer.param_groups[0]["lr"])
        cases.append({"kwargs": kwargs, "peak": 2e-3, "losses": losses, "lr": rates})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/TuneTests/Fixtures/schedules.json", type=pathlib.Path)
    out = parser.parse_args().out
    cases = []
    for kind, settings in KWARGS.items():
        for kwargs in settings:
            for warmup, total in [(4, 30), (0, 17)]:
                peak = 2e-3
                optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
                scheduler = get_scheduler(kind, optimizer, warmup, total, scheduler_specific_kwargs=dict(kwargs))
                rates = []
                for _ in range(total):
                    rates.append(scheduler.get_last_lr()[0])
                    optimizer.step()
                    scheduler.step()
                cases.append(
                    {"type": kind, "kwargs": kwargs, "warmup": warmup, "total": total, "peak": peak, "lr": rates}
                )
    made = {"transformers": transformers.__version__, "torch": torch.__version__, "cases": cases, "plateau": plateaus()}
    out.write_text(json.dumps(made, indent=None, separators=(",", ":")).replace('{"type"', '\n{"type"').replace('{"kwargs"', '\n{"kwargs"') + "\n")
    print(f"wrote {out}: {len(cases)} schedules")


if __name__ == "__main__":
    main()
