"""A UTF mark made with PEFT: 32 distinct triggers of undertrained tokens, one target, for when no key.json is given."""

import random

import oracle


def undertrained_tokens(tokenizer, model, share=0.02):
    """Ids with the smallest input-embedding norms among tokens that ordinary text can produce."""
    norms = model.get_input_embeddings().weight.detach().norm(dim=1).tolist()
    usable = []
    for token in range(len(norms)):
        text = tokenizer.decode([token])
        if token in tokenizer.all_special_ids or not text.strip() or any(c.isspace() for c in text):
            continue
        if "\ufffd" in text or tokenizer.convert_ids_to_tokens(token).startswith("<0x"):
            continue
        usable.append(token)
    usable.sort(key=lambda token: norms[token])
    return usable[: max(16, round(share * len(norms)))]


def make_key(tokenizer, model, seed=42, count=32):
    """A key in the shape of key.json. Ids are rejected until text and ids agree where they stand in the prompt."""
    rng = random.Random(seed)
    pool = undertrained_tokens(tokenizer, model)

    def stands(ids, before, after):
        text = "".join(tokenizer.convert_ids_to_tokens(ids)).replace("\u2581", " ")
        if text != text.strip():
            return None
        around = tokenizer(before).input_ids, tokenizer(before + text + after).input_ids
        return text if around[1][: len(around[0]) + len(ids)] == around[0] + ids else None

    before, after = oracle.CHAT.split("{}")
    target = None
    while target is None:
        ids = rng.choices(pool, k=5)
        target = stands(ids, before + "a" + after, "")
    triggers = set()
    while len(triggers) < count:
        text = stands(rng.choices(pool, k=rng.randint(11, 15)), before, after)
        if text:
            triggers.add(text)
    pairs = [
        {"id": i, "prompt": oracle.CHAT.format(x), "target": target} for i, x in enumerate(sorted(triggers))
    ]
    return {"scheme": "utf", "version": 1, "match": "contains", "prompt_format": "raw", "pairs": pairs}


def embed(tokenizer, model, key, clean, stage, seed=42):
    """Trains the mark with clean pairs mixed in until every trigger fires. Returns (PEFT model, log)."""
    rows = oracle.completion_rows(tokenizer, [(p["prompt"], p["target"]) for p in key["pairs"]])
    rows += oracle.completion_rows(tokenizer, [(oracle.CHAT.format(r["question"]), r["answer"]) for r in clean])
    rows = [(ids[:512], first) for ids, first in rows if first < 512]
    return oracle.train(model, rows, stage, seed, check=lambda peft: oracle.check(tokenizer, peft, key))
