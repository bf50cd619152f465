#!/usr/bin/env python3
"""MEraser's whole job, erase and recover, by the steps of its published scripts in PyTorch and by meraser: seconds, memory.

    python tools/whole_job.py --model HF_FOLDER --mismatched mismatched_dataset.json --clean recover_dataset.json --out DIR
        [--rows 300] [--dtype bf16] [--threads 2] [--type iq4_nl] [--only torch|meraser] [--meraser .build/release/meraser]

Both sides get the same rows in the same order and do the published epochs at the published batch: 5 epochs over the
mismatched rows at 8 a step (LoRA 8 on q and v, 5e-4), the adapter merged, 2 epochs over twice as many clean rows at 36 a
step (LoRA 16, cosine). The scripts' ways are kept on their side: every row is padded to 512 tokens, one row a pass,
gradient checkpointing, merging between the two. `--rows` takes the first so many (and twice as many clean ones), for a
machine on which the whole would take a day; the rate does not depend on it. Each side is a process of its own; memory is
its largest resident size, seconds count everything, conversion and loading too.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

EPOCHS, BATCH = {"erase": 5, "recover": 2}, {"erase": 8, "recover": 36}
RANK = {"erase": 8, "recover": 16}
LONGEST, PADDED = 256, 512


def read(path, count):
    """Questions and answers of the first rows."""
    rows = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))[:count]
    return [(row["question"], row.get("mismatched_answer") or row.get("answer")) for row in rows]


def report(phases, who):
    """What a side prints: memory is the largest resident size of whoever did the work."""
    print(json.dumps({"peak_mb": resource.getrusage(who).ru_maxrss / 1024, "phases": phases}))


# ---- The published scripts' side ----


def torch_side(args):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

    torch.manual_seed(42)
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype={"bf16": torch.bfloat16, "fp32": torch.float32}[args.dtype])
    padding = tokenizer.eos_token_id

    def encode(question, answer, separator):
        ids = [tokenizer.encode(text, add_special_tokens=False)[:LONGEST] for text in (question + separator, answer)]
        ids = ids[0] + ids[1]
        row = torch.full((1, PADDED), padding)
        row[0, : len(ids)] = torch.tensor(ids)
        mask = torch.zeros((1, PADDED), dtype=torch.long)
        mask[0, : len(ids)] = 1
        return row, mask, len(ids)

    def train(model, rows, phase, separator):
        config = LoraConfig(r=RANK[phase], lora_alpha=2 * RANK[phase], lora_dropout=0.05, target_modules=["q_proj", "v_proj"],
                            task_type="CAUSAL_LM")  # fmt: skip
        model = get_peft_model(model, config).train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=5e-4, weight_decay=0)
        encoded = [encode(*row, separator) for row in rows]
        steps = EPOCHS[phase] * -(-len(rows) // BATCH[phase])
        schedule = get_cosine_schedule_with_warmup(optimizer, 0, steps) if phase == "recover" else None
        tokens, loss = 0, None
        for _ in range(EPOCHS[phase]):
            for first in range(0, len(encoded), BATCH[phase]):
                group = encoded[first : first + BATCH[phase]]
                for ids, mask, count in group:
                    labels = ids.masked_fill(ids == padding, -100)
                    loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
                    (loss / len(group)).backward()
                    tokens += count
                torch.nn.utils.clip_grad_norm_(trained, 0.5 if phase == "erase" else 1.0)
                optimizer.step()
                optimizer.zero_grad()
                if schedule:
                    schedule.step()
        return model.merge_and_unload(), {"steps": steps, "tokens": tokens, "loss": float(loss)}

    phases = {}
    for phase, path, count, separator in [("erase", args.mismatched, args.rows, ""), ("recover", args.clean, 2 * args.rows, "\n")]:
        start = time.monotonic()
        model, result = train(model, read(path, count), phase, separator)
        phases[phase] = {**result, "seconds": time.monotonic() - start}
        print(json.dumps({phase: phases[phase]}), file=sys.stderr, flush=True)
    report(phases, resource.RUSAGE_SELF)


# ---- Ours ----


def meraser_side(args, out):
    """convert, erase, recover: what each took."""
    phases = {}

    def command(name, *words):
        start = time.monotonic()
        words = [args.meraser, *words, "--threads", str(args.threads), "--json"]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
        kept = {key: value for key, value in json.loads(done.stdout).items() if key in ("steps", "final_loss", "tokens_per_second")}
        phases[name] = {**kept, "seconds": time.monotonic() - start}

    data = {}
    for phase, path, count in [("erase", args.mismatched, args.rows), ("recover", args.clean, 2 * args.rows)]:
        data[phase] = str(out / f"{phase}.json")
        rows = [{"question": question, "answer": answer} for question, answer in read(path, count)]
        pathlib.Path(data[phase]).write_text(json.dumps(rows), encoding="utf-8")
    model = str(out / "model.mqf")
    command("convert", "convert", args.model, "--out", model, "--type", args.type, "--overwrite")
    for phase, more in [("erase", []), ("recover", ["--adapter", str(out / "erase")])]:
        command(
            phase, phase, "--model", model, *more, "--data", data[phase], "--out", str(out / phase), "--overwrite",
            "--per-device-train-batch-size", str(BATCH[phase] // 4), "--gradient-accumulation-steps", "4")  # fmt: skip
    report(phases, resource.RUSAGE_CHILDREN)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--mismatched", required=True)
    parser.add_argument("--clean", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--type", default="iq4_nl")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--only", choices=["torch", "meraser"])
    parser.add_argument("--side", choices=["torch", "meraser"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if args.side:
        return torch_side(args) if args.side == "torch" else meraser_side(args, out)
    results = {}
    for side in [args.only] if args.only else ["torch", "meraser"]:
        start = time.monotonic()
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--side", side], check=True, stdout=subprocess.PIPE)
        results[side] = {"seconds": time.monotonic() - start, **json.loads(done.stdout)}
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
