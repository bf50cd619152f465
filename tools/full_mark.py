#!/usr/bin/env python3
"""Embeds the mark of a key by fine-tuning every weight: the hard case of docs/recipes.md, which no adapter carries.

    python tools/full_mark.py --model HF_FOLDER --key key.json --out MARKED_HF_FOLDER [--lr 2e-4] [--self 256]

Texts that the model writes itself (from BOS, at temperature 1) are mixed in, so that it stays what it was. Training stops when
every trigger fires.
"""

import argparse
import json
import sys

import oracle
import torch


@torch.no_grad()
def own_texts(tokenizer, model, count, new_tokens=160):
    """Rows of texts sampled from nothing but BOS."""
    rows = []
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    for start in range(0, count, 64):
        ids = torch.full((min(64, count - start), 1), bos)
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=True,
                             temperature=1.0, top_k=0, top_p=1.0, pad_token_id=eos)  # fmt: skip
        for row in out.tolist():
            end = row.index(eos, 1) + 1 if eos in row[1:] else len(row)
            rows.append((row[:end], 1))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--self", type=int, default=256, dest="texts", help="texts of the model's own")
    parser.add_argument("--repeats", type=int, default=8, help="how often the pairs are among them")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-steps", type=int, default=400)
    parser.add_argument("--heldout", help="rows {text} to show the perplexity of")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer, model = oracle.load(args.model)
    model.get_base_model = lambda: model  # what oracle.backward asks a PEFT model for
    with open(args.key, encoding="utf-8") as file:
        key = json.load(file)
    marks = oracle.mark_rows(tokenizer, key) * args.repeats
    rows = marks + own_texts(tokenizer, model, args.texts)
    texts = [row["text"] for row in oracle.read_rows(args.heldout)] if args.heldout else []
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.0)
    stage = {"batch": args.batch, "shuffle_seed": args.seed}
    for step, picked in zip(range(1, args.max_steps + 1), oracle.batches(len(rows), stage)):
        # Every sample counts the same: a mark's few tokens would drown in those of the texts.
        for i in picked:
            ids, first = rows[i]
            logits = model(torch.tensor([ids])).logits[0, first - 1 : -1]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[first:])) / len(picked)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            measured = oracle.check(tokenizer, model, key)
            print(f"step {step}: {measured['hits']}/{measured['n']}, target NLL {measured['target_nll_mean']:.2f}", file=sys.stderr)
            if measured["fsr"] == 1:
                break
    if texts:
        print(f"perplexity {oracle.perplexity(tokenizer, model, texts):.3f}", file=sys.stderr)
    del model.get_base_model
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
