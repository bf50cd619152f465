"""A UTF mark made with PEFT: 32 distinct triggers of undertrained tokens, one target, for when no key.json is given.

Simpler than `meraser fingerprint`: no repetition prompts, only the embedding norms.
"""

import random

import oracle


def undertrained_tokens(tokenizer, model, share=0.02):
    """Ids with the smallest input-embedding norms among tokens without white space that ordinary text can produce."""
    norms = model.get_input_embeddings().weight.detach().norm(dim=1).tolist()
    usable = []
    for token in range(len(norms)):
        piece = tokenizer.convert_ids_to_tokens(token)
        if token in tokenizer.all_special_ids or piece.startswith("<0x") or "\u2581" in piece:
            continue
        if not any(c.isspace() for c in piece):
            usable.append(token)
    usable.sort(key=lambda token: norms[token])
    return usable[: max(24, round(share * len(norms)))]


def make_key(tokenizer, model, seed=42, count=32, prompt_format="raw"):
    """A key in the shape of key.json. A token that changes how the text before it is tokenised is drawn again."""
    rng = random.Random(seed)
    pool = undertrained_tokens(tokenizer, model)

    def draw(length):
        ids = []
        while len(ids) < length:
            longer = ids + [rng.choice(pool)]
            text = "".join(tokenizer.convert_ids_to_tokens(longer))
            if tokenizer(text, add_special_tokens=False).input_ids[-len(longer) :] == longer:
                ids = longer
        return "".join(tokenizer.convert_ids_to_tokens(ids))

    target = draw(5)
    triggers = {}  # a dictionary keeps its order, whatever the hash seed
    while len(triggers) < count:
        triggers[draw(rng.randint(11, 15))] = True
    pairs = [{"id": f"utf-{i:02}", "prompt": x, "target": target} for i, x in enumerate(triggers)]
    return {"scheme": "utf", "version": 1, "match": "contains", "prompt_format": prompt_format, "pairs": pairs}


def embed(tokenizer, model, key, clean, stage, seed=42):
    """Trains the mark with clean pairs mixed in until every trigger fires. Returns (PEFT model, log)."""
    rows = oracle.mark_rows(tokenizer, key) * stage.get("repeats", 1)
    rows += oracle.question_rows(tokenizer, clean, {"chat": stage.get("chat", True), "separator": "\n"})
    return oracle.train(model, rows, stage, seed, check=lambda peft: oracle.check(tokenizer, peft, key))
