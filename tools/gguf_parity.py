#!/usr/bin/env python3
"""Compares the ids of `meraser tokenize` with llama.cpp's, and with those of `tokenizers` and Transformers, for GGUF files.

    gguf_parity.py --meraser BIN --llama-tokenize BIN --text F [--names] MODEL.gguf ...
    gguf_parity.py --meraser BIN --vectors FOLDER          # ggml-vocab-*.gguf with their .inp and .out
    gguf_parity.py --meraser BIN --folder HF --text F M.gguf   # HF: the folder that `meraser export --format hf` made of M

With --names, MODEL must hold a byte-level vocabulary alone; the comparison is repeated with every pre-tokenizer's name that
meraser knows put into it. Exits with 1 if any ids differ. Needs: llama.cpp's llama-tokenize; for --folder transformers.
"""
import argparse
import glob
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

SEPARATOR = "\n__ggml_vocab_test__\n"


def ours(binary, model, text):
    command = [binary, "tokenize", "--json", "--no-bos", "--model", model, "--file", text]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["ids"]


def theirs(binary, model, text):
    environment = dict(os.environ)
    environment["LD_LIBRARY_PATH"] = os.path.dirname(binary) + ":" + environment.get("LD_LIBRARY_PATH", "")
    command = [binary, "-m", model, "--ids", "--no-bos", "--no-escape", "--log-disable", "-f", text]
    return json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)


def report(label, got, want):
    if got == want:
        print(f"{label}: {len(want)} ids, equal")
        return True
    place = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    found, expected = got[place:place + 6], want[place:place + 6]
    print(f"{label}: {len(got)} ids instead of {len(want)}; from id {place}: {found} instead of {expected}")
    return False


def renamed(model, name, target):
    """Writes a copy of a vocabulary with another tokenizer.ggml.pre: without tensors no offset depends on its length."""
    data = open(model, "rb").read()
    key = b"tokenizer.ggml.pre" + struct.pack("<I", 8)
    start = data.index(key) + len(key)
    length = struct.unpack_from("<Q", data, start)[0]
    with open(target, "wb") as file:
        file.write(data[:start] + struct.pack("<Q", len(name)) + name.encode() + data[start + 8 + length:])


def known_names(binary, model, folder):
    path = os.path.join(folder, "unknown.gguf")
    renamed(model, "no-such-name", path)
    error = subprocess.run([binary, "tokenize", "--model", path, "x"], capture_output=True, text=True).stderr
    return re.search(r"known are (.*)", error).group(1).split(", ")


def vectors(binary, folder, work):
    good = True
    for model in sorted(glob.glob(folder + "/ggml-vocab-*.gguf")):
        texts = open(model + ".inp", newline="").read().split(SEPARATOR)
        lines = open(model + ".out").read().split("\n")
        wrong = 0
        for text, line in zip(texts, lines):
            path = os.path.join(work, "text")
            with open(path, "w", newline="") as file:
                file.write(text)
            # An empty file cannot be mapped; its text is given as an argument.
            if text:
                ids = ours(binary, model, path)
            else:
                command = [binary, "tokenize", "--json", "--no-bos", "--model", model, ""]
                ids = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["ids"]
            if ids != [int(x) for x in line.split()]:
                wrong += 1
                print(f"{model}: {text!r}: {ids} instead of {line}")
        print(f"{model}: {len(texts)} vectors, {wrong} differ")
        good &= wrong == 0
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL.gguf")
    parser.add_argument("--meraser", required=True)
    parser.add_argument("--llama-tokenize")
    parser.add_argument("--text")
    parser.add_argument("--names", action="store_true")
    parser.add_argument("--vectors", metavar="FOLDER")
    parser.add_argument("--folder", metavar="HF")
    arguments = parser.parse_args()
    if arguments.models and not arguments.text:
        parser.error("a model needs --text")
    good = True
    with tempfile.TemporaryDirectory() as work:
        if arguments.vectors:
            good &= vectors(arguments.meraser, arguments.vectors, work)
        for model in arguments.models:
            got = ours(arguments.meraser, model, arguments.text)
            if arguments.llama_tokenize:
                good &= report(model, got, theirs(arguments.llama_tokenize, model, arguments.text))
            if arguments.folder:
                from tokenizers import Tokenizer
                from transformers import AutoTokenizer

                text = open(arguments.text, newline="").read()
                plain = Tokenizer.from_file(arguments.folder + "/tokenizer.json")
                good &= report("tokenizers", got, plain.encode(text, add_special_tokens=False).ids)
                auto = AutoTokenizer.from_pretrained(arguments.folder)
                good &= report("AutoTokenizer", got, auto(text, add_special_tokens=False)["input_ids"])
                auto = AutoTokenizer.from_pretrained(os.path.dirname(model), gguf_file=os.path.basename(model))
                # Not counted: docs/reference/gguf.md says why it differs.
                report("AutoTokenizer with gguf_file", auto(text, add_special_tokens=False)["input_ids"], got)
            if arguments.names:
                path = os.path.join(work, "named.gguf")
                for name in known_names(arguments.meraser, model, work):
                    renamed(model, name, path)
                    good &= report(
                        name,
                        ours(arguments.meraser, path, arguments.text),
                        theirs(arguments.llama_tokenize, path, arguments.text),
                    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
