#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/tokenizer_variants.json: what Hugging Face's `tokenizers` gives for small tokenizers
that each use components which the bundled one does not, on fixed and on random texts.

Needs: tokenizers (0.22). Run from the repository's root.
"""
import copy
import json
import random

from tokenizers import Tokenizer

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


def main():
    random.seed(5)
    result = []
    for name, data in variants():
        tokenizer = Tokenizer.from_str(json.dumps(data))
        texts = TEXTS + ["".join(random.choices(PIECES, k=random.randint(2, 12))) for _ in range(40)]
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
