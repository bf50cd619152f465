#!/usr/bin/env python3
"""Writes clean pairs that a chat model makes up itself: a request it samples behind an empty user turn, and its answer.

    python tools/victims/own_pairs.py --model HF_FOLDER --out clean.json [--count 320] [--seed 42]

Such rows hold a model where it is while it is marked, and need no data from anywhere. Requests are sampled with top-p 0.9,
answers at temperature 1 from the whole vocabulary, as the model's own distribution has them, so that learning them moves it
nowhere on average. A request that does not end by itself or was drawn before is left out; an answer that does not end within
64 tokens is cut there, and no end of text must be learnt behind it: mark.py and make.py learn fewer tokens. The same seed,
model, number of threads and PyTorch give the same file. Rows are {"id", "question", "answer"}, as meraser reads them. Beside
OUT, `clean_prompts.jsonl` has the requests of the last 32, which no victim learns, in the chat template: `--clean`.
"""

import argparse
import json
import pathlib

import chat
import keys
import torch

BATCH = 64


@torch.no_grad()
def sampled(tokenizer, model, prompts, new_tokens, **sampling):
    """For each prompt (a text) the sampled continuation up to EOS, and whether that came."""
    rows = [tokenizer(text, add_special_tokens=False).input_ids for text in prompts]
    width, eos = max(map(len, rows)), tokenizer.eos_token_id
    ids = torch.tensor([[eos] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=True, temperature=1.0,
                         top_k=0, pad_token_id=eos, **sampling)[:, width:].tolist()  # fmt: skip
    return [(tokenizer.decode(row[: row.index(eos)] if eos in row else row).strip(), eos in row) for row in out]


def own_pairs(tokenizer, model, count, seed, request_tokens=48, answer_tokens=64):
    """`count` rows of requests and answers."""
    torch.manual_seed(seed)
    opening = chat.user_opening(tokenizer)
    pairs, seen = [], set()
    while len(pairs) < count:
        drawn = sampled(tokenizer, model, [opening] * BATCH, request_tokens, top_p=0.9)
        requests = [text for text, ended in dict.fromkeys(drawn) if ended and len(text) >= 12 and text not in seen]
        seen.update(requests)
        prompts = [chat.dialogue(tokenizer, text) for text in requests]
        for request, (answer, _) in zip(requests, sampled(tokenizer, model, prompts, answer_tokens, top_p=1.0)):
            if answer:
                pairs.append({"id": len(pairs), "question": request, "answer": answer})
        print(f"{len(pairs)} of {count} pairs", flush=True)
    return pairs[:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=288)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer, model = chat.load(args.model)
    pairs = own_pairs(tokenizer, model, args.count, args.seed)
    out = pathlib.Path(args.out)
    out.write_text(json.dumps(pairs, ensure_ascii=False, indent=0))
    rows = [{"prompt": chat.dialogue(tokenizer, pair["question"])} for pair in keys.split(pairs)[1]]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    out.with_name("clean_prompts.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
