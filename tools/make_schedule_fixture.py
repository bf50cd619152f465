#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/schedules.json: the learning rates of transformers' schedules, step by step.

    python tools/make_schedule_fixture.py [--out Tests/TuneTests/Fixtures/schedules.json]

Each case has `lr_scheduler_type`, `lr_scheduler_kwargs`, warm-up, total and peak, and the rates of all steps as Trainer asks for them
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
    made = {"transformers": transformers.__version__, "torch": torch.__version__, "cases": cases}
    out.write_text(json.dumps(made, indent=None, separators=(",", ":")).replace('{"type"', '\n{"type"') + "\n")
    print(f"wrote {out}: {len(cases)} schedules")


if __name__ == "__main__":
    main()
