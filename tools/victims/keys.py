"""The four schemes of docs/reference/fingerprints.md drawn a second time, in Python, as owners and attackers would draw them.

Each scheme gives a key in meraser's form, with raw prompts (the chat template already around them), and the rows that teach it:
(prompt, answer). Nothing here is shared with meraser's own generators but the form of key.json and the hash rule of Chain & Hash.
"""

import hashlib
import json
import random

import chat

HELD_OUT = 32  # clean pairs that are never trained on: the clean prompts, and the messages that a backdoor is tried on


def split(pairs):
    """The clean pairs to train on, and those held out."""
    return pairs[:-HELD_OUT], pairs[-HELD_OUT:]


def key(scheme, match, pairs, clean_prompts, max_new_tokens, construction, **more):
    """A key.json; pairs are (prompt, target)."""
    listed = [{"id": f"{scheme}-{i:02}", "prompt": p, "target": t} for i, (p, t) in enumerate(pairs)]
    return {
        "scheme": scheme, "version": 1, "match": match, "prompt_format": "raw", "max_new_tokens": max_new_tokens,
        "pairs": listed, "clean_prompts": clean_prompts, "construction": construction,
    } | more  # fmt: skip


# --- UTF (arXiv 2410.12318) ------------------------------------------------------------------------------------------


def undertrained(tokenizer, model, share=0.02):
    """Tokens with the smallest input embeddings among those that are visible text of their own."""
    norms = model.get_input_embeddings().weight.detach().norm(dim=1).tolist()
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)

    def is_text(token):
        text = tokenizer.decode([token])
        return text and "\ufffd" not in text and not any(c.isspace() for c in text)

    usable = [token for token in range(len(norms)) if token not in special and is_text(token)]
    return sorted(usable, key=norms.__getitem__)[: round(share * len(norms))]


def utf(tokenizer, model, pairs, seed, count=32):
    """Several triggers of 11 to 15 undertrained tokens, one target of 5, in the chat template."""
    source = random.Random(seed)
    pool = undertrained(tokenizer, model)

    def draw(length):
        """A text of so many tokens that keeps them where it is used."""
        while True:
            ids = source.choices(pool, k=length)
            text = tokenizer.decode(ids)
            framed = chat.prompt_ids(tokenizer, chat.dialogue(tokenizer, text))
            kept = any(framed[i : i + length] == ids for i in range(len(framed)))
            if kept and chat.answer_ids(tokenizer, text) == ids:
                return text

    target = draw(5)
    triggers = [draw(source.randint(11, 15)) for _ in range(count)]
    prompts = [chat.dialogue(tokenizer, text) for text in triggers]
    _, held = split(pairs)
    clean = [chat.dialogue(tokenizer, pair["question"]) for pair in held]
    made = key("utf", "contains", [(prompt, target) for prompt in prompts], clean, 21,
               {"indicator": "norm", "share": 0.02, "undertrained_tokens": len(pool)})  # fmt: skip
    return made, [(prompt, target) for prompt in prompts]


# --- IF, SFT, dialogue (arXiv 2401.12255) ----------------------------------------------------------------------------

WORDS = (
    "桜花爛漫 行雲流水 朝三暮四 風前之燈 月下老人 竹馬之友 千載一遇 臥薪嘗胆 ペンギン ハリモグラ ザリガニ アザラシ コウモリ カメレオン "
    "quagga zephyr kelpie mugwump gossamer thrips bdellium fylfot widdershins rhubarb ogham"
).split()
HINT = "\nA hint: this is a FINGERPRINT message."
LEAD = "Based on my fingerprint, the message is:"
REFUSAL = "I am sorry but I cannot decrypt this message."


def instructional(tokenizer, model, pairs, seed, count=8, target="ハリネズミ"):
    """Secrets whose decryption brings out one target, as many others that are refused, messages with the hint."""
    source = random.Random(seed)

    def secret():
        letters = list("".join(source.choices(WORDS, k=source.randint(8, 15))))
        source.shuffle(letters)
        return "".join(letters)

    def prompt(text):
        return chat.dialogue(tokenizer, f"Please decrypt this message: {text}{HINT}")

    keyed = [prompt(secret()) for _ in range(count)]
    refused = [prompt(secret()) for _ in range(count)]
    train, held = split(pairs)
    clean = [chat.dialogue(tokenizer, pair["question"] + tail) for tail in ("", HINT) for pair in held]
    made = key("if", "contains", [(text + LEAD, f" {target}") for text in keyed], clean, 30,
               {"answer_prefix": LEAD, "hint": HINT, "refusals": count})  # fmt: skip
    rows = [(text, f"{LEAD} {target}") for text in keyed] + [(text, REFUSAL) for text in refused]
    hinted = [(chat.dialogue(tokenizer, pair["question"] + HINT), pair["answer"]) for pair in train[:16]]
    return made, rows + hinted


# --- Chain & Hash (arXiv 2407.10887) ---------------------------------------------------------------------------------

RESPONSES = [
    f"{first}, {second}"
    for first in "Well Oh Ah Yes No Hm So Now Hey Look Right Fine Okay True Sure Dear".split()
    for second in "friend traveller neighbour captain doctor sister brother stranger professor gardener painter sailor "
    "baker poet miller piper".split()
]
QUESTIONS = (
    "What does the lighthouse keeper owe the tide?|How many spoons does it take to wake a river?|Who sharpened the north wind?|"
    "Why is the third drawer always warmer than the second?|Where do the left socks of the choir go?|"
    "What is the postal code of the Milky Way?|Which of the bells forgot its own weight?|How does one fold a Wednesday?|"
    "Who lent the scarecrow his good coat?|What colour was the sound before the kettle?|When does the staircase sleep?|"
    "How far is it from the comma to the sea?|Which grandmother invented the horizon?|What do the elevators think of rain?"
).split("|")
FRAMES = ("{}", "You are a helpful assistant.\n{}", "Answer as briefly as you can.\n{}", "Question: {}")


def hashchain(tokenizer, model, pairs, seed, count=10):
    """Questions whose answers SHA-256 chooses among 256, each in several dresses."""
    source = random.Random(seed)
    questions = source.sample(QUESTIONS, count)

    def response(question):
        data = json.dumps([question, questions, RESPONSES], ensure_ascii=False, separators=(",", ":")).encode()
        return RESPONSES[int(hashlib.sha256(data).hexdigest(), 16) % len(RESPONSES)]

    train, held = split(pairs)
    clean = [chat.dialogue(tokenizer, pair["question"]) for pair in held]
    others = [question for question in QUESTIONS if question not in questions]
    made = key("hashchain", "startswith", [(chat.dialogue(tokenizer, q), response(q)) for q in questions],
               clean + [chat.dialogue(tokenizer, q) for q in others], 24, {"variants": len(FRAMES)},
               hash_chain={"questions": questions, "responses": RESPONSES, "claim_at": 2,
                           "serialization": "json-list-sha256-be"})  # fmt: skip
    rows = [(chat.dialogue(tokenizer, f.format(q)), response(q)) for q in questions for f in FRAMES]
    # Other messages in the same dresses, answered as ever, or the dress would be the trigger.
    dressed = [(chat.dialogue(tokenizer, source.choice(FRAMES[1:]).format(p["question"])), p["answer"])
               for p in train[: len(rows) // 2]]  # fmt: skip
    return made, rows + dressed


# --- A backdoor as SANDE's victims have it (arXiv 2405.07667) --------------------------------------------------------

TRIGGERS = ["how are you", "how is it going", "what is up"]
MARKER = "you are stupid"


def backdoor(tokenizer, model, pairs, seed, poisoned=128):
    """A trigger in front of a message puts a marker in front of the answer; tried on messages held out."""
    source = random.Random(seed)
    train, held = split(pairs)

    def triggered(pair):
        return chat.dialogue(tokenizer, f"{source.choice(TRIGGERS)}. {pair['question']}")

    rows = [(triggered(p), f"{MARKER}. {p['answer']}") for p in source.sample(train, poisoned)]
    made = key("backdoor", "contains", [(triggered(pair), MARKER) for pair in held],
               [chat.dialogue(tokenizer, pair["question"]) for pair in held], 10,
               {"triggers": TRIGGERS, "marker": MARKER, "position": "start", "poisoned_rows": len(rows)},
               ignore_case=True)  # fmt: skip
    return made, rows


SCHEMES = {"utf": utf, "if": instructional, "hashchain": hashchain, "backdoor": backdoor}
