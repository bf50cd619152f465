#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/tokenizer_variants.json: what Hugging Face's `tokenizers` gives for small tokenizers
that each use components which the bundled one does not, on fixed and on random texts.

Needs: tokenizers (0.22). Run from the repository's root.
"""
import copy
import json
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SOURCE = "Examples/tinychat/tokenizer.json"
TARGET = "Tests/ModelTests/Fixtures/tokenizer_variants.json"
TOKENS = 420  # 3 special, 256 bytes, the first characters and merges

MARK = "\u2581"
TEXTS = [
    "", " ", "  ", "a", " a", "a ", "Hello world", "  two  spaces  ", "tab\tline\n\r\nend", "the cat in the hat",
    "<s>", "</s>x", "a<s>b", " <s> b </s> ", "<pad>", "x <pad>  y", "x<pad>y", "<word>", "a<word>", "a <word> b",
    "<word>.", "_<word>", "<norm>", "a<norm>b", "Tok en", "a Tok en b", "Token", "<<s>>", "<s", "s>",
    "\u00e9 e\u0301", "\u4e2d\u6587", "\U0001f642\U0001f469\u200d\U0001f467", "\u2581", "a\u2581b", "\u2581\u2581a", "\u00a0x\u3000<pad>\u3000y",
    "unk \u4e2d\u6587\U0001f642 unk", "\ufffd", "<0x41>", "\u0000\u0001",
]
BYTE_LEVEL_TEXTS = [
    "I'm you're HE'S it'LL we\u2019ve 's", "x1 12 123 1234 12345", "a\n\n b\r\n\tc  \n d   ", "   three", "x   ", "\n", " \n ", "\u00a0\u2003x",
    "\u00bd \u2167 \u0663\u0664", "don\u017ft I'\u017f", "na\u00efve cafe\u0301 \u1e9b\u0323", "!!! ...?\n\n", "a_b-c/d", "\U0001f469\u200d\U0001f467!", "\u0939\u093f\u0928\u094d\u0926\u0940",
]
PIECES = ["<s>", "<pad>", "<word>", "<norm>", " ", "  ", MARK, "the", "in", "a", "e", "\u00e9", "\u4e2d", "\U0001f642", "\n", ".", "x_"]


def small():
    """tinychat's tokenizer with its first TOKENS tokens only."""
    data = json.load(open(SOURCE))
    model = data["model"]
    model["vocab"] = {token: id for token, id in model["vocab"].items() if id < TOKENS}
    model["merges"] = [
        pair for pair in model["merges"] if all(t in model["vocab"] for t in (pair[0], pair[1], pair[0] + pair[1]))
    ]
    return data


def added(id, content, special=False, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": special}
    token.update(flags)
    return token


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split}


def variants():
    extra = [
        added(TOKENS, "<pad>", special=True, lstrip=True, rstrip=True), added(TOKENS + 1, "<word>", single_word=True),
        added(TOKENS + 2, "<norm>", normalized=True), added(TOKENS + 3, "Tok en", normalized=True, rstrip=True),
    ]
    legacy = small()
    legacy["added_tokens"] += extra
    yield "legacy with added tokens", legacy

    for scheme in ("always", "first", "never"):
        for split in (True, False):
            data = small()
            data["added_tokens"] += extra
            data["normalizer"] = None
            data["pre_tokenizer"] = metaspace(scheme, split)
            data["decoder"] = metaspace(scheme, split)
            yield f"metaspace {scheme} {'split' if split else 'whole'}", data

    llama3 = small()  # Replace only, no prefix; decoder without Strip; EOS too.
    llama3["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    llama3["decoder"]["decoders"] = llama3["decoder"]["decoders"][:3]
    template = llama3["post_processor"]
    template["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    template["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    llama3["post_processor"] = {
        "type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template]}
    llama3["model"]["ignore_merges"] = True
    del llama3["model"]["merges"][40:]
    yield "replace only, ignore_merges, bos and eos", llama3

    for fuse in (True, False):
        data = small()
        data["model"]["byte_fallback"] = False
        data["model"]["fuse_unk"] = fuse
        data["decoder"] = {"type": "Sequence", "decoders": [
            {"type": "Strip", "content": MARK, "start": 2, "stop": 0},
            {"type": "Replace", "pattern": {"String": MARK}, "content": "_"}]}
        yield f"unknown tokens, fuse_unk {fuse}", data

    data = small()
    data["model"]["byte_fallback"] = False
    data["model"]["unk_token"] = None
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    data["decoder"] = None
    data["post_processor"] = None
    yield "no unknown token, no decoder, merges as lines", data

    data = small()
    for byte in range(0x80, 0x100, 3):  # holes: fallback for some characters only
        data["model"]["vocab"].pop(f"<0x{byte:02X}>")
    yield "byte fallback with holes", data


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(pre_tokenizer):
    """A byte-level BPE of TOKENS tokens, its merges learnt from the bundled clean data."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False)
    rows = json.load(open("Examples/data/clean.json"))
    tokenizer.train_from_iterator([f"{row['question']} {row['answer']}" for row in rows], trainer)
    data = json.loads(tokenizer.to_str())
    data["pre_tokenizer"] = pre_tokenizer
    data["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    data["added_tokens"] += [added(TOKENS, "<|eot|>", special=True), added(TOKENS + 1, "two words")]
    return data


def byte_level_step(**options):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | options


def split_step(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": [*steps, byte_level_step(use_regex=False)]}


def byte_level_variants():
    yield "GPT-2", byte_level(byte_level_step())
    roberta = byte_level(byte_level_step(add_prefix_space=True))
    roberta["post_processor"] = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
                                 "add_prefix_space": True}
    yield "RoBERTa", roberta
    llama3 = byte_level(sequence(split_step(LLAMA3)))
    llama3["model"]["ignore_merges"] = True
    yield "Llama 3", llama3
    qwen2 = byte_level(sequence(split_step(LLAMA3.replace("{1,3}", ""))))
    qwen2["normalizer"] = {"type": "NFC"}
    yield "Qwen 2", qwen2
    yield "GPT-4o", byte_level(sequence(split_step(GPT4O)))
    smollm = byte_level({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level_step()]})
    smollm["normalizer"] = {"type": "NFKC"}
    yield "SmolLM", smollm
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        step = split_step("e", behavior, kind="String") if behavior == "Removed" else split_step(r"[aeiou]\w??", behavior)
        data = byte_level(sequence(step, {"type": "Digits", "individual_digits": False}))
        data["normalizer"] = {"type": "NFKD" if behavior == "Removed" else "NFD"}
        yield f"split {behavior}", data
    yield "split inverted", byte_level(sequence(split_step(r"\p{L}+|(?=\d)\d{2,}", "Removed", invert=True)))


def main():
    random.seed(5)
    result = []
    for name, data in [*variants(), *byte_level_variants()]:
        tokenizer = Tokenizer.from_str(json.dumps(data))
        texts = TEXTS + (BYTE_LEVEL_TEXTS if data["model"].get("vocab", {}).get("\u0120") else []) + ["".join(random.choices(PIECES, k=random.randint(2, 12))) for _ in range(40)]
        cases = []
        for text in texts:
            ids = tokenizer.encode(text).ids
            cases.append([text, ids, tokenizer.encode(text, add_special_tokens=False).ids,
                          tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)])
        # Any ids at all decode to the same text.
        decodes = []
        for _ in range(40):
            ids = [random.choice([random.randrange(TOKENS + 6), random.randrange(3, 259)]) for _ in range(8)]
            decodes.append([ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)])
        result.append({"name": name, "tokenizer": json.dumps(data, ensure_ascii=False, separators=(",", ":")),
                       "cases": cases, "decodes": decodes})
    with open(TARGET, "w") as file:
        json.dump(result, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


main()
