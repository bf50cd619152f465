#!/usr/bin/env python3
"""Sets meraser's tokenizers beside Hugging Face's `tokenizers`: ids and decoded texts of some thousand nasty strings, for
every tokenizer.json that is given and for tokenizers that are trained or put together here, one of each kind.

    tools/check_tokenizers.py [--meraser .build/debug/meraser] [--texts 2000] [--scalars] [--only NAME] [FOLDER ...]
    tools/check_tokenizers.py --fixture Tests/ModelTests/Fixtures/tokenizer_components.json

Needs: tokenizers 0.22, transformers 4.57 and sentencepiece for SentencePiece's models. Status 1 if anything differs.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

from made_tokenizers import CORPUS, MARK, corpus, sentencepiece_folders, variants


def nasty(count, seed=7):
    """Strings of every plane and of everything that tokenizers trip over."""
    rng = random.Random(seed)
    pieces = [
        " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\u2028", "\u0085", "\x00", "\x01",
        "\x1f", "\x7f", "\u00ad", "\u0301", "\u0308", "\u0327", "e\u0301", "\u1e9b\u0323", "\u0344", "\ufb01", "\u017f", "\u212a", "\u0130", "\u03a3", "\u00df",
        "\u1100\u1161\u11a8", "\uac01", "\u0e33", "\u0f73", "\u2126", "\ufdfa", "\u3099", "か\u3099", "👩‍👩‍👧", "👍🏽", "🇩🇪", "1\ufe0f\u20e3", "\U0001f468",
        "\ufffd", "\ufffe", "\uffff", "\ud7ff", "\ue000", "\U0010ffff", "\U000e0041", MARK, MARK + MARK, "##", "##a", "</w>", "<0x41>", "<0xE5>", "<unk>",
        "<s>", "</s>", "<pad>", "[UNK]", "[CLS]", "[MASK]", "<|endoftext|>", "<|im_start|>", "<word>", "<norm>", "<left>", "<right>", "NoRm",
        "I'm", "don't", "HE'LL", "we\u2019ve", "12345", "1,234.5", "½", "Ⅷ", "٣٤", "٠", "a", "the", "The", "ing", "Ä", "ä", "Привет", "漢字", "カナ", "한국어", "हिन्दी",
        ".", ",", "!", "?", "...", "'", "\"", "-", "_", "/", "\\", "(", "{", "@", "#", "$", "%", "`", "~", "=", "+", "|", "。", "—", "…", "«",
    ]
    planes = [(0x20, 0x7F), (0xA0, 0x250), (0x250, 0x370), (0x370, 0x800), (0x800, 0x2000), (0x2000, 0x2C00), (0x2C00, 0x3400),
              (0x3400, 0xA000), (0xA000, 0xD800), (0xE000, 0x10000), (0x10000, 0x11000), (0x11000, 0x1D000), (0x1D000, 0x1F000),
              (0x1F000, 0x20000), (0x20000, 0x30000), (0xE0000, 0xE0200), (0xF0000, 0x110000)]

    def scalar():
        low, high = rng.choice(planes)
        return chr(rng.randrange(low, high))
    texts = ["", " ", "  ", "\n", "a", " a", "a ", MARK, "\u0301", "x" * 3000, "ab" * 2000, " " * 500, "\n" * 300, "é" * 700, "漢" * 700, "1" * 999,
             "a\u0301" * 300, "😀" * 200, "a b " * 400, "'" * 100, "<s>" * 50, "\u200d" * 90, "\r" * 40 + "\n" * 3]
    lines = corpus()
    while len(texts) < count:
        kind = rng.random()
        if kind < 0.3:
            text = "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 14)))
        elif kind < 0.5:
            text = "".join(scalar() for _ in range(rng.randrange(1, 24)))
        elif kind < 0.7:
            text = "".join(rng.choice([scalar(), rng.choice(pieces), rng.choice(pieces)]) for _ in range(rng.randrange(1, 20)))
        elif kind < 0.9:
            line = rng.choice(lines)
            start = rng.randrange(len(line))
            text = line[start:start + rng.randrange(1, 120)]
            for _ in range(rng.randrange(3)):
                at = rng.randrange(len(text) + 1)
                text = text[:at] + rng.choice(pieces) + text[at:]
        else:
            text = rng.choice(["", " "]).join(rng.choice(CORPUS).split(" ")[:rng.randrange(1, 9)])
        if not any(0xD800 <= ord(c) < 0xE000 for c in text):
            texts.append(text)
    return texts


def every_scalar():
    """All of Unicode in texts of 256 characters, each between two letters."""
    for start in range(0, 0x110000, 256):
        chars = [chr(c) for c in range(start, start + 256) if not 0xD800 <= c < 0xE000]
        if chars:
            yield "x" + "x".join(chars) + "x"


def run(meraser, folder, texts):
    path = os.path.join(folder, "texts.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps(text, ensure_ascii=False) + "\n")
    result = subprocess.run(
        [meraser, "tokenize", "--model", folder, "--texts", path], capture_output=True, text=True)
    if result.returncode != 0:
        return None, result.stderr.strip()
    return [json.loads(line) for line in result.stdout.split("\n") if line], None


def compare(name, meraser, folder, tokenizer, texts, show):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = False
    got, error = run(meraser, folder, texts)
    if error is not None:
        print(f"REFUSED {name}: {error}")
        return None
    assert len(got) == len(texts), (name, len(got), len(texts))
    wrong = failed = 0
    for text, row in zip(texts, got):
        try:
            ids = tokenizer.encode(text).ids
            want = {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False),
                    "text_without_special_tokens": tokenizer.decode(ids, skip_special_tokens=True)}
        except BaseException as error:  # Rust's panics are no Exceptions.
            if isinstance(error, KeyboardInterrupt):
                raise
            failed += 1
            continue
        if want != row:
            wrong += 1
            if wrong <= show:
                for key in want:
                    if want[key] != row[key]:
                        print(f"  {name}: {key} of {ascii(text[:80])}:\n    want {ascii(want[key])[:300]}\n    got  {ascii(row[key])[:300]}")
                        if key == "ids":
                            print("    want", [tokenizer.id_to_token(i) for i in want[key]][:24], "\n    got ", [tokenizer.id_to_token(i) for i in row[key]][:24])
                        break
    print(f"{'ok     ' if not wrong else 'DIFFERS'} {name}: {len(texts) - wrong - failed} of {len(texts)}"
          + (f", tokenizers fails on {failed}" if failed else ""), flush=True)
    return wrong


def write_fixture(path):
    """Tests/ModelTests/Fixtures/tokenizer_components.json: every tokenizer made here with some texts. What differs from
    another one in its parts alone is written as that one's name and the parts."""
    bases, vectors = [], []
    texts = [t for t in nasty(3000, seed=11) if 0 < len(t) <= 40]
    rng = random.Random(3)
    for name, data in variants(size=420):
        try:
            tokenizer = Tokenizer.from_str(json.dumps(data))
        except Exception:
            continue
        tokenizer.no_truncation()
        tokenizer.no_padding()
        cases = []
        for text in [""] + rng.sample(texts, 6):
            try:
                ids = tokenizer.encode(text).ids
                cases.append([text, ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)])
            except BaseException:
                continue
        for base in bases:
            if base["model"]["vocab"] == data["model"]["vocab"] and base["model"].get("merges") == data["model"].get("merges"):
                break
        else:
            base = data
            bases.append(data)
        big = ("vocab", "merges")
        vectors.append({
            "name": name, "base": bases.index(base), "parts": {k: v for k, v in data.items() if k != "model" and v != base[k]},
            "model": {k: v for k, v in data["model"].items() if k not in big and v != base["model"].get(k)}, "cases": cases})
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps({"bases": bases, "vectors": vectors}, ensure_ascii=False).replace('}, {"name"', '},\n{"name"') + "\n")
    print(f"{len(vectors)} tokenizers, {len(bases)} vocabularies")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--meraser", default=".build/debug/meraser")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--scalars", action="store_true", help="all of Unicode too")
    parser.add_argument("--only", default="")
    parser.add_argument("--show", type=int, default=2)
    parser.add_argument("--fixture", help="write what the tests compare to this file instead")
    parser.add_argument("models", nargs="*")
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if options.fixture:
        return write_fixture(options.fixture)
    texts = nasty(options.texts) + (list(every_scalar()) if options.scalars else [])
    wrong, refused, count = 0, [], 0
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            path = os.path.join(model, "tokenizer.json")
            with open(path, encoding="utf-8") as file:
                data = file.read()
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
                file.write(data)
            result = compare(model, options.meraser, folder, Tokenizer.from_str(data), texts, options.show)
            wrong, count = wrong + (result or 0), count + 1
        for name, data in variants() if not options.models else []:
            if options.only not in name:
                continue
            count += 1
            text = json.dumps(data, ensure_ascii=False)
            try:
                tokenizer = Tokenizer.from_str(text)
            except Exception as error:
                print(f"SKIPPED {name}: tokenizers: {error}")
                continue
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
                file.write(text)
            result = compare(name, options.meraser, folder, tokenizer, texts, options.show)
            if result is None:
                refused.append(name)
            else:
                wrong += result
        for name, path, tokenizer in sentencepiece_folders(folder) if not options.models else []:
            if options.only not in name:
                continue
            count += 1
            result = compare(name, options.meraser, path, tokenizer, texts, options.show)
            if result is None:
                refused.append(name)
            else:
                wrong += result
    print(f"{count} tokenizers, {len(texts)} texts each: {wrong} differ; refused: {', '.join(refused) or 'none'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
