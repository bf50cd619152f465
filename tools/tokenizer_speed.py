#!/usr/bin/env python3
"""Sets how fast meraser loads a tokenizer and encodes a text beside Hugging Face's `tokenizers`, in one run.

    tools/tokenizer_speed.py [--meraser .build/release/meraser] [--repeats 5] TEXT MODEL ...

A model is a folder with tokenizer.json or an MQF file. Prints a line for each repeat: seconds to load and megabytes a second;
loading also in processor time, of meraser the whole command without what `--version` takes. Needs: tokenizers 0.22.
"""
import argparse
import json
import os
import resource
import subprocess
import time

from tokenizers import Tokenizer


def tokenizer_json(model):
    """tokenizer.json of a folder, or of an MQF file, where it is a string among the metadata."""
    if os.path.isdir(model):
        with open(os.path.join(model, "tokenizer.json"), encoding="utf-8") as file:
            return file.read()
    with open(model, "rb") as file:
        data = file.read(64 << 20)
    start = data.index(b"mqf.file.tokenizer.json") + len(b"mqf.file.tokenizer.json") + 4
    count = int.from_bytes(data[start:start + 8], "little")
    return data[start + 8:start + 8 + count].decode()


def cpu_seconds(*command):
    """Processor time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed(meraser, model, text, repeats=5):
    """Seconds to load and megabytes a second of meraser and of tokenizers, side by side; loading also in processor time, of
    meraser the whole command without what `--version` takes."""
    data = tokenizer_json(model)
    with open(text, encoding="utf-8") as file:
        content = file.read()
    size = len(content.encode())
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        tokenizer = Tokenizer.from_str(data)
        loaded, cpu = time.perf_counter() - start, time.process_time() - cpu
        start = time.perf_counter()
        count = len(tokenizer.encode(content).ids)
        encoded = time.perf_counter() - start
        ours = json.loads(subprocess.run(
            [meraser, "tokenize", "--model", model, "--file", text, "--time", "--json"], capture_output=True, text=True, check=True).stdout)
        own = cpu_seconds(meraser, "tokenize", "--model", model, "a") - cpu_seconds(meraser, "--version")
        print(f"load: tokenizers {1000 * loaded:.1f} ms ({1000 * cpu:.1f} of CPU), "
              f"meraser {1000 * ours['load_seconds']:.1f} ms ({1000 * own:.1f} of CPU); "
              f"encode {size} bytes: tokenizers {size / encoded / 1e6:.2f} MB/s, meraser {size / ours['encode_seconds'] / 1e6:.2f} MB/s; "
              f"ids {count} {ours['count']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("text")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for model in options.models:
        speed(options.meraser, model, options.text, options.repeats)


if __name__ == "__main__":
    main()
