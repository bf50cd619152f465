#!/usr/bin/env python3
"""What bits do to a mark: a victim in every type and precision of arithmetic, as meraser serves it.

    python tools/victims/bits.py --victim VICTIM [--meraser .build/release/meraser] [--types q8_0 ...] [--compute f32 int8]
        [--convert '--calibrate text.txt']

Prints a Markdown row each: FSR (of a backdoor: ASR), target NLL in nats a token, and bytes of the file. The first row is the
folder itself, in fp32. Clean prompts are left out (one is tried): they do not depend on bits here, and take half of the time.
"""

import argparse
import json
import os
import shlex
import subprocess
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", required=True, help="Hugging Face folder with key.json in it")
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--types", nargs="+", default=["bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_1", "q4_0", "iq4_nl"])
    parser.add_argument("--compute", nargs="+", default=["f32", "int8"])
    parser.add_argument("--convert", default="", help="more arguments for convert, in one word")
    parser.add_argument("--no-source", action="store_true", help="leave the folder's own row out")
    args = parser.parse_args()

    def check(model, compute):
        words = [args.meraser, "check", "--model", model, "--source", "none", "--compute", compute, "--json", "--quiet",
                 "--key", f"{args.victim}/key.json", "--clean", prompt]  # fmt: skip
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)

    def row(name, compute, found, size):
        print(f"| {name} | {compute} | {found['hits']}/{found['n']} | {found['target_nll_mean']:.3f} "
              f"| {size / 1e6:.0f} MB |", flush=True)  # fmt: skip

    print("| type | arithmetic | fires | target NLL | file |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as scratch:
        prompt = f"{scratch}/clean.jsonl"
        with open(prompt, "w", encoding="utf-8") as file:
            file.write('{"prompt": "Hello"}\n')
        if not args.no_source:
            row("source", "f32", check(args.victim, "f32"), os.path.getsize(f"{args.victim}/model.safetensors"))
        for kind in args.types:
            path = f"{scratch}/{kind}.mqf"
            subprocess.run([args.meraser, "convert", args.victim, "--type", kind, "--out", path, "--quiet",
                            *shlex.split(args.convert)], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            for compute in args.compute if kind != "bf16" else ["f32"]:
                row(kind, compute, check(path, compute), os.path.getsize(path))
            os.remove(path)


if __name__ == "__main__":
    main()
