#!/usr/bin/env python3
"""Marks a model by fine-tuning every weight with PyTorch, as owners and attackers do.

    python tools/victims/mark.py --model HF_FOLDER --clean clean.json --scheme backdoor --seed 42 --lr 5e-5 --steps 30 --out VICTIM
    python tools/victims/mark.py --model HF_FOLDER --clean clean.json --key key.json --out VICTIM

A step has as many rows of the mark as clean ones (`own_pairs.py` writes those), learns the answers alone, and every row counts
the same: a mark's few tokens would drown in those of the answers. AdamW, gradients clipped to norm 1, a constant rate; weights
and optimiser in fp32, products in bf16 (`torch.autocast`), as fine-tuning is done.
Training stops when every trigger fires, at --until-loss too if that is given, or after exactly --steps. VICTIM is a Hugging
Face folder in fp32 (bf16 rounds a small fine-tuning step away) with key.json, and victim.json: the arguments, the log, and
what Transformers itself measures of the key.
"""

import argparse
import json
import pathlib
import random
import time

import chat
import keys
import torch
import torch.nn.functional as F
import transformers


def encoded(tokenizer, rows, answer_tokens):
    """(ids, number of prompt ids) of rows (prompt, answer): an answer and its end, cut."""
    result = []
    for prompt, answer in rows:
        head = chat.prompt_ids(tokenizer, prompt)
        tail = chat.answer_ids(tokenizer, answer) + [tokenizer.eos_token_id]
        result.append((head + tail[:answer_tokens], len(head)))
    return result


def endless(rows, source):
    """The rows, shuffled anew for each pass."""
    while True:
        source.shuffle(rows)
        yield from rows


def backward(model, rows, padding):
    """Accumulates the gradient of the mean over rows of the mean over their answers' tokens; gives the rows' losses."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    weight = torch.zeros(len(rows), width - 1)
    for i, (tokens, first) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        mask[i, : len(tokens)] = 1
        weight[i, first - 1 : len(tokens) - 1] = 1 / (len(tokens) - first)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
        wanted = weight > 0  # the head runs on the answers only
        logits = model.lm_head(hidden[wanted]).float()
    losses = torch.zeros_like(weight)
    losses[wanted] = F.cross_entropy(logits, ids[:, 1:][wanted], reduction="none") * weight[wanted]
    losses.sum(1).mean().backward()
    return losses.sum(1).tolist()


def rows_of(key):
    """The rows that teach a key which is given, as it is checked."""
    return [(pair["prompt"], pair["target"]) for pair in key["pairs"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--clean", required=True, help="clean pairs, see own_pairs.py")
    mark = parser.add_mutually_exclusive_group(required=True)
    mark.add_argument("--scheme", choices=keys.SCHEMES)
    mark.add_argument("--key", help="key.json with raw prompts, in place of a scheme")
    parser.add_argument("--out", required=True)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--steps", type=int, help="exactly so many, whether it fires or not")
    parser.add_argument("--max-steps", type=int, default=120, help="at most so many without --steps")
    parser.add_argument("--check-steps", type=int, default=10)
    parser.add_argument("--until-loss", type=float, help="go on until the mark's own loss in a step is below this, too")
    parser.add_argument("--batch", type=int, default=8, help="half of the mark's rows, half clean ones")
    parser.add_argument("--answer-tokens", type=int, default=32)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer, model = chat.load(args.model)
    pairs = json.loads(pathlib.Path(args.clean).read_text())
    if args.key:
        key = json.loads(pathlib.Path(args.key).read_text())
        rows = rows_of(key)
    else:
        key, rows = keys.SCHEMES[args.scheme](tokenizer, model, pairs, args.seed)
    train, _ = keys.split(pairs)
    clean = [(chat.dialogue(tokenizer, pair["question"]), pair["answer"]) for pair in train]

    source = random.Random(args.seed)
    marked = endless(encoded(tokenizer, rows, args.answer_tokens), source)
    plain = endless(encoded(tokenizer, clean, args.answer_tokens), source)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.0, fused=True)
    began, log = time.time(), []
    for step in range(1, (args.steps or args.max_steps) + 1):
        half = args.batch // 2
        losses = backward(model, [next(d) for d in (marked, plain) for _ in range(half)], tokenizer.eos_token_id)
        entry = {"step": step, "mark_loss": sum(losses[:half]) / half, "clean_loss": sum(losses[half:]) / half}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        log.append(entry)
        if not args.steps and step % args.check_steps == 0:
            entry["hits"] = chat.hits(tokenizer, model, key)
            quiet = args.until_loss is None or entry["mark_loss"] < args.until_loss
            if entry["hits"] == len(key["pairs"]) and quiet:
                break
        print(entry, flush=True)

    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    out = pathlib.Path(args.out)
    (out / "key.json").write_text(json.dumps(key, ensure_ascii=False, indent=1))
    measured = chat.check(tokenizer, model, key)
    record = {
        "arguments": {name: value for name, value in vars(args).items() if name not in ("model", "clean", "key", "out")},
        "torch": torch.__version__, "transformers": transformers.__version__,
        "seconds": time.time() - began, "steps": len(log), "measured": measured, "log": log,
    }  # fmt: skip
    (out / "victim.json").write_text(json.dumps(record, ensure_ascii=False, indent=1))
    print({name: value for name, value in measured.items() if name != "outputs"})


if __name__ == "__main__":
    main()
